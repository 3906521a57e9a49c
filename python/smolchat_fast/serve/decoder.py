"""Prompts to tokens: one network, and a search for each answer that has rows in it."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from transformers import GenerationConfig

from smolchat_fast.serve.network import Encoding, Network
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.search import Emission, Search, StepOutput, build_search
from smolchat_fast.serve.tokens import Tokens


class Row:
    """One answer's state: its prompt while that is encoded, its rows in the network after."""

    def __init__(self, encoding: Encoding, search: Search, needed: int) -> None:
        self.encoding: Encoding | None = encoding
        self.search = search
        self.bytes = needed


class T5Decoder:
    """What the engine computes tokens with. All calls come from one thread.

    Args:
        network: The model.
        tokens: The tokenizer that belongs to it.
        start_id: The token that every answer begins with.
        end_ids: Tokens that end an answer.
    """

    def __init__(self, network: Network, tokens: Tokens, start_id: int, end_ids: AbstractSet[int]) -> None:
        self.network, self.end_ids = network, end_ids
        self.text = tokens.decode
        self._start_id = start_id
        self._rows: list[Row] = []  # in the order of the network's rows, each with as many as it has

    def bytes_of(self, prompt: Sequence[int], decoding: Decoding) -> int:
        """Bytes of keys and values that an answer takes at most."""
        target = 1 + len(decoding.forced) + decoding.max_new_tokens
        return decoding.rows * self.network.bytes_of(len(prompt), target)

    def start(self, prompt: Sequence[int], decoding: Decoding) -> Row:
        """Begin to encode a prompt."""
        search = build_search(decoding, self._start_id, self.end_ids)
        return Row(self.network.encode(prompt), search, self.bytes_of(prompt, decoding))

    def encode(self, row: Row, tokens: int | None = None) -> bool:
        """Go on with encoding; True once the row can take steps.

        Args:
            row: A started row.
            tokens: Computes no more than so many tokens cost, but a layer at least; everything by default.
        """
        if row.encoding is None:
            return True
        layers = self.network.layers
        if tokens is not None:
            layers = max(1, tokens * layers // row.encoding.tokens)
        if not row.encoding.advance(layers):
            return False
        self.network.join(row.encoding, row.search.rows)
        self._rows.append(row)
        row.encoding = None
        return True

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, Emission]]:
        """Let every encoded row take a step."""
        logits = self.network.step([token for row in self._rows for token in row.search.fed])
        output = StepOutput(logits, self.network.hidden)
        found, order, first = [], [], 0
        for row in self._rows:
            found.append((row, row.search.advance(output, first)))
            order += [first + source for source in row.search.sources]
            first += row.search.rows
        if order != list(range(len(order))):
            self.network.select(order)
        return found

    def leave(self, rows: Sequence[Row]) -> None:
        """Let go of rows, in whatever state they are."""
        leaving = {id(row) for row in rows}
        if not any(id(row) in leaving for row in self._rows):
            return
        places, first = {}, 0
        for row in self._rows:
            places[id(row)] = range(first, first + row.search.rows)
            first += row.search.rows
        self._rows = self._filled([row for row in self._rows if id(row) not in leaving], leaving)
        self.network.select([place for row in self._rows for place in places[id(row)]])

    def _filled(self, staying: list[Row], leaving: AbstractSet[int]) -> list[Row]:
        """The rows that stay, those from the end in the gaps: as few as possible are moved."""
        if any(row.search.rows > 1 for row in self._rows):
            return staying
        kept = self._rows[: len(staying)]
        spare = [row for row in self._rows[len(staying) :] if id(row) not in leaving]
        return [row if id(row) not in leaving else spare.pop() for row in kept]


def end_ids(config: GenerationConfig, model_end: int | list[int] | None) -> frozenset[int]:
    """The tokens that end an answer of a model."""
    ends = config.eos_token_id if config.eos_token_id is not None else model_end
    return frozenset([ends] if isinstance(ends, int) else ends or [])


def default_decoding(config: GenerationConfig) -> Decoding:
    """How the model's own generation_config wants answers made."""
    rules = Decoding(
        repetition_penalty=config.repetition_penalty or 1.0,
        no_repeat_ngram_size=config.no_repeat_ngram_size or 0,
        num_beams=1 if config.do_sample else config.num_beams or 1,
        length_penalty=1.0 if config.length_penalty is None else config.length_penalty,
    )
    if not config.do_sample:
        return rules
    return Decoding(
        temperature=1.0 if config.temperature is None else config.temperature,
        # What `generate` takes when the file names none.
        top_k=50 if config.top_k is None else config.top_k,
        top_p=config.top_p or 1.0,
        min_p=config.min_p or 0.0,
        repetition_penalty=rules.repetition_penalty,
        no_repeat_ngram_size=rules.no_repeat_ngram_size,
    )
