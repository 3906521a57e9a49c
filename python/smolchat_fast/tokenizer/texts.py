"""The texts that a tokenizer is learned from and tried on: text columns of rows, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolchat_fast import _core
from smolchat_fast.arrow import first_null
from smolchat_fast.errors import DataError
from smolchat_fast.split import SplitOptions, split
from smolchat_fast.words import read_counts, text_names

SAMPLE_ROWS = 4_000
"""Rows of a sample at most."""


def text_part(
    table: pa.Table, columns: Sequence[str] = (), *, file: Path | None = None, first: int = 0
) -> pa.Table:
    """The text columns of a table.

    Args:
        table: Rows.
        columns: Their names; none: every text column but `source`.
        file: Where the rows are from, and
        first: the number of the first one, counted from 0; an error names them.
    Raises:
        DataError: a text is null.
        ValueError: a column is missing.
    """
    part = table.select(text_names(table, columns))
    for name, column in zip(part.column_names, part.columns, strict=True):
        if (row := first_null(column)) is not None:
            place = f"row {first + row + 1}" if file is None else f"{file}, row {first + row + 1}"
            raise DataError(
                f'{place}: column "{name}" is null; drop such rows first (the command `clean` does)'
            )
    return part


def rows_of_files(paths: Sequence[Path], columns: Sequence[str] = ()) -> Iterator[tuple[pa.Table, pa.Table]]:
    """The rows of row files of any format, batch by batch, and their text columns.

    Raises:
        DataError: a file cannot be read or has a null, or the files have different columns.
    """
    _core.RowBatches(list(paths))  # looks at the columns of all
    for path in paths:
        first = 0
        for batch in _core.RowBatches([path]):
            table = pa.Table.from_batches([batch])
            yield table, text_part(table, columns, file=path, first=first)
            first += table.num_rows


def drawn(table: pa.Table, share: float) -> pa.Table:
    """The rows of a share, by a hash of their text: a smaller share draws some of the same rows."""
    if share >= 1:
        return table
    part = SplitOptions(parts=(f"drawn={share:.15f}",), columns=tuple(table.column_names))
    return split(table, part).parts["drawn"]


def sample_of_files(paths: Sequence[Path], columns: Sequence[str] = ()) -> list[str]:
    """The texts of up to 4,000 distinct rows of row files, the same whatever their format and order.

    All rows are drawn as long as they are few; each time there are too many, the share is halved. Tables of
    word counts hold no texts.

    Raises:
        DataError: a file cannot be read or has a null, or the files have different columns.
    """
    share, rows, names = 1.0, set[tuple[str, ...]](), list[str]()
    with_rows = [path for path in paths if read_counts(path) is None]
    for _, texts in rows_of_files(with_rows, columns) if with_rows else ():
        names = texts.column_names
        rows |= _tuples(drawn(texts, share))
        while len(rows) > SAMPLE_ROWS:
            share /= 2
            columns_of_rows = [pa.array(column) for column in zip(*rows, strict=True)]
            rows = _tuples(drawn(pa.table(columns_of_rows, names), share))
    return [text for row in sorted(rows) for text in row]


def limited(tables: Callable[[], Iterable[pa.Table]], size_mb: int) -> Iterator[pa.Table]:
    """All texts as a column `text`, or if they are more than this, some of them by a hash of each.

    Args:
        tables: Gives tables of text columns, twice.
        size_mb: Text at most, in MiB.
    """
    size = sum(_bytes(column) for table in tables() for column in table.columns)
    for table in tables():
        for column in table.columns:
            yield drawn(pa.table({"text": column.cast(pa.large_string())}), (size_mb << 20) / max(size, 1))


def texts_of(table: pa.Table) -> Iterator[str]:
    """The texts of a table of text columns."""
    for batch in table.to_batches(max_chunksize=8_192):
        for column in batch.columns:
            yield from map(str, column.to_pylist())


def _bytes(column: pa.ChunkedArray[Any]) -> int:
    texts: Any = column.cast(pa.large_string())
    return pc.sum(pc.binary_length(texts)).as_py() or 0


def _tuples(table: pa.Table) -> set[tuple[str, ...]]:
    return set(zip(*(column.to_pylist() for column in table.columns), strict=True))
