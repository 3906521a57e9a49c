"""What rows are like: how many, how long, how often the same, how Chinese."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from smolchat_fast import _core
from smolchat_fast.arguments import arguments, expand
from smolchat_fast.arrow import as_table
from smolchat_fast.errors import MissingExtraError
from smolchat_fast.progress import Progress
from smolchat_fast.stage import PARTIAL, naming, refuse_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class StatsOptions:
    """What is looked at."""

    columns: tuple[str, ...] = ()
    """Columns to look at; all columns of text by default."""
    tokenizer: Path | None = None
    """Tokenizer folder, to count tokens too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """A bar of a histogram."""

    from_: int
    """The shortest length that it counts."""
    rows: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """What lengths are like; those of texts that are there."""

    total: int
    mean: float
    min: int
    median: int
    p90: int
    p99: int
    max: int
    histogram: tuple[Bar, ...]
    """Bars of equal width up to `p99`; the last one holds what is longer too."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnStats:
    """What a column of text is like."""

    name: str
    null_rows: int
    empty_rows: int
    """Rows with nothing but spaces."""
    duplicate_rows: int
    """Rows whose text an earlier row has too."""
    bytes: int
    """Of UTF-8."""
    han_share: float
    """Share of Chinese characters among those that are not spaces."""
    chars: Lengths
    tokens: Lengths | None
    """With a tokenizer: lengths in its tokens, without the one that ends a text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StatsReport:
    """What rows are like."""

    rows: int
    duplicate_rows: int
    """Rows that are the same as an earlier one in all of these columns."""
    columns: tuple[ColumnStats, ...]

    def __str__(self) -> str:
        share = f" ({self.duplicate_rows / self.rows:.2%})" if self.duplicate_rows else ""
        lines = [f"{self.rows:,} rows, {self.duplicate_rows:,} the same as an earlier one{share}"]
        header = [
            "column",
            "null",
            "empty",
            "duplicate",
            "MB",
            "Han",
            "unit",
            "mean",
            "median",
            "90 %",
            "99 %",
            "max",
        ]
        rows = [header]
        for column in self.columns:
            name = [
                column.name,
                f"{column.null_rows:,}",
                f"{column.empty_rows:,}",
                f"{column.duplicate_rows:,}",
                f"{column.bytes / 1e6:,.1f}",
                f"{column.han_share:.1%}",
            ]
            for unit, lengths in (("characters", column.chars), ("tokens", column.tokens)):
                if lengths is not None:
                    numbers = (lengths.median, lengths.p90, lengths.p99, lengths.max)
                    rows.append([*name, unit, f"{lengths.mean:,.1f}", *(f"{number:,}" for number in numbers)])
                    name = [""] * len(name)
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        for row in rows:
            cells = (
                cell.ljust(width) if i in (0, 6) else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


@arguments
def stats(
    data: Any,
    options: StatsOptions = StatsOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> StatsReport:
    """Describe the rows of a table.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        options: What is looked at.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all), at most ten times a second.
    Raises:
        DataError: a column is missing or holds no text.
        ValueError: no column is text.

    >>> found = stats(["今天天气很好。", "abc", "今天天气很好。"])
    >>> found.rows, found.duplicate_rows, found.columns[0].chars.max
    (3, 1, 7)
    """
    told = _core.describe_table(as_table(data), _to_json(options), threads=threads, progress=progress)
    return _to_report(json.loads(told))


@arguments
def stats_files(
    inputs: Sequence[Path],
    out: Path | None = None,
    options: StatsOptions = StatsOptions(),
    *,
    plot: Path | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> StatsReport:
    """Describe row files. Memory: 8 bytes for each row and each different text.

    Args:
        inputs: Row files with the same columns, or patterns.
        out: JSON file for all of it, histograms included.
        options: What is looked at.
        plot: PNG file for the histograms (needs matplotlib).
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all).
    Raises:
        DataError: a file is damaged or lacks a column; names it.
        StageError: `out` or `plot` is one of the inputs.
        ValueError: no column is text.
        MissingExtraError: `plot` without matplotlib.
    """
    if plot is not None:
        _pyplot()  # before the work, not behind it
    files = expand(inputs)
    refuse_loss([path for path in (out, plot) if path], files, (".json", ".png"))
    told = _core.describe_files(files, _to_json(options), threads=threads, progress=progress)
    report = _to_report(json.loads(told))
    if out is not None:
        _write(
            out,
            lambda path: path.write_text(json.dumps(json.loads(told), ensure_ascii=False, indent=2) + "\n"),
        )
    if plot is not None:
        _write(plot, lambda path: _draw(report, path))
    return report


def _to_json(options: StatsOptions) -> str:
    return json.dumps(asdict(options), default=str)


def _to_report(told: dict[str, Any]) -> StatsReport:
    def lengths(found: dict[str, Any] | None) -> Lengths | None:
        if found is None:
            return None
        bars = tuple(Bar(from_=bar["from"], rows=bar["rows"]) for bar in found["histogram"])
        return Lengths(**{**found, "histogram": bars})

    columns = tuple(
        ColumnStats(**{**column, "chars": lengths(column["chars"]), "tokens": lengths(column["tokens"])})
        for column in told["columns"]
    )
    return StatsReport(**{**told, "columns": columns})


def _write(path: Path, write: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with naming(path):
            write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _pyplot() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("histograms need one more package: pip install matplotlib") from error
    matplotlib.use("agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _draw(report: StatsReport, path: Path) -> None:
    panels = [
        (f"{column.name}, {unit}", lengths)
        for column in report.columns
        for unit, lengths in (("characters", column.chars), ("tokens", column.tokens))
        if lengths is not None
    ]
    pyplot = _pyplot()
    figure, axes = pyplot.subplots(len(panels), squeeze=False, figsize=(7, 2.4 * len(panels)))
    for axis, (title, lengths) in zip(axes[:, 0], panels, strict=True):
        starts = [bar.from_ for bar in lengths.histogram]
        width = starts[1] - starts[0] if len(starts) > 1 else 1
        axis.bar(starts, [bar.rows for bar in lengths.histogram], width=0.9 * width, align="edge")
        axis.axvline(lengths.median, color="black", linewidth=1)
        axis.set_title(f"{title} (median {lengths.median:,}, longest {lengths.max:,})", fontsize=9)
        axis.set_ylabel("rows")
    figure.tight_layout()
    figure.savefig(path, format="png", dpi=120)
    pyplot.close(figure)
