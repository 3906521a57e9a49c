"""Greedy answers of a model to many prompts, each the same whatever batch it falls into.

This is the generation that preference data and the card are made with; the engines of `serve` stream
single answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel, PreTrainedTokenizerBase
from transformers.modeling_outputs import BaseModelOutput

from smolchat_fast.encode import batches_by_length, encode, pad_sources
from smolchat_fast.model import CACHE
from smolchat_fast.progress import Progress, ignore


def generate_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int = 128,
    batch_rows: int = 256,
    *,
    max_source: int = 320,
    progress: Progress = ignore,
) -> list[str]:
    """Greedy answers, in the order of the prompts.

    Args:
        model: An encoder-decoder model, also one with a peft adapter; left in the mode it was in.
        tokenizer: Its post-processor appends `[EOS]`.
        prompts: N prompts.
        max_new_tokens: Most tokens of an answer, `[EOS]` included.
        batch_rows: Prompts answered at a time; sorted by length first, so that little is padding.
        max_source: Most tokens of a prompt, `[EOS]` included; the rest is cut.
        progress: Called with ("answers", prompts done, N).
    Returns:
        N answers without special tokens.
    """
    if not prompts:
        return []
    sources = encode(tokenizer, prompts, max_source)
    answers: list[list[int]] = [[]] * len(sources)
    done, training = 0, model.training
    model.eval()
    try:
        for rows in batches_by_length([len(source) for source in sources], batch_rows):
            ids, mask = pad_sources([sources[row] for row in rows], model.config.pad_token_id)
            found = greedy_tokens(model, ids.to(model.device), mask.to(model.device), max_new_tokens)
            for row, answer in zip(rows, found.tolist(), strict=True):
                answers[row] = answer
            done += len(rows)
            progress("answers", done, len(prompts))
    finally:
        model.train(training)
    return tokenizer.batch_decode(answers, skip_special_tokens=True)


@torch.inference_mode()
def greedy_tokens(
    model: PreTrainedModel, input_ids: Tensor, attention_mask: Tensor, max_new_tokens: int
) -> Tensor:
    """The most probable next token again and again, up to `[EOS]`.

    Rows that are finished leave the batch as soon as they are half of it, so one long answer does not
    hold up all others.

    Args:
        model: In evaluation mode.
        input_ids: int64 [B, S].
        attention_mask: int64 [B, S].
        max_new_tokens: Most tokens of an answer, `[EOS]` included.
    Returns:
        int64 [B, T], T <= max_new_tokens: `[EOS]` included, `[PAD]` after it.
    """
    config = model.config
    found = input_ids.new_full((len(input_ids), max_new_tokens), config.pad_token_id)
    encoded = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    open_rows = torch.arange(len(input_ids), device=input_ids.device)
    last = input_ids.new_full((len(input_ids), 1), config.decoder_start_token_id)
    finished = torch.zeros_like(open_rows, dtype=torch.bool)
    for step in range(max_new_tokens):
        logits = model(
            decoder_input_ids=last,
            encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
            attention_mask=attention_mask,
            use_cache=True,
            **{CACHE: cache},
        ).logits[:, -1]  # [B, V]
        last = logits.argmax(-1, keepdim=True).masked_fill(finished[:, None], config.pad_token_id)
        found[open_rows, step] = last[:, 0]
        finished |= last[:, 0] == config.eos_token_id
        ended = int(finished.sum())
        if ended == len(finished):
            return found[:, : step + 1]
        if 2 * ended >= len(finished):
            keep = (~finished).nonzero()[:, 0]
            open_rows, last, finished = open_rows[keep], last[keep], finished[keep]
            encoded, attention_mask = encoded[keep], attention_mask[keep]
            cache.batch_select_indices(keep)
    return found
