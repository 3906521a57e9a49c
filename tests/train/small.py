"""A small training problem: rows, a character tokenizer, and a model of a few thousand parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast.model_options import ModelOptions
from smolchat_fast.stream import Batch

SPECIAL = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]
TINY = ModelOptions(preset="demo", d_model=16, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1)


def pairs(count: int = 60) -> list[tuple[str, str]]:
    """Questions on small sums, whose answers repeat a part of the question."""
    return [(f"{a}加{b}等于几", f"{a}加{b}等于{a + b}") for a in range(8) for b in range(8)][:count]


def write_tokenizer(folder: Path) -> Path:
    """A tokenizer folder of single characters that appends `[EOS]`."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    characters = sorted({c for pair in pairs(64) for text in pair for c in text})
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "eos_token": "[EOS]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return folder


def write_rows(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A Parquet file of rows."""
    columns = {
        "prompt": [p for p, _ in rows],
        "response": [r for _, r in rows],
        "source": ["test"] * len(rows),
    }
    pq.write_table(pa.table(columns), path)
    return path


@dataclass
class ListStream:
    """The batches of a list over and over, with the border of the real stream."""

    batches: list[Batch]
    epochs: int | None = None
    position: int = 0

    @property
    def rows(self) -> int:
        return sum(len(batch.rows) for batch in self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self.epochs is not None and self.position >= self.epochs * len(self.batches):
            raise StopIteration
        self.position += 1
        return self.batches[(self.position - 1) % len(self.batches)]

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position = state["position"]


def random_batch(
    seed: int, *, rows: int = 4, source: int = 6, target: int = 5, vocabulary: int = 20
) -> Batch:
    """A batch of random tokens, padded at the end of every second row."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, vocabulary, (rows, source))
    mask = np.ones((rows, source), np.int64)
    labels = rng.integers(2, vocabulary, (rows, target))
    mask[::2, -2:], ids[::2, -2:], labels[1::2, -1:] = 0, 0, -100
    return make_batch(ids, mask, labels)


def make_batch(ids: np.ndarray, mask: np.ndarray, labels: np.ndarray) -> Batch:
    return Batch(input_ids=ids, attention_mask=mask, labels=labels, rows=np.arange(len(ids)))
