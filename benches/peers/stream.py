"""Batches: ours, and a DataLoader over the streaming shuffle of `datasets`, from the same files."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import corpus
from .measure import machine, measure, table

MAX_TOKENS = 320
BATCH_ROWS = 32
"""Rows of a batch of the peers; ours have as many tokens as fit in `BATCH_TOKENS`."""
BATCH_TOKENS = 8_192
BUFFER_ROWS = 10_000
"""Rows among which the peers shuffle; ours shuffle among 300,000."""


@dataclass(frozen=True)
class Counts:
    """What the batches of an epoch held."""

    rows: int
    tokens: int
    places: int

    @property
    def padding(self) -> float:
        """Share of the places that hold no token."""
        return 1 - self.tokens / self.places


def count(batches: Iterable[tuple[Any, Any, Any]]) -> Counts:
    """Rows, tokens and places of batches `input_ids`, `attention_mask`, `labels`."""
    rows = tokens = places = 0
    for input_ids, mask, labels in batches:
        rows += len(input_ids)
        tokens += int(mask.sum()) + int((labels != -100).sum())
        places += input_ids.size + labels.size
    return Counts(rows, tokens, places)


def ours(folder: Path) -> Counts:
    from smolchat_fast.stream import Stream, StreamOptions

    options = StreamOptions(
        max_source=MAX_TOKENS, max_target=MAX_TOKENS, batch_tokens=BATCH_TOKENS, pad_multiple=1
    )
    stream = Stream(sorted(folder.glob("*.parquet")), folder, options, epochs=1)
    return count((batch.input_ids, batch.attention_mask, batch.labels) for batch in stream)


def ours_imported(folder: Path) -> Path:
    """All contenders read the files themselves; what they import is not timed."""
    import smolchat_fast.stream  # noqa: F401

    return folder


def peers_imported(folder: Path) -> Path:
    import datasets  # noqa: F401
    import torch.utils.data  # noqa: F401
    import transformers  # noqa: F401

    return folder


def data_loader(folder: Path, workers: int) -> Counts:
    from datasets import load_dataset
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer

    files = [str(path) for path in sorted(folder.glob("*.parquet"))]
    rows = load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=str(folder))
    rows = rows.shuffle(seed=1, buffer_size=BUFFER_ROWS)
    collate = partial(collated, AutoTokenizer.from_pretrained(folder))
    return count(DataLoader(rows, batch_size=BATCH_ROWS, collate_fn=collate, num_workers=workers))


def collated(tokenizer: Any, rows: list[dict[str, str]]) -> tuple[Any, Any, Any]:
    """A batch padded to its longest rows."""
    sources, targets = (
        tokenizer(
            [row[column] for row in rows],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="np",
        )
        for column in ("prompt", "response")
    )
    labels = targets["input_ids"]
    labels[targets["attention_mask"] == 0] = -100
    return sources["input_ids"], sources["attention_mask"], labels


def no_workers(folder: Path) -> Counts:
    return data_loader(folder, 0)


def two_workers(folder: Path) -> Counts:
    return data_loader(folder, 2)


CONTENDERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Counts]]] = {
    "smolchat-fast": (ours_imported, ours),
    "DataLoader, no workers": (peers_imported, no_workers),
    "DataLoader, 2 workers": (peers_imported, two_workers),
}


def run(rows: int) -> str:
    """Measure all on one epoch of this many rows and return the report.

    Raises:
        RuntimeError: two contenders disagree about the rows or their tokens.
    """
    from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer, save

    texts, origin = corpus.texts(rows)
    pairs = [text.partition("\n")[::2] for text in texts]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prompts, responses = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
        rows_of_pairs = pa.table({"prompt": prompts, "response": responses})
        # A worker of `datasets` reads whole files.
        pq.write_table(rows_of_pairs[: rows // 2], folder / "1.parquet")
        pq.write_table(rows_of_pairs[rows // 2 :], folder / "2.parquet")
        save(build_tokenizer(texts[:20_000], TokenizerOptions()), folder)
        measured = {name: measure(prepare, work, folder) for name, (prepare, work) in CONTENDERS.items()}
    best = measured["smolchat-fast"]
    for name, found in measured.items():
        if (found.result.rows, found.result.tokens) != (best.result.rows, best.result.tokens):
            raise RuntimeError(f"stream: {name} has {found.result}, smolchat-fast {best.result}")
    lines = [
        [
            name,
            f"{found.result.rows / found.wall_s:,.0f}",
            f"{found.wall_s:.2f}",
            f"{found.cpu_s:.2f}",
            f"{found.result.padding:.1%}",
            f"{found.peak_mb:,.0f}",
            f"{found.wall_s / best.wall_s:.1f}x",
            f"{found.cpu_s / best.cpu_s:.1f}x",
        ]
        for name, found in measured.items()
    ]
    size = sum(len(text.encode()) for text in texts)
    header = ["", "rows/s", "wall s", "CPU s", "padding", "peak MB", "wall", "CPU"]
    title = f"stream: {len(texts):,} rows, {size / 1e6:.1f} MB of {origin}"
    return "\n".join(
        [title, machine(["smolchat-fast", "datasets", "torch", "transformers"]), "", table(header, lines)]
    )
