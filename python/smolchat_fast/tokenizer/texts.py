"""The texts that a tokenizer is learned from and tried on, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from smolchat_fast import _core
from smolchat_fast.words import text_columns


def is_counts(data: Any) -> bool:
    """Whether this is a table of word counts and not of texts."""
    return list(getattr(data, "column_names", ())) == ["word", "count"]


def texts_of(data: Any, columns: Sequence[str] = ()) -> Iterator[str]:
    """The texts of a table, of a column or of a list of strings; nulls are passed over."""
    for column in text_columns(data, columns):
        for chunk in column.chunks:
            yield from (text for text in chunk.to_pylist() if text is not None)


def texts_of_files(paths: Sequence[Path], columns: Sequence[str] = ()) -> Iterator[str]:
    """The texts of row files of any format, batch by batch; nothing of tables of word counts."""
    for batch in _core.RowBatches(list(paths)) if paths else ():
        if not is_counts(batch):
            yield from texts_of(batch, columns)
