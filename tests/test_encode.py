"""Ids are written once, are those of every other reader, and never meet another tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast import DataError, StageError, _core
from smolchat_fast.stream import Stream, StreamOptions
from smolchat_fast.tokenizer import (
    EncodeOptions,
    TokenizerOptions,
    build_tokenizer,
    encode,
    encode_files,
    load,
    save,
)

ROWS = 3_000


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    prompts = [f"第{i}天天气怎么样？" for i in range(ROWS)]
    responses = [("很好，😀 " * (i % 23)).strip() for i in range(ROWS)]
    return pa.table({"prompt": prompts, "response": responses, "source": ["x"] * ROWS})


@pytest.fixture(scope="module")
def folder(rows: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    save(build_tokenizer(rows, TokenizerOptions(vocab_size=320)), folder)
    return folder


@pytest.fixture(scope="module")
def files(rows: pa.Table, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The rows as text and as ids."""
    there = tmp_path_factory.mktemp("rows")
    text, ids = there / "text.parquet", there / "ids.parquet"
    pq.write_table(rows, text, row_group_size=700)
    told = encode_files([text], ids, tokenizer=folder)
    assert (told.rows, told.tokens) == (ROWS, sum(map(len, _lists(pq.read_table(ids)))))
    assert encode_files([text], ids, tokenizer=folder) == told
    return text, ids


def _lists(table: pa.Table) -> list[list[int]]:
    return [ids for name in ("prompt", "response") for ids in table[name].to_pylist()]


def test_ids_are_those_of_the_tokenizer_and_small_numbers(rows, folder, files):
    table = pq.read_table(files[1])
    assert table.schema.field("prompt").type.value_type == pa.uint16()
    assert table["source"] == rows["source"]
    texts = [text for name in ("prompt", "response") for text in rows[name].to_pylist()]
    assert _lists(table) == [e.ids for e in load(folder).encode_batch(texts)]
    here = encode(rows, folder)
    assert here.to_pydict() == table.to_pydict()
    assert here.schema.metadata == table.schema.metadata
    assert here.schema.field("response").type.value_type == pa.uint16()
    assert encode(["今天", ""], folder)["ids"].to_pylist()[1] == [1]
    assert encode(rows, folder, EncodeOptions(columns=("prompt",)))["response"] == rows["response"]


def test_a_large_vocabulary_needs_large_numbers(tmp_path):
    entries = [chr(0x4E00 + i // 300) + chr(0x4E00 + i % 300) for i in range(66_000)]
    learned = {"entries": entries, "merges": [], "scores": [-1.0] * len(entries), "split": True}
    text, _ = _core.assemble_tokenizer(json.dumps(learned), [])
    (tmp_path / "tokenizer.json").write_text(text, "utf-8")
    ids = encode([entries[-1]], tmp_path)["ids"]
    assert ids.type.value_type == pa.uint32()
    assert ids.to_pylist() == [[263 + 65_999, 1]]


def by_row(
    paths: list[Path], tokenizer: Path, options: StreamOptions
) -> dict[int, tuple[list[int], list[int]]]:
    found = {}
    for batch in Stream(paths, tokenizer, options, epochs=1):
        for i, row in enumerate(batch.rows.tolist()):
            source = batch.input_ids[i][batch.attention_mask[i] == 1]
            found[row] = (source.tolist(), batch.labels[i][batch.labels[i] != -100].tolist())
    return found


@pytest.mark.parametrize("most", [5, 320])
def test_the_stream_reads_ids_as_it_reads_text(most, folder, files):
    options = StreamOptions(max_source=most, max_target=most, batch_tokens=2_048, shuffle_rows=1_000)
    text, ids = files
    expected = by_row([text], folder, options)
    assert by_row([ids], folder, options) == expected
    assert len(expected) == ROWS
    both = by_row([text, ids], folder, options)
    assert {row - ROWS: ids for row, ids in both.items() if row >= ROWS} == expected


def test_a_resumed_stream_of_ids_yields_the_same_batches(folder, files):
    options = StreamOptions(batch_rows=64, shuffle_rows=1_000)
    stream = Stream([files[1]], folder, options, epochs=1)
    for _ in range(9):
        next(stream)
    state = stream.state_dict()
    expected = next(stream)
    again = Stream([files[1]], folder, options, epochs=1)
    again.load_state_dict(state)
    assert np.array_equal(next(again).input_ids, expected.input_ids)


def test_ids_of_another_tokenizer_are_refused(rows, folder, files, tmp_path):
    save(build_tokenizer(rows, TokenizerOptions(vocab_size=275)), tmp_path / "other")
    with pytest.raises(
        DataError, match=r"ids.parquet: holds ids of the tokenizer [0-9a-f]{16}, but .*encode"
    ):
        Stream([files[1]], tmp_path / "other")
    nameless = tmp_path / "nameless.parquet"
    pq.write_table(pq.read_table(files[1]).replace_schema_metadata(None), nameless)
    with pytest.raises(DataError, match="does not say of which tokenizer"):
        Stream([nameless], folder)
    with pytest.raises(StageError, match="inputs"):
        encode_files([files[0]], files[1], tokenizer=tmp_path / "other")


def test_bad_input_is_named_and_leaves_nothing(folder, tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["好", None]}), path)
    with pytest.raises(DataError, match=r"rows.parquet, row 2"):
        encode_files([path], tmp_path / "out.parquet", tokenizer=folder)
    with pytest.raises(FileNotFoundError):
        encode_files([path], tmp_path / "out.parquet", tokenizer=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
