"""Texts to ids, once: lists of numbers in Arrow or Parquet, which the stream reads as it reads text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arrow import as_table
from smolchat_fast.progress import Progress
from smolchat_fast.stage import run_stage
from smolchat_fast.words import text_names

TOKENIZER_KEY = b"smolchat.tokenizer"
"""Key of a schema's metadata whose value is the hash of the tokenizer that made the ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeOptions:
    """What is encoded."""

    columns: tuple[str, ...] = ()
    """Columns that are encoded; none: every text column but `source`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeReport:
    """What was encoded."""

    rows: int
    tokens: int
    """Ids written, those that end a text included."""
    bytes: int
    """Bytes of text encoded."""
    tokenizer: str
    """Hash of the tokenizer, as it stands in the file's metadata."""

    @property
    def rows_in(self) -> int:
        """Rows read."""
        return self.rows

    def __str__(self) -> str:
        size = f"{self.rows:,} rows, {self.bytes:,} bytes"
        return f"{size}: {self.tokens:,} tokens of the tokenizer {self.tokenizer}"


@arguments
def encode(
    data: Any,
    tokenizer: Path,
    options: EncodeOptions = EncodeOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """The text columns of a table as lists of ids.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        tokenizer: Tokenizer folder, or the `tokenizer.json` in it.
        options: What is encoded.
        threads: Worker threads; all cores by default.
        progress: Called with (phase, done, in all).
    Returns:
        Table: each text column as `list<uint16>` (`uint32` above 65,536 entries), each list ended by
        `[EOS]`; other columns as they are. A list of strings or a column gives one column `ids`. The
        schema's metadata holds the tokenizer's hash.
    Raises:
        DataError: a text is null, or `tokenizer` is none.
        ValueError: a column is missing.
    """
    table = as_table(data, "ids")
    names = text_names(table, options.columns)
    lists, made_by = _core.encode_columns(
        [table.column(name) for name in names], tokenizer, threads=threads, progress=progress
    )
    for name, ids in zip(names, lists, strict=True):
        table = table.set_column(table.column_names.index(name), name, pa.array(ids))
    metadata: dict[bytes, bytes] = {**(table.schema.metadata or {}), TOKENIZER_KEY: made_by.encode()}
    return table.replace_schema_metadata(metadata)


@arguments
def encode_files(
    inputs: Sequence[Path],
    out: Path,
    options: EncodeOptions = EncodeOptions(),
    *,
    tokenizer: Path,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EncodeReport:
    """Encode row files once, for the stream to read as often as it likes.

    Memory: some batches of rows.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file: each text column as lists of ids, the others as they are.
        options: What is encoded.
        tokenizer: Tokenizer folder, or the `tokenizer.json` in it.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Rows, bytes and tokens.
    Raises:
        DataError: a file is damaged, lacks a column or has a null, or `tokenizer` is none; names file and row.
        StageError: `out` exists and was made otherwise.
    """

    def work(partial: list[Path]) -> dict[str, Any]:
        asked = json.dumps(asdict(options))
        report = _core.encode_files(
            list(inputs), tokenizer, partial[0], asked, threads=threads, progress=progress
        )
        return json.loads(report)

    read = [*inputs, tokenizer / "tokenizer.json" if tokenizer.is_dir() else tokenizer]
    finished = run_stage("encode", out, work, inputs=read, options=options, overwrite=overwrite)
    return EncodeReport(**finished.report)
