"""Read, clean, dedup and split, files to files, on all rows of SMOLCHAT_DATA/sft: seconds of each stage.

A stage that is done would be skipped, and only be looked at: so what a run made is forgotten before the next.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from . import corpus
from .measure import Measured, forget, machine, measure, table

STAGES = ("read", "clean", "dedup", "split")


def prepare(path: Path) -> Path:
    return path


def read(folder: Path) -> Any:
    from smolchat_fast.sources import read_files

    return read_files(_inputs(), _new(folder / "read.parquet"))


def clean(folder: Path) -> Any:
    from smolchat_fast.clean import clean_files

    return clean_files([folder / "read.parquet"], _new(folder / "clean.parquet"))


def dedup(folder: Path) -> Any:
    from smolchat_fast.dedup import deduplicate_files

    return deduplicate_files([folder / "clean.parquet"], _new(folder / "dedup.parquet"))


def split(folder: Path) -> Any:
    from smolchat_fast.split import split_files

    _new(folder / "valid.parquet")
    return split_files([folder / "dedup.parquet"], _new(folder / "train.parquet"))


def run() -> str:
    """Measure the stages one after the other and return the report.

    Raises:
        RuntimeError: a stage took up other rows than the one before it gave.
    """
    inputs = _inputs()
    if not inputs:
        return "pipeline: no SMOLCHAT_DATA/sft here"
    works = dict(zip(STAGES, (read, clean, dedup, split), strict=True))
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        measured = {name: measure(prepare, work, folder) for name, work in works.items()}
        _check(folder, measured)
        size = sum(
            column.nbytes
            for column in pq.read_table(folder / "read.parquet", columns=["prompt", "response"]).columns
        )
    rows = pq.ParquetDataset(inputs).read(columns=[]).num_rows
    lines = [
        [
            name,
            f"{found.wall_s:.2f}",
            f"{found.cpu_s:.2f}",
            f"{found.peak_mb:,.0f}",
            f"{rows / found.wall_s:,.0f}",
            f"{size / 1e6 / found.wall_s:,.0f}",
        ]
        for name, found in measured.items()
    ]
    wall = sum(found.wall_s for found in measured.values())
    cpu = sum(found.cpu_s for found in measured.values())
    peak = max(found.peak_mb for found in measured.values())
    lines.append(
        [
            "all",
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{peak:,.0f}",
            f"{rows / wall:,.0f}",
            f"{size / 1e6 / wall:,.0f}",
        ]
    )
    title = f"pipeline: {rows:,} rows, {size / 1e6:.0f} MB of SMOLCHAT_DATA/sft, Parquet to zstd Parquet"
    header = ["stage", "wall s", "CPU s", "peak MB", "rows/s", "MB/s"]
    return "\n".join([title, machine(["smolchat-fast"]), "", table(header, lines)])


def _new(out: Path) -> Path:
    forget(out)
    return out


def _inputs() -> list[Path]:
    return sorted((corpus.DATA / "sft").glob("*.parquet"))


def _check(folder: Path, measured: dict[str, Measured]) -> None:
    def rows(name: str) -> int:
        return int(pq.read_metadata(folder / f"{name}.parquet").num_rows)

    taken = {name: measured[name].result.rows_in for name in STAGES[1:]}
    given = {"clean": rows("read"), "dedup": rows("clean"), "split": rows("dedup")}
    if taken != given or rows("train") + rows("valid") != rows("dedup"):
        raise RuntimeError(f"pipeline: stages took up {taken} rows, those before them gave {given}")
