"""Clean rows by ordered, named rules, and tell what each one did.

Code, addresses and link targets are never altered; cleaning twice changes nothing more.
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
from smolchat_fast.stage import run_stage


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanOptions:
    """Which rules clean a text and which rows are dropped."""

    columns: tuple[str, ...] = ()
    """Columns to clean; those of prompt, response, chosen, rejected and text that are there by default."""
    control: bool = True
    """Remove control and invisible characters, repair doubly encoded text and look-alike characters."""
    templates: bool = True
    """Remove what chat templates left behind: `### Response:`, `</s>`, `<noinput>`."""
    html: bool = True
    """Remove HTML tags and decode entities; text about HTML is left."""
    pages: bool = False
    """Strip whole HTML pages too, rather than keep them as code."""
    width: bool = True
    """Make full-width letters, digits and spaces half-width."""
    punctuation: bool = True
    """Make ASCII punctuation beside Chinese characters Chinese."""
    repeats: bool = True
    """Keep one of a mark that is repeated."""
    spaces: bool = True
    """Remove spaces between Chinese characters, at the ends of lines and around the text."""
    simplified: bool = False
    """Write traditional characters in their simplified form (OpenCC, t2s)."""
    personal: bool = False
    """Mask mobile numbers, identity numbers and e-mail addresses."""
    empty: bool = True
    """Drop rows with nothing in a cleaned column."""
    broken: bool = True
    """Drop rows with text that was decoded wrongly."""
    punctuation_only: bool = True
    """Drop rows with a text that is all punctuation."""
    repetition: bool = True
    """Drop rows with a text that says the same over and over."""
    min_prompt_chars: int = 2
    """Fewest characters of a prompt."""
    max_prompt_chars: int = 0
    """Most characters of a prompt; 0: any number."""
    min_chars: int = 1
    """Fewest characters of each other column."""
    max_chars: int = 0
    """Most characters of each other column; 0: any number."""
    min_han_share: float = 0.0
    """Lowest share of Chinese characters among those of a row that are not spaces, in [0, 1]."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        clean_text("", self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One change, around the first difference."""

    row: int
    """Counted from 1 over all inputs."""
    column: str
    before: str
    after: str
    """Empty for a dropped row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuleReport:
    """What one rule did."""

    rule: str
    rows_changed: int
    rows_dropped: int
    chars_removed: int
    samples: tuple[Sample, ...]
    """The first few changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanReport:
    """What cleaning did."""

    rows_in: int
    rows_out: int
    rows_changed: int
    """Rows of which at least one text was changed."""
    rules: tuple[RuleReport, ...]
    """Each rule, in the order of application."""

    def rule(self, name: str) -> RuleReport:
        """What the rule of that name did."""
        return next(rule for rule in self.rules if rule.rule == name)

    @property
    def dropped(self) -> dict[str, int]:
        """Rows dropped by reason."""
        return {rule.rule: rule.rows_dropped for rule in self.rules if rule.rows_dropped}

    def __str__(self) -> str:
        lines = [
            f"{self.rows_in:,} rows: {self.rows_out:,} kept, {self.rows_in - self.rows_out:,} dropped, "
            f"{self.rows_changed:,} changed",
            f"  {'rule':<18}{'rows changed':>14}{'rows dropped':>14}{'chars removed':>15}  for example",
        ]
        for rule in self.rules:
            counts = (rule.rows_changed, rule.rows_dropped, rule.chars_removed)
            if any(counts):
                changed, dropped, gone = (f"{count:,}" if count else "-" for count in counts)
                lines.append(f"  {rule.rule:<18}{changed:>14}{dropped:>14}{gone:>15}  {_example(rule)}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Cleaned:
    """Rows after cleaning."""

    table: pa.Table
    """The rows that were kept, clean, in order, with all their columns."""
    report: CleanReport
    removed: pa.Table
    """The dropped rows as they were, with the column `reason`."""


@arguments
def clean_text(text: str, options: CleanOptions = CleanOptions()) -> str:
    """Clean one text by the rules that are switched on.

    >>> clean_text("你 好,<b>世界</b>！！！！价格是３.５元")
    '你好，世界！价格是3.5元'
    """
    return _core.clean_text(text, json.dumps(asdict(options)))


@arguments
def clean(
    data: Any,
    options: CleanOptions = CleanOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Cleaned:
    """Clean the text columns of a table and drop the rows that no rule can save.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`;
            not changed.
        options: Which rules apply.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all), at most ten times a second.
    Returns:
        Cleaned: the table of the rows kept, the report, and the table of the rows removed.
    Raises:
        DataError: a column is missing or holds no text.
        ValueError: an option is out of range.

    >>> rows = pa.table({"prompt": ["你好吗?", "在吗"], "response": ["很 好！！！", " "]})
    >>> cleaned = clean(rows)
    >>> cleaned.table.to_pylist()
    [{'prompt': '你好吗？', 'response': '很好！'}]
    >>> cleaned.report.dropped
    {'empty': 1}
    """
    kept, removed, told = _core.clean_table(
        as_table(data), json.dumps(asdict(options)), threads=threads, progress=progress
    )
    return Cleaned(pa.table(kept), _to_report(json.loads(told)), pa.table(removed))


@arguments
def clean_files(
    inputs: Sequence[Path],
    out: Path,
    options: CleanOptions = CleanOptions(),
    *,
    removed: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CleanReport:
    """Clean row files into one Parquet file, in the order of the inputs. Memory: some batches of rows.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file of the rows that are kept.
        options: Which rules apply.
        removed: Parquet file for the rows that are dropped, as they were, with the column `reason`.
        threads: Worker threads; all cores by default. The result does not depend on it.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        What each rule did, with samples.
    Raises:
        DataError: a file is damaged or lacks a column; names it.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """

    def work(partial: list[Path]) -> dict[str, Any]:
        return json.loads(
            _core.clean_files(
                list(inputs),
                partial[0],
                json.dumps(asdict(options)),
                removed=partial[1] if removed else None,
                threads=threads,
                progress=progress,
            )
        )

    also = [removed] if removed else []
    finished = run_stage("clean", out, work, inputs=inputs, options=options, also=also, overwrite=overwrite)
    return _to_report(finished.report)


def _to_report(told: dict[str, Any]) -> CleanReport:
    rules = [
        RuleReport(**{**rule, "samples": tuple(Sample(**sample) for sample in rule["samples"])})
        for rule in told["rules"]
    ]
    return CleanReport(**{**told, "rules": tuple(rules)})


def _example(rule: RuleReport) -> str:
    if not rule.samples:
        return ""
    first = rule.samples[0]
    before = repr(first.before[:24])
    return f"{before} -> {first.after[:24]!r}" if first.after else before
