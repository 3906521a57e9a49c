"""Text columns of Parquet row files, a batch at a time, for the stages that torch reads for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast.arrow import first_null, is_text
from smolchat_fast.errors import DataError

Column = str | tuple[str, ...]
"""A column's name, or several of which the first that a file has is read."""


def read_texts(
    paths: Sequence[Path], columns: Sequence[Column], *, optional: Sequence[str] = (), batch_rows: int = 4096
) -> Iterator[list[list[str]]]:
    """Text columns of the files, one after the other.

    Args:
        paths: Parquet files.
        columns: Columns that every file must have, without nulls.
        optional: Columns that read as empty texts where a file lacks them or has a null.
        batch_rows: Most rows handed out at a time; the last batch of a file may have fewer.
    Yields:
        A list of values for each of `columns` and then of `optional`, all of one length.
    Raises:
        DataError: a file is no Parquet file, lacks a column, or has a null or something that is not
            text in it; names file, row (from 1) and column.
    """
    for path in paths:
        file = _open(path)
        names = [_found(path, file, column) for column in columns]
        extra = [name for name in optional if name in file.schema_arrow.names]
        first_row = 1
        for batch in file.iter_batches(batch_rows, columns=[*names, *extra]):
            texts = [_texts(path, batch.column(name), name, first_row) for name in names]
            for name in optional:
                found = batch.column(name).to_pylist() if name in extra else [None] * len(batch)
                texts.append(["" if value is None else str(value) for value in found])
            yield texts
            first_row += len(batch)


def count_rows(paths: Sequence[Path]) -> int:
    """Rows of Parquet files in all.

    Raises:
        DataError: a file is no Parquet file.
    """
    return sum(_open(path).metadata.num_rows for path in paths)


def _open(path: Path) -> pq.ParquetFile:
    path.stat()  # of a file that is not there pyarrow tells in its own words
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"{path}: not a Parquet file ({error}). Make rows of other formats with `smolchat-fast sources`."
        ) from error


def _found(path: Path, file: pq.ParquetFile, column: Column) -> str:
    wanted = (column,) if isinstance(column, str) else column
    names = file.schema_arrow.names
    for name in wanted:
        if name in names:
            return name
    missing = " or ".join(repr(name) for name in wanted)
    raise DataError(
        f"{path}: column {missing} not found (columns: {', '.join(names)}). Rename one, or name another file."
    )


def _texts(path: Path, values: Any, name: str, first_row: int) -> list[str]:
    if not is_text(values.type):
        raise DataError(f"{path}: column {name!r} holds {values.type}, expected text.")
    if (row := first_null(values)) is not None:
        raise DataError(
            f"{path}, row {first_row + row}: column {name!r} is null. Drop such rows with `smolchat-fast clean`."
        )
    return values.to_pylist()
