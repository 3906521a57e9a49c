"""Preference pairs: files -> token ids -> padded batches -> log-probabilities of whole answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from datasets import Dataset, concatenate_datasets
from datasets.table import InMemoryTable
from torch import Tensor
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
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.rows import read_texts

Example = Mapping[str, Any]
"""Of one pair: `prompt_ids`, `chosen_ids`, `rejected_ids`, and once known `ref_chosen_logps` and
`ref_rejected_logps`."""


def read_pairs(
    paths: Sequence[Path], tokenizer: PreTrainedTokenizerBase, max_source: int, max_target: int
) -> tuple[Dataset, int]:
    """All pairs of the files as token ids, and how many of them were cut.

    Raises:
        DataError: a file lacks a column or has a null; names file and row; or there is no pair at all.
    """
    limits = {"prompt": max_source, "chosen": max_target, "rejected": max_target}
    tables: list[pa.Table] = []
    cut = 0
    for texts in read_texts(paths, list(limits)):
        # One token more than allowed tells the cut ones from those that just fit.
        sides = [encode(tokenizer, side, most + 1) for side, most in zip(texts, limits.values(), strict=True)]
        pairs = list(zip(*sides, strict=True))
        cut += sum(
            any(len(ids) > most for ids, most in zip(pair, limits.values(), strict=True)) for pair in pairs
        )
        columns: dict[str, pa.Array] = {
            f"{name}_ids": pa.array([_shortened(ids, most) for ids in side], pa.list_(pa.int32()))
            for side, (name, most) in zip(sides, limits.items(), strict=True)
        }
        columns["length"] = pa.array([max(map(len, pair)) for pair in pairs], pa.int32())
        tables.append(pa.table(columns))
    if not tables:
        raise DataError(f"{', '.join(map(str, paths))}: no preference pair. Did `reject` keep any?")
    return Dataset(InMemoryTable(pa.concat_tables(tables))), cut


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


def answer_log_probs(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Tensor:
    """Log-probability of each whole answer, `[EOS]` included.

    Each prompt is encoded once for both of its answers.

    Args:
        model: The encoder-decoder model, also one with an adapter.
        batch: Of `PairCollator`, on the model's device.
    Returns:
        float32 [2 B]: chosen answers, then rejected ones.
    """
    source, mask, labels = batch["input_ids"], batch["attention_mask"], batch["labels"]
    hidden = model.get_encoder()(input_ids=source, attention_mask=mask).last_hidden_state  # [B, S, D]
    config = model.config
    logits = model(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden.repeat(2, 1, 1)),
        attention_mask=mask.repeat(2, 1),
        decoder_input_ids=shifted_right(labels, config.decoder_start_token_id, config.pad_token_id),
        use_cache=False,
    ).logits  # [2 B, T, V]
    return -label_nats(logits, labels).sum(1)


@torch.inference_mode()
def with_reference(
    pairs: Dataset,
    model: PreTrainedModel,
    collator: PairCollator,
    batch_rows: int,
    progress: Progress = ignore,
) -> Dataset:
    """The pairs with the log-probabilities of the model as it is, the reference of the training to come.

    Args:
        pairs: As read.
        model: In evaluation mode, not yet trained.
        collator: Pads batches.
        batch_rows: Pairs of a batch.
        progress: Called with ("reference", pairs done, pairs in all).
    Returns:
        The pairs with `ref_chosen_logps` and `ref_rejected_logps`.
    """
    found = torch.empty(2, len(pairs))
    done = 0
    for rows in batches_by_length(pairs["length"][:], batch_rows):
        batch = collator([pairs[row] for row in rows])
        on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
        found[:, rows] = answer_log_probs(model, on_device).view(2, -1).cpu()
        done += len(rows)
        progress("reference", done, len(pairs))
    names = ("ref_chosen_logps", "ref_rejected_logps")
    known = pa.table(dict(zip(names, found.numpy(), strict=True)))
    return concatenate_datasets([pairs, Dataset(InMemoryTable(known))], axis=1)
