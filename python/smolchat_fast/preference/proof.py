"""Sample rows and their logits: what two models that should say the same are compared on."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedModel

from smolchat_fast.encode import IGNORED, encode, pad, pad_sources, shifted_right
from smolchat_fast.errors import DataError
from smolchat_fast.preference.options import MergeOptions
from smolchat_fast.rows import read_texts


class Samples(NamedTuple):
    """Rows to compare on."""

    input_ids: Tensor
    """int64 [B, S]."""
    attention_mask: Tensor
    """int64 [B, S]."""
    labels: Tensor
    """int64 [B, T], -100 where the answer has ended."""


def read_samples(path: Path, base: Path, options: MergeOptions) -> Samples:
    """The first rows of a file, as the base model's tokenizer reads them.

    Raises:
        DataError: the file lacks a column, has a null, or has no row.
    """
    tokenizer = AutoTokenizer.from_pretrained(base)
    batches = read_texts([path], ["prompt", ("response", "chosen")], batch_rows=options.rows)
    for prompts, answers in islice(batches, 1):
        sources = encode(tokenizer, prompts, options.max_tokens)
        targets = encode(tokenizer, answers, options.max_tokens)
        return Samples(*pad_sources(sources, tokenizer.pad_token_id), pad(targets, IGNORED))
    raise DataError(f"{path}: no row to compare on.")


def draw_samples(config: PreTrainedConfig, options: MergeOptions) -> Samples:
    """Random prompts and answers of random lengths."""
    generator = torch.Generator().manual_seed(options.seed)

    def rows() -> list[list[int]]:
        lengths = torch.randint(2, options.max_tokens + 1, (options.rows,), generator=generator).tolist()
        return [
            torch.randint(config.vocab_size, (length,), generator=generator).tolist() for length in lengths
        ]

    return Samples(*pad_sources(rows(), config.pad_token_id), pad(rows(), IGNORED))


@torch.inference_mode()
def logits_of(model: PreTrainedModel | PeftModel, samples: Samples) -> Tensor:
    """Logits at each position of the answers, the answer so far being given.

    Returns:
        float32 [K, V] at the K positions that have a label.
    """
    config: Any = model.config
    logits = model(
        input_ids=samples.input_ids,
        attention_mask=samples.attention_mask,
        decoder_input_ids=shifted_right(samples.labels, config.decoder_start_token_id, config.pad_token_id),
    ).logits  # [B, T, V]
    return logits[samples.labels != IGNORED].float()
