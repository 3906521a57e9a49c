"""JSON lines and CSV to Parquet: ours, pandas and pyarrow on the same files.

Ours also finds out encoding, format and columns, and counts bad records; the others are told.
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from . import corpus
from .measure import Measured, forget, machine, measure, table

COLUMNS = ["prompt", "response"]


def prepare(path: Path) -> Path:
    return path


def imported(path: Path) -> Path:
    """What a contender imports is not timed."""
    import pandas  # noqa: F401

    return path


def ours(path: Path) -> Path:
    from smolchat_fast.sources import read_files

    out = path.with_suffix(".ours.parquet")
    forget(out)
    read_files([path], out)
    return out


def pandas(path: Path) -> Path:
    import pandas

    out = path.with_suffix(".pandas.parquet")
    frame = pandas.read_json(path, lines=True) if path.suffix == ".jsonl" else pandas.read_csv(path)
    frame.to_parquet(out, compression="zstd", engine="pyarrow")
    return out


def pyarrow(path: Path) -> Path:
    import pyarrow.csv
    import pyarrow.json

    out = path.with_suffix(".pyarrow.parquet")
    if path.suffix == ".jsonl":
        rows = pyarrow.json.read_json(path)
    else:
        options = pyarrow.csv.ParseOptions(newlines_in_values=True)
        rows = pyarrow.csv.read_csv(path, parse_options=options)
    pq.write_table(rows, out, compression="zstd")
    return out


CONTENDERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Path]]] = {
    "smolchat-fast": (prepare, ours),
    "pyarrow": (prepare, pyarrow),
    "pandas": (imported, pandas),
}


def run(rows: int) -> str:
    """Measure all on this many rows and return the report.

    Raises:
        RuntimeError: two contenders read other rows.
    """
    texts, origin = corpus.texts(rows)
    pairs = [(text[: len(text) // 3], text[len(text) // 3 :]) for text in texts]
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for path in _write(Path(folder), pairs):
            measured = {name: measure(ready, work, path) for name, (ready, work) in CONTENDERS.items()}
            _check(path, measured)
            best = measured["smolchat-fast"]
            size = path.stat().st_size / 1e6
            lines += [
                [
                    f"{path.suffix[1:]}: {name}",
                    f"{size / found.wall_s:,.0f}",
                    f"{found.wall_s:.2f}",
                    f"{found.cpu_s:.2f}",
                    f"{found.peak_mb:,.0f}",
                    f"{found.wall_s / best.wall_s:.1f}x",
                ]
                for name, found in measured.items()
            ]
    header = ["", "MB/s", "wall s", "CPU s", "peak MB", "wall"]
    title = f"read: {len(pairs):,} pairs of {origin}, to zstd Parquet"
    return "\n".join([title, machine(["smolchat-fast", "pyarrow", "pandas"]), "", table(header, lines)])


def _write(folder: Path, pairs: list[tuple[str, str]]) -> list[Path]:
    json_lines, table_file = folder / "pairs.jsonl", folder / "pairs.csv"
    with json_lines.open("w", encoding="utf-8") as file:
        for pair in pairs:
            file.write(json.dumps(dict(zip(COLUMNS, pair, strict=True)), ensure_ascii=False) + "\n")
    with table_file.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, *pairs])
    return [json_lines, table_file]


def _check(path: Path, measured: dict[str, Measured]) -> None:
    read = {name: pq.read_table(found.result, columns=COLUMNS) for name, found in measured.items()}
    first = read["smolchat-fast"]
    for name, rows in read.items():
        # Ours leaves out pairs with nothing in them; the corpus has none.
        if rows.num_rows != first.num_rows or rows.column(0).to_pylist() != first.column(0).to_pylist():
            raise RuntimeError(f"{path.name}: {name} and smolchat-fast read other rows")
