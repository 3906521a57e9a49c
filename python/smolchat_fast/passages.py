"""Cut plain text into passages, each a beginning and how it goes on: rows that pre-training takes.

A text is cut into passages of whole sentences, as many as fit, and each passage once more where a sentence
ends, somewhere in its middle half: so prompts and responses of all lengths come about. Where no sentence
ends the cut is at a comma, and where there is none, between two characters. A passage is always cut alike.
T5's authors call the objective "prefix language modelling" (Raffel et al. 2020, section 3.2,
https://arxiv.org/abs/1910.10683).
"""

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
from smolchat_fast.sections import NOWHERE, check_by_core
from smolchat_fast.stage import run_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageOptions:
    """How text is cut."""

    column: str = "text"
    """Column that holds the text."""
    max_chars: int = 512
    """Characters of a passage at most, prompt and response together."""
    min_chars: int = 16
    """Characters of a passage at least; shorter ones are left out."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        check_by_core(_core.cut_passages_files, NOWHERE, json.dumps(asdict(self)))


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageReport:
    """What cutting did."""

    rows_in: int
    """Texts read."""
    rows_out: int
    """Passages made of them."""
    short: int
    """Texts too short for any passage."""

    def __str__(self) -> str:
        short = f", {self.short:,} too short for any" if self.short else ""
        return f"{self.rows_in:,} texts: {self.rows_out:,} passages{short}"


@arguments
def cut_passages(
    data: Any,
    options: PassageOptions = PassageOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Cut texts into passages.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        options: How text is cut.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        `prompt` and `response` of each passage in order, then the other columns of its row.
    Raises:
        DataError: the column is missing or holds no text, or the rows are pairs already.
        ValueError: an option is out of range.

    >>> options = PassageOptions(max_chars=12, min_chars=2)
    >>> cut_passages(["天晴了。我们去公园。花开了！"], options).to_pylist()
    [{'prompt': '天晴了。', 'response': '我们去公园。'}, {'prompt': '花开了', 'response': '！'}]
    """
    made = _core.cut_passages(as_table(data), json.dumps(asdict(options)), threads=threads, progress=progress)
    return pa.table(made)


@arguments
def cut_passages_files(
    inputs: Sequence[Path],
    out: Path,
    options: PassageOptions = PassageOptions(),
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PassageReport:
    """Cut plain text into passages, each a prompt and the response that goes on with it.

    A text is cut into passages of whole sentences, as many as fit, and each passage once more where a
    sentence ends, somewhere in its middle half. `pretrain` takes such rows; `run` makes them itself of the
    plain text that a recipe names for pre-training.

    Args:
        inputs: Row files with a column of text, for example what `sources` makes of plain text.
        out: Parquet file: `prompt`, `response`, and the other columns of the row.
        options: How text is cut.
        threads: Worker threads; all cores by default. The result does not depend on it.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Texts read and passages made.
    Raises:
        DataError: a file is damaged, lacks the column or holds pairs already; names the file.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """

    def work(partial: list[Path]) -> dict[str, Any]:
        return json.loads(
            _core.cut_passages_files(
                list(inputs), partial[0], json.dumps(asdict(options)), threads=threads, progress=progress
            )
        )

    finished = run_stage("passages", out, work, inputs=inputs, options=options, overwrite=overwrite)
    return PassageReport(**finished.report)
