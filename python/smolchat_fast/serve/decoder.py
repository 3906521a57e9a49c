"""The reference decoder: any T5 of transformers, a row at a time, exactly as `generate` would.

Rows are not batched, so an answer is the same to the last bit whoever else is served.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from transformers import LogitsProcessorList, T5ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.generation.logits_process import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.modeling_outputs import BaseModelOutput

from smolchat_fast.model import CACHE
from smolchat_fast.serve.options import SEEDS, Decoding
from smolchat_fast.serve.tokens import Tokens


@dataclass(eq=False, slots=True)
class T5Row:
    """One answer's state."""

    encoded: BaseModelOutput  # last_hidden_state [1, S, D]
    cache: EncoderDecoderCache
    ids: list[int]  # the start token, then the answer
    rules: LogitsProcessorList
    random: torch.Generator | None


class T5Decoder:
    """Tokens by the model's own forward pass.

    Args:
        model: In evaluation mode.
        tokens: The tokenizer that belongs to it.
    """

    def __init__(self, model: T5ForConditionalGeneration, tokens: Tokens) -> None:
        self._model = model
        self._start_id = int(model.config.decoder_start_token_id)
        self.text = tokens.decode
        self.end_ids = end_ids(model)

    @torch.inference_mode()
    def start(self, prompt: Sequence[int], decoding: Decoding) -> T5Row:
        """Encode a prompt."""
        encoded = self._model.get_encoder()(input_ids=torch.tensor([list(prompt)]))
        return T5Row(
            encoded=encoded,
            cache=EncoderDecoderCache(DynamicCache(), DynamicCache()),
            ids=[self._start_id],
            rules=_rules(decoding),
            random=_random(decoding),
        )

    @torch.inference_mode()
    def step(self, rows: Sequence[T5Row]) -> list[int]:
        """The next token of each row."""
        return [self._next(row) for row in rows]

    def _next(self, row: T5Row) -> int:
        cache = {CACHE: row.cache}
        out = self._model(
            encoder_outputs=row.encoded,
            decoder_input_ids=torch.tensor([row.ids[-1:]]),
            use_cache=True,
            **cache,
        )
        scores = out.logits[:, -1].float()  # [1, V]
        if row.rules:
            scores = row.rules(torch.LongTensor([row.ids]), cast(torch.FloatTensor, scores))
        if row.random is None:
            token = int(scores.argmax())
        else:
            token = int(torch.multinomial(scores.softmax(-1), 1, generator=row.random))
        row.ids.append(token)
        return token


def end_ids(model: T5ForConditionalGeneration) -> frozenset[int]:
    """The tokens that end an answer of this model."""
    ends = model.generation_config.eos_token_id
    if ends is None:
        ends = model.config.eos_token_id
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def default_decoding(model: T5ForConditionalGeneration) -> Decoding:
    """How the model's own generation_config wants answers made."""
    config = model.generation_config
    rules = Decoding(
        repetition_penalty=config.repetition_penalty or 1.0,
        no_repeat_ngram_size=config.no_repeat_ngram_size or 0,
    )
    if not config.do_sample:
        return rules
    return Decoding(
        temperature=1.0 if config.temperature is None else config.temperature,
        # What `generate` takes when the file names none.
        top_k=50 if config.top_k is None else config.top_k,
        top_p=config.top_p or 1.0,
        repetition_penalty=rules.repetition_penalty,
        no_repeat_ngram_size=rules.no_repeat_ngram_size,
    )


def _rules(decoding: Decoding) -> LogitsProcessorList:
    """What changes the scores, in the order of `generate`."""
    rules = LogitsProcessorList()
    if decoding.repetition_penalty != 1:
        rules.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.no_repeat_ngram_size:
        rules.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram_size))
    if decoding.temperature == 0:
        return rules
    if decoding.temperature != 1:
        rules.append(TemperatureLogitsWarper(float(decoding.temperature)))
    if decoding.top_k:
        rules.append(TopKLogitsWarper(decoding.top_k))
    if decoding.top_p < 1:
        rules.append(TopPLogitsWarper(float(decoding.top_p)))
    return rules


def _random(decoding: Decoding) -> torch.Generator | None:
    if decoding.temperature == 0:
        return None
    seed = secrets.randbelow(SEEDS) if decoding.seed is None else decoding.seed
    return torch.Generator().manual_seed(seed)
