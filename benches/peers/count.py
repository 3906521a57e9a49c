"""Words of files far larger than memory: time, and peak memory beside the size of the text.

The corpus is made for the run and removed afterwards: real texts again and again, each time with other misprints,
so that new words turn up to the end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import corpus
from .measure import forget, machine, measure, table
from .scale import prepare

COPY_MB = 200.0
MISPRINTS = 0.01
"""Share of the characters that are others in each copy, drawn from the same text."""
ROOM = 0.8
"""Disk that a byte of text takes: the corpus, compressed, and the parts of the count."""


def copies(texts: list[str]) -> Iterator[pa.Table]:
    """The texts with misprints, without end."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
    ends = np.cumsum([len(text) for text in texts]).tolist()
    han = np.flatnonzero((codes >= 0x4E00) & (codes < 0x9FA6))
    rng = np.random.default_rng(1)
    while True:
        copy = codes.copy()
        at = rng.choice(han, int(len(han) * MISPRINTS))
        copy[at] = codes[rng.choice(han, len(at))]
        text = copy.tobytes().decode("utf-32-le")
        yield pa.table({"text": [text[start:end] for start, end in zip([0, *ends], ends, strict=False)]})


def write(path: Path, texts: list[str], gb: float) -> tuple[int, int]:
    """Stream a corpus to disk; returns bytes and characters of its text."""
    size = characters = 0
    with pq.ParquetWriter(path, pa.schema([("text", pa.string())]), compression="zstd") as writer:
        for copy in copies(texts):
            writer.write_table(copy, row_group_size=50_000)
            size += pc.sum(pc.binary_length(copy.column("text"))).as_py()
            characters += pc.sum(pc.utf8_length(copy.column("text"))).as_py()
            if size >= gb * 1e9:
                break
    return size, characters


def ours(path: Path) -> Any:
    from smolchat_fast.words import count_words_files

    out = counts_path(path)
    forget(out)
    return count_words_files([path], out)


def counts_path(path: Path) -> Path:
    return path.with_name("counts.parquet")


def counted_characters(path: Path) -> int:
    """Characters of all words counted: joined, the words of a text are the text."""
    counts = pq.read_table(path)
    lengths = pc.cast(pc.utf8_length(counts.column("word")), pa.int64())
    return int(pc.sum(pc.multiply(lengths, counts.column("count"))).as_py())


def run(gb: float) -> str:
    """Count so much text and return the report.

    Raises:
        RuntimeError: a character was lost, or there is too little room on the disk.
    """
    texts, origin = corpus.whole_texts(COPY_MB)
    with tempfile.TemporaryDirectory() as folder:
        if shutil.disk_usage(folder).free < gb * 1e9 * ROOM:
            raise RuntimeError(f"{gb:g} GB of text need {gb * ROOM:.1f} GB in {folder}")
        path = Path(folder) / "corpus.parquet"
        size, characters = write(path, texts, gb)
        found = measure(prepare, ours, path)
        counted = counted_characters(counts_path(path))
    if counted != characters:
        raise RuntimeError(f"count: {counted:,} of {characters:,} characters are in the words counted")
    title = f"count: {size / 1e9:.2f} GB of {origin} with misprints; every one of {characters:,} characters counted"
    line = [
        f"{found.result.rows:,}",
        f"{found.result.words:,}",
        f"{found.result.distinct_words:,}",
        f"{found.wall_s:.1f}",
        f"{found.cpu_s:.1f}",
        f"{size / 1e6 / found.wall_s:.1f}",
        f"{found.peak_mb:,.0f}",
    ]
    header = ["rows", "words", "distinct", "wall s", "CPU s", "MB/s", "peak MB"]
    return "\n".join([title, machine(["smolchat-fast", "pyarrow"]), "", table(header, [line])])
