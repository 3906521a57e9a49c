"""Raw files of any format and encoding to one file of rows, every record that is left out accounted for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arguments import expand as expand
from smolchat_fast.errors import DataError
from smolchat_fast.progress import Progress
from smolchat_fast.sources.options import SourceOptions as SourceOptions
from smolchat_fast.stage import run_stage

SHOWN = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class BadRecord:
    """A record that was left out."""

    path: Path
    place: Literal["line", "row"]
    number: int
    """Line where it begins, or its row in a Parquet file, counted from 1."""
    reason: str
    detail: str
    """More about it, for example the name of the field."""
    excerpt: str
    """How it begins."""

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.path}, {self.place} {self.number}: {self.reason}{detail}: {self.excerpt}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """What was read from one file."""

    path: Path
    format: str
    encoding: str
    """As found out; empty for Parquet."""
    compression: str | None
    records: int
    rows: int
    bad: dict[str, int]
    """Records left out by reason."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceReport:
    """What was read."""

    records: int
    """Records found in the files."""
    rows: int
    """Rows written."""
    bad: dict[str, int]
    """Records left out by reason."""
    bad_share: float
    too_many_bad: bool
    """More than `max_bad_share` was left out."""
    files: tuple[FileReport, ...]
    samples: tuple[BadRecord, ...]
    """The first few bad records of each file and reason."""

    @property
    def rows_in(self) -> int:
        """Rows read."""
        return self.records

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.rows

    def __str__(self) -> str:
        lines = [f"{self.records:,} records of {len(self.files)} files: {self.rows:,} rows"]
        for file in self.files[:SHOWN]:
            kind = ", ".join(part for part in (file.format, file.encoding, file.compression) if part)
            lines.append(f"  {file.path.name}  {kind}  {file.rows:,} rows")
        if len(self.files) > SHOWN:
            lines.append(f"  and {len(self.files) - SHOWN:,} more files")
        if self.bad:
            lines.append(f"left out {self.records - self.rows:,} ({self.bad_share:.2%}):")
            lines += [f"  {count:>9,}  {reason}" for reason, count in self.bad.items()]
            lines += ["for example:", *(f"  {sample}" for sample in self.samples[:SHOWN])]
        return "\n".join(lines)


@arguments
def read_files(
    inputs: Sequence[Path],
    out: Path,
    options: SourceOptions = SourceOptions(),
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SourceReport:
    """Read raw files into one Parquet file of rows, in the order of the inputs.

    JSON lines, JSON, CSV or TSV, Parquet, WikiExtractor text and plain text, each also gzip, zstd or bzip2.
    Of a public data set, `sources read NAME` knows the rule too; `sources list` names these.
    Encoding, format and columns are found out from the beginning of each file. Rows are
    `prompt, response, source`, or `prompt, chosen, rejected, source`, or `text, source`.
    A bad record is counted under a reason and left out. Memory: a few megabytes per thread.

    Args:
        inputs: Files, or patterns such as `raw/*.jsonl`.
        out: Parquet file of the rows.
        options: How the files are read.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, bytes done, bytes in all).
    Returns:
        Records read, rows written and what was left out, with samples.
    Raises:
        DataError: a file cannot be read at all or has no known columns; or more than `max_bad_share` of
            the records were bad, in which case `out` is whole all the same; or, with `strict`, a record
            is bad.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """
    files = expand(inputs)

    def work(partial: list[Path]) -> dict[str, Any]:
        return json.loads(
            _core.read_files(
                files,
                partial[0],
                json.dumps(asdict(options)),
                threads=threads,
                progress=progress,
            )
        )

    finished = run_stage("sources", out, work, inputs=files, options=options, overwrite=overwrite)
    report = _to_report(finished.report)
    if report.too_many_bad:
        raise DataError(
            f"{report.bad_share:.2%} of the records are bad, over max_bad_share = "
            f"{options.max_bad_share:.2%}; {out} holds the {report.rows:,} good ones. "
            f"Look at these, or allow more.\n{report}"
        )
    return report


def _to_report(told: dict[str, Any]) -> SourceReport:
    samples = []
    files = []
    for file in told["files"]:
        path = Path(file["path"])
        place: Literal["line", "row"] = "row" if file["format"] == "Parquet" else "line"
        samples += [BadRecord(path=path, place=place, **sample) for sample in file["samples"]]
        files.append(
            FileReport(
                path=path,
                format=file["format"],
                encoding=file["encoding"],
                compression=file["compression"],
                records=file["records"],
                rows=file["rows"],
                bad=file["counts"],
            )
        )
    return SourceReport(**{**told, "files": tuple(files), "samples": tuple(samples)})
