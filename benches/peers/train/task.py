"""What all trainers are given: rows, a tokenizer, a model, and rows to measure it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast.model_options import ModelOptions
from smolchat_fast.stream import StreamOptions

MAX_TOKENS = 256
"""Tokens of a source and of a target at most, as in the earlier project."""
VOCABULARY = 2_400
VALID_ROWS = 500
SEED = 1
MODEL = ModelOptions(preset="demo")


@dataclass(frozen=True)
class Task:
    """A folder with the files of one comparison and the tokenizer."""

    folder: Path
    origin: str

    @property
    def rows(self) -> Path:
        """What is trained on."""
        return self.folder / "rows.parquet"

    @property
    def valid(self) -> Path:
        """Rows that nobody is trained on."""
        return self.folder / "valid.parquet"


def make_task(folder: Path, pairs: list[tuple[str, str]], origin: str) -> Task:
    """Write the files of a task; the first rows become its validation rows."""
    from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer, save

    task = Task(folder, origin)
    for path, chosen in ((task.valid, pairs[:VALID_ROWS]), (task.rows, pairs[VALID_ROWS:])):
        prompts, responses = zip(*chosen, strict=True)
        pq.write_table(pa.table({"prompt": prompts, "response": responses}), path)
    texts = [text for pair in pairs[VALID_ROWS:] for text in pair]
    save(build_tokenizer(texts, TokenizerOptions(vocab_size=VOCABULARY)), folder)
    return task


def stream_options(batch_tokens: int) -> StreamOptions:
    """Batches of the model of a task."""
    return StreamOptions(
        batch_tokens=batch_tokens, max_source=MAX_TOKENS, max_target=MAX_TOKENS, pad_multiple=1
    )
