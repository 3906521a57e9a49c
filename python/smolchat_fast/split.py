"""Part rows into training rows and held-out parts, by a hash of the normalised prompt.

Rows that ask the same, as `dedup` compares texts (whatever their widths, cases, spaces and sentence marks),
stay together, so the same question never stands on two sides. A share is a section of the range of the
hash: rows added later move none of the earlier ones, and the share is met as a draw meets it. A count is
filled with whole prompts in the order of their hash, and met exactly wherever any choice of whole prompts
meets it; else it is the largest smaller number that they make up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arrow import as_table, as_takeable
from smolchat_fast.progress import Progress
from smolchat_fast.stage import run_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """How rows are parted."""

    parts: tuple[str, ...] = ("valid=0.01",)
    """Parts to hold out, each `NAME=ROWS` or `NAME=SHARE`, for example `valid=2000`, `test=0.01`, `test=1%`."""
    columns: tuple[str, ...] = ()
    """Columns whose text decides; rows with the same text stay together. None: prompt, or text."""
    seed: int = 1
    """Another seed gives another split."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        self.names()

    def names(self) -> list[str]:
        """The names of the parts, in order.

        Raises:
            ValueError: a part is not `NAME=SIZE`, or two have one name.
        """
        return _core.split_names(json.dumps(asdict(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """The rows of a table, parted; each part in the order of the input."""

    train: pa.Table
    """The rows that no part took."""
    parts: dict[str, pa.Table]
    """The held-out rows by the name of the part."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReport:
    """What a split did."""

    rows_in: int
    train_rows: int
    part_rows: dict[str, int]
    """Rows of each held-out part."""

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.train_rows

    def __str__(self) -> str:
        parts = "".join(f", {name} {rows:,}" for name, rows in self.part_rows.items())
        return f"{self.rows_in:,} rows: {self.train_rows:,} for training{parts}"


@arguments
def split(
    data: Any,
    options: SplitOptions = SplitOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Split:
    """Part the rows of a table into training rows and held-out parts.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        options: How rows are parted.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Training rows and each part as pyarrow tables.
    Raises:
        DataError: a column that decides is missing, no text, or null in a row; names column and row.
        ValueError: a part cannot be read, or asks for more rows than there are.

    >>> rows = ["一加一等于几？", "天为什么是蓝的", "一加一等于几", "水的化学式"]
    >>> parted = split(rows, SplitOptions(parts=("valid=2",)))
    >>> parted.train["text"].to_pylist()
    ['天为什么是蓝的', '水的化学式']
    >>> parted.parts["valid"]["text"].to_pylist()
    ['一加一等于几？', '一加一等于几']
    """
    table = as_takeable(as_table(data))
    sides = _core.split_table(table, json.dumps(asdict(options)), threads=threads, progress=progress)
    train, *parts = (
        table.filter(pc.equal(sides, pa.scalar(side, pa.uint32()))) for side in range(len(options.parts) + 1)
    )
    return Split(train=train, parts=dict(zip(options.names(), parts, strict=True)))


@arguments
def split_files(
    inputs: Sequence[Path],
    out: Path,
    options: SplitOptions = SplitOptions(),
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Part the rows of files into training rows and held-out parts, all in input order.

    Each part is written beside `out`, as `NAME.parquet`. Rows that ask the same stay together, whatever
    their widths, cases, spaces and sentence marks; what becomes of them depends on no other row for a
    share, and on no order of the rows for a count. A count is met exactly wherever whole prompts can make it
    up. Memory: one batch of rows; with a count, 24 bytes a row more, and the inputs are read twice.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file of the training rows: those that no part takes.
        options: How rows are parted.
        threads: Worker threads; all cores by default. The result does not depend on it.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Rows read and written.
    Raises:
        DataError: a file is damaged or lacks the column; names file and row.
        ValueError: a part cannot be read, has the name of `out`, or asks for more rows than there are.
        StageError: `out` exists and was made otherwise.
    """
    names = options.names()
    files = [out.with_name(f"{name}.parquet") for name in names]
    if out in files:
        raise ValueError(
            f"option parts = {out.stem}: {out} is the file of the training rows; name it otherwise"
        )

    def work(partial: list[Path]) -> dict[str, Any]:
        train, *parts = partial
        return json.loads(
            _core.split_files(
                list(inputs), train, parts, json.dumps(asdict(options)), threads=threads, progress=progress
            )
        )

    finished = run_stage("split", out, work, inputs=inputs, options=options, also=files, overwrite=overwrite)
    rows = finished.report["part_rows"]
    return SplitReport(**finished.report | {"part_rows": {name: rows[name] for name in names}})
