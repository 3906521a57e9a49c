"""What all trainers are given: rows, a tokenizer, a model, and rows to measure it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast.model_options import ModelOptions
from smolchat_fast.stream import StreamOptions

from .. import corpus

MAX_TOKENS = 256
"""Tokens of a source and of a target at most, as in the earlier project."""
VOCABULARY = 4_096
VALID_ROWS = 200
SEED = 1


@dataclass(frozen=True)
class Task:
    """Files and shape of one comparison."""

    folder: Path
    """Holds the files and the tokenizer."""
    origin: str
    rows: int
    part_rows: int
    """Rows of a trial, and of our own run."""
    model: ModelOptions = ModelOptions(preset="demo")

    @property
    def whole(self) -> Path:
        """What the baselines are trained on in the end."""
        return self.folder / "whole.parquet"

    @property
    def part(self) -> Path:
        """The first rows of it."""
        return self.folder / "part.parquet"

    @property
    def valid(self) -> Path:
        """Rows that nobody is trained on."""
        return self.folder / "valid.parquet"


def make_task(folder: Path, rows: int, part: float) -> Task:
    """Write the files of a task.

    Args:
        folder: Where they go.
        rows: Rows to train on at most.
        part: Share of them that a trial has.
    """
    from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer, save

    pairs, origin = corpus.pairs(rows + VALID_ROWS, SEED)
    valid, train = pairs[:VALID_ROWS], pairs[VALID_ROWS:]
    task = Task(folder, origin, len(train), round(part * len(train)))
    for path, chosen in ((task.whole, train), (task.part, train[: task.part_rows]), (task.valid, valid)):
        prompts, responses = zip(*chosen, strict=True)
        pq.write_table(pa.table({"prompt": prompts, "response": responses}), path)
    texts = [text for pair in train[:20_000] for text in pair]
    save(build_tokenizer(texts, TokenizerOptions(vocab_size=VOCABULARY)), folder)
    return task


def stream_options(batch_tokens: int) -> StreamOptions:
    """Batches of the model of a task."""
    return StreamOptions(
        batch_tokens=batch_tokens, max_source=MAX_TOKENS, max_target=MAX_TOKENS, pad_multiple=1
    )
