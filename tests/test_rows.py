"""Reading text columns of Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast.errors import DataError
from smolchat_fast.rows import count_rows, read_texts


def table(path: Path, **columns: list[str | None] | pa.Array) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    a = table(tmp_path / "a.parquet", prompt=["1", "2", "3"], source=["x", None, "y"])
    b = table(tmp_path / "b.parquet", prompt=["4"])
    batches = list(read_texts([a, b], ["prompt"], optional=["source"], batch_rows=2))
    assert batches == [[["1", "2"], ["x", ""]], [["3"], ["y"]], [["4"], [""]]]
    assert count_rows([a, b]) == 4


def test_the_first_of_several_names_is_read(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", response=["r"], chosen=["c"])
    assert list(read_texts([path], [("chosen", "response")])) == [[["c"]]]


def test_dictionary_columns_read_as_text(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", prompt=pa.array(["甲", "乙", "甲"]).dictionary_encode())
    assert list(read_texts([path], ["prompt"])) == [[["甲", "乙", "甲"]]]


def test_a_missing_column_is_named_with_those_there(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", question=["1"])
    with pytest.raises(
        DataError, match=r"a\.parquet: column 'chosen' or 'response' not found \(columns: question\)"
    ):
        list(read_texts([path], [("chosen", "response")]))


def test_a_null_is_named_with_its_row(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", prompt=["1", "2", "3", None])
    with pytest.raises(DataError, match=r"a\.parquet, row 4: column 'prompt' is null"):
        list(read_texts([path], ["prompt"], batch_rows=2))


def test_numbers_are_not_text(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", prompt=pa.array([1, 2]))
    with pytest.raises(DataError, match="holds int64, expected text"):
        list(read_texts([path], ["prompt"]))


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_text("prompt,response\n", "utf-8")
    with pytest.raises(DataError, match="not a Parquet file"):
        count_rows([path])
