"""Text to ids in Arrow: ours and the `tokenizers` library with the same tokenizer, each on all cores."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from . import corpus
from .dedup import as_column, as_strings
from .measure import machine, measure, table

ID = pa.uint16()


def ours(column: Any, folder: Path) -> Any:
    from smolchat_fast.tokenizer import encode

    return encode(column, folder).column("ids").combine_chunks()


def theirs(rows: list[str], folder: Path, method: str) -> Any:
    from smolchat_fast.tokenizer import load

    return pa.array([each.ids for each in getattr(load(folder), method)(rows)], pa.list_(ID))


CONTENDERS = {
    "smolchat-fast": (as_column, ours),
    # It leaves out the places in the text.
    "tokenizers, encode_batch_fast": (as_strings, partial(theirs, method="encode_batch_fast")),
    "tokenizers, encode_batch": (as_strings, partial(theirs, method="encode_batch")),
}


def run(mb: float) -> str:
    """Measure all on this many megabytes and return the report.

    Raises:
        RuntimeError: the ids are not the same.
    """
    from smolchat_fast.tokenizer import build_tokenizer, save

    texts, origin = corpus.whole_texts(mb)
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as name:
        path, folder = Path(name) / "corpus.parquet", Path(name) / "tokenizer"
        corpus.write(texts, path)
        save(build_tokenizer(texts), folder)
        measured = {
            contender: measure(prepare, partial(work, folder=folder), path)
            for contender, (prepare, work) in CONTENDERS.items()
        }
    best = measured["smolchat-fast"]
    lines = []
    for contender, found in measured.items():
        if found.result.to_pylist() != best.result.to_pylist():
            raise RuntimeError(f"encode: {contender} gives other ids")
        lines.append(
            [
                contender,
                f"{size / 1e6 / found.wall_s:.1f}",
                f"{found.wall_s:.2f}",
                f"{found.cpu_s:.2f}",
                f"{found.peak_mb:,.0f}",
                f"{found.wall_s / best.wall_s:.1f}x",
            ]
        )
    title = f"encode: {len(texts):,} rows, {size / 1e6:.1f} MB of {origin}, to lists of {ID} in Arrow; the same ids"
    header = ["", "MB/s", "wall s", "CPU s", "peak MB", "wall"]
    return "\n".join([title, machine(["smolchat-fast", "tokenizers"]), "", table(header, lines)])
