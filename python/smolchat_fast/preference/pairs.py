"""Preference pairs: files -> token ids -> padded batches -> log-probabilities of whole answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from smolchat_fast.encode import (
    IGNORED,
    batches_by_length,
    encode,
    label_nats,
    pad,
    pad_sources,
    shifted_right,
)
from smolchat_fast.errors import DataError
from smolchat_fast.rows import read_texts

Example = Mapping[str, Any]
"""Of one pair: `prompt_ids`, `chosen_ids`, `rejected_ids`, and once known `ref_chosen_logps`, `ref_rejected_logps`."""


def read_pairs(
    paths: Sequence[Path], tokenizer: PreTrainedTokenizerBase, max_source: int, max_target: int
) -> tuple[Dataset, int]:
    """All pairs of the files as token ids, and how many of them were cut.

    Raises:
        DataError: a file lacks a column or has a null; names file and row; or there is no pair at all.
    """
    columns: dict[str, list[list[int]]] = {"prompt_ids": [], "chosen_ids": [], "rejected_ids": []}
    for texts in read_texts(paths, ["prompt", "chosen", "rejected"]):
        # One token more than allowed tells the cut ones from those that just fit.
        for column, values, most in zip(
            columns.values(), texts, (max_source, max_target, max_target), strict=True
        ):
            column.extend(encode(tokenizer, values, most + 1))
    limits = dict(zip(columns, (max_source, max_target, max_target), strict=True))
    cut = sum(
        any(len(ids) > limits[name] for name, ids in zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    )
    for name, rows in columns.items():
        columns[name] = [_shortened(ids, limits[name]) for ids in rows]
    if not columns["prompt_ids"]:
        raise DataError(f"{', '.join(map(str, paths))}: no preference pair. Did `reject` keep any?")
    return Dataset.from_dict(columns), cut


def _shortened(ids: list[int], most: int) -> list[int]:
    return ids if len(ids) <= most else [*ids[: most - 1], ids[-1]]


class PairCollator:
    """Pads pairs to one batch: prompts once, the chosen answers and below them the rejected ones."""

    def __init__(self, pad_id: int) -> None:
        self.pad_id = pad_id

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Make a batch.

        Returns:
            `input_ids`, `attention_mask` [B, S]; `labels` [2 B, T], padded with -100; and if the
            examples have them `reference` float32 [2 B], log-probabilities of the reference model.
        """
        input_ids, attention_mask = pad_sources([e["prompt_ids"] for e in examples], self.pad_id)
        answers = [e[side] for side in ("chosen_ids", "rejected_ids") for e in examples]
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": pad(answers, IGNORED)}
        if "ref_chosen_logps" in examples[0]:
            known = [e[side] for side in ("ref_chosen_logps", "ref_rejected_logps") for e in examples]
            batch["reference"] = torch.tensor(known, dtype=torch.float32)
        return batch


def answer_log_probs(
    model: PreTrainedModel, batch: Mapping[str, Tensor], wrapped: nn.Module | None = None
) -> Tensor:
    """Log-probability of each whole answer, `[EOS]` included.

    Each prompt is encoded once for both of its answers.

    Args:
        model: The encoder-decoder model.
        batch: Of `PairCollator`, on the model's device.
        wrapped: The model as wrapped for several processes, which then does the second half of the work.
    Returns:
        float32 [2 B]: chosen answers, then rejected ones.
    """
    source, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
    hidden = model.get_encoder()(input_ids=source, attention_mask=mask).last_hidden_state  # [B, S, D]
    logits = (wrapped or model)(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat(2, 1, 1)),
        attention_mask=mask.repeat(2, 1),
        decoder_input_ids=shifted_right(
            labels, model.config.decoder_start_token_id, model.config.pad_token_id
        ),
        use_cache=False,
    ).logits  # [2 B, T, V]
    return -label_nats(logits, labels).sum(1)


@torch.inference_mode()
def with_reference(pairs: Dataset, model: Any, collator: PairCollator, batch_rows: int) -> Dataset:
    """The pairs with the model's own log-probabilities, computed once before it is trained.

    Args:
        pairs: As read.
        model: The model to be trained; with an adapter, the adapter counts as absent.
        collator: Pads batches.
        batch_rows: Pairs of a batch.
    Returns:
        The pairs with `ref_chosen_logps` and `ref_rejected_logps`.
    """
    examples = [pairs[row] for row in range(len(pairs))]
    found = torch.empty(2, len(examples))
    lengths = [max(len(e["chosen_ids"]), len(e["rejected_ids"])) for e in examples]
    training = model.training
    model.eval()
    for rows in batches_by_length(lengths, batch_rows):
        batch = {name: t.to(model.device) for name, t in collator([examples[row] for row in rows]).items()}
        found[:, rows] = answer_log_probs(model, batch).view(2, -1).cpu()
    model.train(training)
    named = zip(("ref_chosen_logps", "ref_rejected_logps"), found.tolist(), strict=True)
    for name, column in named:
        pairs = pairs.add_column(name, column)  # type: ignore[call-arg]
    return pairs
