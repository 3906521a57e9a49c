"""Near-duplicate removal from 0.1 M to 10 M rows: time per row and peak memory, files to files.

The corpus is made for the run, seeded, written batch by batch and removed afterwards: rows of 30 to 400
characters (435 bytes on average), one in ten a near copy of an earlier row.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .measure import forget, machine, measure, table

BATCH_ROWS = 50_000
WORD_CHARS = 2
WORDS = 1 << 16
COPY_SHARE = 0.1
EDITED = 0.01
"""Share of the words of a near copy that are others than in its original: a similarity of 0.9 or so."""
BYTES_PER_ROW = 1_000
"""Disk that a row takes: the corpus, the rows kept and some room."""


def batches(rows: int, seed: int = 1) -> Iterator[pa.RecordBatch]:
    """Rows of words that are drawn by a Zipf law; copies are of rows of the first batch and of the same."""
    rng = np.random.default_rng(seed)
    characters = rng.permutation(np.arange(0x4E00, 0x9FA5))[:6000].astype(np.uint32)
    words = characters[rng.integers(0, len(characters), (20_000, WORD_CHARS))]
    by_rank = 1 / (np.arange(len(words)) + 2.7)
    drawn = words[rng.choice(len(words), WORDS, p=by_rank / by_rank.sum())]
    table = _utf8(drawn)  # [WORDS, WORD_CHARS * 3]
    first: np.ndarray | None = None
    first_lengths = np.zeros(0, np.int64)
    for start in range(0, rows, BATCH_ROWS):
        count = min(BATCH_ROWS, rows - start)
        lengths = np.clip(rng.lognormal(4.15, 0.5, count), 15, 200).astype(np.int64)
        ids = rng.integers(0, WORDS, (count, 200), dtype=np.uint16)
        if first is None:
            first, first_lengths = ids.copy(), lengths.copy()
        copies = rng.random(count) < COPY_SHARE
        copies[0] = False
        pool = first if start else ids
        origin = rng.integers(0, len(pool) if start else 1, count)
        ids[copies] = pool[origin[copies]]
        lengths[copies] = (first_lengths if start else lengths)[origin[copies]]
        edited = (rng.random((count, 200)) < EDITED) & copies[:, None]
        ids[edited] = rng.integers(0, WORDS, int(edited.sum()), dtype=np.uint16)
        inside = np.arange(200) < lengths[:, None]
        data = table[ids[inside]].tobytes()
        offsets = np.concatenate([[0], np.cumsum(lengths)]) * table.shape[1]
        buffers = [None, pa.py_buffer(offsets.astype(np.int32).tobytes()), pa.py_buffer(data)]
        yield pa.record_batch([pa.StringArray.from_buffers(count, buffers[1], buffers[2])], ["text"])


def _utf8(codes: np.ndarray) -> np.ndarray:
    """Three bytes for each character of the first plane above U+0800."""
    parts = [0xE0 | codes >> 12, 0x80 | codes >> 6 & 0x3F, 0x80 | codes & 0x3F]
    return np.stack(parts, axis=-1).astype(np.uint8).reshape(len(codes), -1)


def write(path: Path, rows: int) -> int:
    """Stream a corpus to disk and return its bytes of text."""
    size = 0
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for batch in batches(rows):
            size += batch.column(0).nbytes
            writer.write_batch(batch)
    return size


def prepare(path: Path) -> Path:
    """Nothing is read before the clock starts."""
    return path


def ours(path: Path) -> Any:
    from smolchat_fast.dedup import DedupOptions, deduplicate_files

    out = path.with_name("kept.parquet")
    # A stage that is done is skipped, and each run is to do all of it.
    forget(out)
    return deduplicate_files([path], out, DedupOptions(normalize=False))


def run(sizes: list[int], folder: Path | None = None) -> str:
    """Measure each size and return the report.

    Raises:
        RuntimeError: too little room on the disk for the largest corpus.
    """
    lines: list[list[str]] = []
    per_row: list[tuple[float, float]] = []
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as made:
            if shutil.disk_usage(made).free < rows * BYTES_PER_ROW:
                raise RuntimeError(f"{rows:,} rows need {rows * BYTES_PER_ROW >> 20:,} MiB in {made}")
            path = Path(made) / "corpus.parquet"
            size = write(path, rows)
            found = measure(prepare, ours, path)
        per_row.append((found.wall_s / rows, found.cpu_s / rows))
        lines.append(
            [
                f"{rows:,}",
                f"{size / 1e6:,.0f}",
                f"{found.result.rows_in - found.result.kept_rows:,}",
                f"{found.wall_s:.1f}",
                f"{found.cpu_s:.1f}",
                f"{rows / found.wall_s:,.0f}",
                f"{found.peak_mb:,.0f}",
                *(f"{now / first:.2f}x" for now, first in zip(per_row[-1], per_row[0], strict=True)),
            ]
        )
    header = ["rows", "MB", "removed", "wall s", "CPU s", "rows/s", "peak MB", "wall per row", "CPU per row"]
    title = "dedup of files, made-up text with one near copy in ten; load average "
    title += f"{os.getloadavg()[0]:.1f} at the end"
    return "\n".join([title, machine(["smolchat-fast", "pyarrow"]), "", table(header, lines)])
