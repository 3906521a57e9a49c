"""Texts to padded tensors and labels to losses: what generation, preferences and evaluation share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
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


def batches_by_length(lengths: Sequence[int], batch_rows: int) -> Iterator[list[int]]:
    """Row numbers in batches of similar length, the shortest first; ties stay in input order."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    for start in range(0, len(order), batch_rows):
        yield order[start : start + batch_rows]
