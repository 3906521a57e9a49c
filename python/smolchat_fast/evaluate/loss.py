"""Loss by target token, and bits per byte, which compares models with different tokenizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from smolchat_fast.encode import (
    IGNORED,
    LossSums,
    batches_by_length,
    encode,
    label_nats,
    pad,
    pad_sources,
    shifted_right,
)
from smolchat_fast.evaluate.card import LossScore
from smolchat_fast.evaluate.options import EvaluateOptions
from smolchat_fast.progress import Progress, ignore


@torch.inference_mode()
def score_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[str, str]],
    options: EvaluateOptions = EvaluateOptions(),
    progress: Progress = ignore,
) -> LossScore:
    """Cross-entropy of the responses, each token given all before it.

    Args:
        model: In evaluation mode.
        tokenizer: Its post-processor appends `[EOS]`, which counts as a target token.
        rows: N pairs of prompt and response.
        options: Lengths and batch size.
        progress: Called with ("loss", rows done, N).
    Returns:
        The loss over all target tokens of all rows together, and bits per byte over the rows whose
        response was not cut.
    """
    sources = encode(tokenizer, [prompt for prompt, _ in rows], options.max_source)
    targets = encode(tokenizer, [response for _, response in rows], options.max_target + 1)
    sums, cut, done = LossSums(), 0, 0
    for batch in batches_by_length([len(ids) for ids in targets], options.batch_rows):
        labels = pad([targets[row][: options.max_target] for row in batch], IGNORED)
        by_row = _row_nats(model, [sources[row] for row in batch], labels)
        sums.add(by_row, (labels != IGNORED).sum(1).numpy())
        whole = np.array([len(targets[row]) <= options.max_target for row in batch])
        target_bytes = np.array([len(rows[row][1].encode()) for row in batch])
        sums.add_whole(by_row[whole], target_bytes[whole])
        cut += len(batch) - int(whole.sum())
        done += len(batch)
        progress("loss", done, len(rows))
    return LossScore(
        rows=len(rows),
        cut=cut,
        target_tokens=sums.tokens,
        loss=sums.nats / sums.tokens,
        bits_per_byte=sums.bits_per_byte,
    )


def _row_nats(model: PreTrainedModel, sources: list[list[int]], labels: torch.Tensor) -> NDArray[np.float64]:
    config = model.config
    input_ids, attention_mask = pad_sources(sources, config.pad_token_id)
    labels = labels.to(model.device)  # [B, T]
    logits = model(
        input_ids=input_ids.to(model.device),
        attention_mask=attention_mask.to(model.device),
        decoder_input_ids=shifted_right(labels, config.decoder_start_token_id, config.pad_token_id),
        use_cache=False,
    ).logits  # [B, T, V]
    return label_nats(logits, labels).double().sum(1).cpu().numpy()
