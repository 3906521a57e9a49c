"""Rows are described as counting by hand describes them."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError
from smolchat_fast.errors import StageError
from smolchat_fast.stats import StatsOptions, stats, stats_files

ROWS = pa.table(
    {"prompt": ["你好吗", "abc", "你好吗", " "], "response": ["好", "好", "好", None], "id": [1, 2, 3, 4]}
)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(st.text("天气ab 1\n", max_size=9), min_size=1, max_size=40), threads=st.integers(1, 3))
def test_counts_are_those_of_python(rows, threads):
    column = stats(rows, threads=threads).columns[0]
    lengths = sorted(map(len, rows))
    assert column.chars.total == sum(lengths)
    assert column.chars.median == statistics.median_low(lengths)
    assert (column.chars.min, column.chars.max) == (lengths[0], lengths[-1])
    assert column.duplicate_rows == len(rows) - len(set(rows))
    assert column.empty_rows == sum(not row.strip() for row in rows)
    visible = "".join("".join(rows).split())
    assert column.han_share == pytest.approx(sum(c in "天气" for c in visible) / max(1, len(visible)))
    assert sum(bar.rows for bar in column.chars.histogram) == len(rows)


def test_a_table_is_told_column_by_column():
    found = stats(ROWS)
    assert (found.rows, found.duplicate_rows) == (4, 1)
    assert [(c.name, c.null_rows, c.empty_rows) for c in found.columns] == [
        ("prompt", 0, 1),
        ("response", 1, 0),
    ]
    told = str(found).splitlines()
    assert told[0] == "4 rows, 1 the same as an earlier one (25.00%)"
    assert len(told) == 4
    assert stats(pa.table({"text": pa.array([], pa.string())})).columns[0].chars.max == 0


def test_files_give_a_table_json_and_histograms(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    pq.write_table(ROWS, tmp_path / "rows.parquet")
    out, plot = tmp_path / "made" / "stats.json", tmp_path / "stats.png"
    found = stats_files([tmp_path / "rows.parquet"], out, plot=plot)
    assert found == stats(ROWS)
    assert json.loads(out.read_text("utf-8"))["columns"][0]["chars"]["max"] == 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not list(tmp_path.rglob("*.partial"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        stats_files([tmp_path / "rows.parquet"], plot=plot)


def test_tokens_are_counted_with_a_tokenizer(tmp_path):
    build = pytest.importorskip("smolchat_fast.tokenizer")
    folder = tmp_path / "tokenizer"
    tokenizer = build.build_tokenizer(
        ["你好吗", "abc"] * 20, build.TokenizerOptions(vocab_size=300, kind="bpe")
    )
    build.save(tokenizer, folder)
    column = stats(["你好吗", "abc"], StatsOptions(tokenizer=folder)).columns[0]
    assert column.tokens is not None
    assert column.tokens.total == sum(
        len(tokenizer.encode(text, add_special_tokens=False).ids) for text in ["你好吗", "abc"]
    )


def test_what_cannot_be_used_is_named(tmp_path):
    with pytest.raises(ValueError, match="no column is text; there are id"):
        stats(pa.table({"id": [1]}))
    with pytest.raises(DataError, match='column "question" not found'):
        stats(ROWS, StatsOptions(columns=("question",)))
    path: Path = tmp_path / "cut.parquet"
    pq.write_table(ROWS, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut\.parquet"):
        stats_files([path])


@pytest.mark.parametrize("output", ["out", "plot"])
def test_an_input_is_not_overwritten(tmp_path, output):
    rows = tmp_path / "rows.json"
    rows.write_text('[{"text": "mine"}]')
    with pytest.raises(StageError, match="would take the place of"):
        stats_files([rows], **{output: rows})
    assert rows.read_text() == '[{"text": "mine"}]'
