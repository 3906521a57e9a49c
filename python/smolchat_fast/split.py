"""Part rows into training and validation rows by a hash of the prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from smolchat_fast import _core
from smolchat_fast.progress import Progress
from smolchat_fast.stage import run_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitOptions:
    """How rows are parted."""

    valid_share: float = 0.01
    """Share of the rows that become validation rows, in [0, 1)."""
    column: str = "prompt"
    """Column whose text decides; rows with the same text stay together."""
    seed: int = 1
    """Another seed gives another split."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitReport:
    """What a split did."""

    rows_in: int
    train_rows: int
    valid_rows: int

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.train_rows

    def __str__(self) -> str:
        return f"{self.rows_in:,} rows: {self.train_rows:,} for training, {self.valid_rows:,} for validation"


def split_files(
    inputs: Sequence[Path],
    out: Path,
    options: SplitOptions = SplitOptions(),
    *,
    valid: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SplitReport:
    """Part the rows of files into training and validation rows, both in input order.

    A row's side depends on its text and the seed alone: the same prompt never stands on both sides,
    and rows added later move none of the earlier ones. Memory: one batch of rows.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file of the training rows.
        options: How rows are parted.
        valid: Parquet file of the validation rows; `valid.parquet` beside `out` by default.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Rows read and written.
    Raises:
        DataError: a file is damaged or lacks the column; names file and row.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """

    def work(partial: list[Path]) -> dict[str, int]:
        train_path, valid_path = partial
        return json.loads(
            _core.split_files(
                list(inputs),
                train_path,
                valid_path,
                json.dumps(asdict(options)),
                threads=threads,
                progress=progress,
            )
        )

    valid = valid or out.with_name("valid.parquet")
    finished = run_stage(
        "split", out, work, inputs=inputs, options=options, also=[valid], overwrite=overwrite
    )
    return SplitReport(**finished.report)
