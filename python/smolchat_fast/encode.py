"""Texts to padded tensors and labels to losses: what generation, preferences and evaluation share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""Label of a position that is padding and weighs nothing."""


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text, `[EOS]` last, cut to `max_tokens` with `[EOS]` kept.

    Args:
        tokenizer: Its post-processor appends `[EOS]`.
        texts: N texts.
        max_tokens: Most ids of a text, `[EOS]` included.
    Returns:
        N lists of 1 to `max_tokens` ids.
    """
    if not texts:
        return []
    return tokenizer(list(texts), truncation=True, max_length=max_tokens)["input_ids"]  # type: ignore[return-value]


def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
    """Rows of different lengths as one tensor, filled up on the right.

    Returns:
        int64 [len(rows), longest row].
    """
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows], dtype=torch.int64)


def pad_sources(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Tensor, Tensor]:
    """Source rows and the mask of their real tokens.

    Returns:
        `input_ids` and `attention_mask`, both int64 [B, S].
    """
    lengths = torch.tensor([len(row) for row in rows])
    ids = pad(rows, pad_id)
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def shifted_right(labels: Tensor, start_id: int, pad_id: int) -> Tensor:
    """What the decoder reads to say `labels`: the start token, then all but the last label.

    Args:
        labels: int64 [B, T], -100 where nothing is to be said.
        start_id: Token that starts every answer.
        pad_id: Stands for -100.
    Returns:
        int64 [B, T].
    """
    start = labels.new_full((len(labels), 1), start_id)
    return torch.cat([start, labels[:, :-1].masked_fill(labels[:, :-1] == IGNORED, pad_id)], dim=1)


def label_nats(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-probability of each label.

    Args:
        logits: [B, T, V].
        labels: int64 [B, T], -100 where nothing is to be said.
    Returns:
        float32 [B, T], 0 where nothing is to be said.
    """
    # Flat: cross_entropy over a transposed [B, V, T] is five times slower on a CPU.
    nats = functional.cross_entropy(
        logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return nats.view_as(labels)


@dataclass
class LossSums:
    """What the loss by target token and bits per byte are made of, summed over rows."""

    nats: float = 0.0
    tokens: int = 0
    whole_nats: float = 0.0
    """Of the rows whose target was not cut."""
    whole_bytes: int = 0

    def add(self, nats: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
        """Take in rows: the cross-entropy of each, summed over its target tokens, and their number; both [B]."""
        self.nats += float(nats.sum())
        self.tokens += int(tokens.sum())

    def add_whole(self, nats: NDArray[np.float64], target_bytes: NDArray[np.int64]) -> None:
        """Take in those of them whose target was not cut, and its UTF-8 bytes; both [W]."""
        self.whole_nats += float(nats.sum())
        self.whole_bytes += int(target_bytes.sum())

    @property
    def loss(self) -> float | None:
        """Mean cross-entropy by target token in nats; None without any token."""
        return self.nats / self.tokens if self.tokens else None

    @property
    def bits_per_byte(self) -> float | None:
        """Over the rows whose target was not cut; compares models with different tokenizers."""
        return self.whole_nats / math.log(2) / self.whole_bytes if self.whole_bytes else None


def batches_by_length(lengths: Sequence[int], batch_rows: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, the shortest first; ties stay in input order."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), batch_rows):
        yield order[start : start + batch_rows]
