"""Plain text becomes prompts and how they go on; nothing of it is lost or made up."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError
from smolchat_fast.passages import PassageOptions, PassageReport, cut_passages, cut_passages_files


def without_spaces(texts: list[str]) -> str:
    return "".join("".join(texts).split())


@settings(deadline=None, max_examples=60)
@given(text=st.text("天气很好，。！ \nA", min_size=2, max_size=300), threads=st.integers(1, 3))
def test_a_text_that_fits_is_one_passage_and_stays_whole(text: str, threads: int) -> None:
    made = cut_passages([text], PassageOptions(min_chars=2, max_chars=400), threads=threads)
    if len(text.strip()) < 2:
        assert made.num_rows == 0
        return
    [row] = made.to_pylist()
    assert row["prompt"]
    assert row["response"]
    assert without_spaces([row["prompt"], row["response"]]) == without_spaces([text])


def test_a_long_text_is_cut_at_sentences_and_files_give_the_same_as_tables(tmp_path: Path) -> None:
    sentences = [f"这是第{n}句话，说的是第{n % 7}件事。" for n in range(9_000)]
    texts = ["".join(sentences[n : n + 90]) for n in range(0, 9_000, 90)]
    table = pa.table({"text": [*texts, "太短"], "source": [f"第{n}篇" for n in range(len(texts) + 1)]})
    pq.write_table(table.slice(0, 40), tmp_path / "a.parquet")
    pq.write_table(table.slice(40), tmp_path / "b.parquet")
    options = PassageOptions(max_chars=120)
    out = tmp_path / "made" / "pairs.parquet"
    report = cut_passages_files([tmp_path / "a.parquet", tmp_path / "b.parquet"], out, options, threads=2)
    made = pq.read_table(out)
    assert report == PassageReport(rows_in=101, rows_out=made.num_rows, short=1)
    assert made == cut_passages(table, options, threads=3)
    assert made.column_names == ["prompt", "response", "source"]
    rows = made.to_pylist()
    assert "".join(row["prompt"] + row["response"] for row in rows) == "".join(texts)
    assert all(row["prompt"].endswith("。") and row["response"].endswith("。") for row in rows)
    assert all(60 < len(row["prompt"] + row["response"]) <= 120 for row in rows[:5])
    assert list(dict.fromkeys(made["source"].to_pylist())) == [f"第{n}篇" for n in range(100)]
    assert "1 too short for any" in str(report)


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'column "body" not found \(columns: text\); name another one'):
        cut_passages(["一"], PassageOptions(column="body"))
    with pytest.raises(DataError, match='column "n" is Int64, not text'):
        cut_passages(pa.table({"n": [1]}), PassageOptions(column="n"))
    with pytest.raises(ValueError, match="option max_chars = 3: must be at least min_chars = 16"):
        cut_passages(["一"], PassageOptions(max_chars=3))
    pq.write_table(pa.table({"text": ["一"], "prompt": ["二"]}), tmp_path / "pairs.parquet")
    with pytest.raises(DataError, match=r'pairs\.parquet: has a column "prompt" beside "text"'):
        cut_passages_files([tmp_path / "pairs.parquet"], tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_large_table_in_one_piece_and_a_damaged_file(tmp_path: Path) -> None:
    texts = [f"第{n}天，天气很好。我们走了{n}里路。" for n in range(5_000)]
    made = cut_passages(pa.table({"text": pa.array(texts, pa.large_string())}), threads=2)
    assert "".join(row["prompt"] + row["response"] for row in made.to_pylist()) == "".join(texts)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts}), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"rows\.parquet"):
        cut_passages_files([path], tmp_path / "out.parquet")
    assert [found.name for found in tmp_path.iterdir()] == ["rows.parquet"]
