"""How an answer is found: step by step, as beams, or by contrast. A search owns one or more rows."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from smolchat_fast.serve.answer import Reason, Scored
from smolchat_fast.serve.options import SEEDS, Decoding
from smolchat_fast.serve.rules import apply_rules, draw, has_rules

NEVER = -1e9
"""Score of what is not to be chosen; as in transformers, so that sums compare alike."""


@dataclass
class StepOutput:
    """What a step gave for all rows."""

    logits: Tensor  # float32 [N, V]
    hidden: Tensor  # float32 [N, D]

    @cached_property
    def best(self) -> list[int]:
        """The likeliest token of each row."""
        # torch would wake its own threads for a batch; they then wait for more, busily, on the cores that
        # the next step is computed on.
        logits = self.logits.numpy() if self.logits.device.type == "cpu" else self.logits
        found: list[int] = logits.argmax(-1).tolist()
        return found


@dataclass(slots=True)
class Emission:
    """What a step adds to an answer."""

    tokens: list[Scored] = field(default_factory=list)
    forced: Scored | None = None
    """The forced token that was scored instead."""
    end: Scored | None = None
    """The token that ended the answer; only from a walk."""
    reason: Reason | None = None
    """Set if the answer is complete."""


class Search(Protocol):
    """One answer's way through its rows."""

    rows: int
    fed: list[int]
    """The token that each row gets next."""
    sources: list[int]
    """The row, of this search, whose past each row goes on with."""

    def advance(self, output: StepOutput, first: int) -> Emission:
        """Take in what a step gave; the search's rows begin at `first`."""
        ...


def build_search(decoding: Decoding, start: int, ends: AbstractSet[int]) -> Search:
    """The search that a decoding asks for.

    Args:
        decoding: How tokens are chosen.
        start: The token that every answer of the model begins with.
        ends: Tokens that end an answer.
    """
    if decoding.penalty_alpha:
        return Contrast(decoding, start, ends)
    if decoding.num_beams > 1:
        return Beams(decoding, start, ends)
    return Walk(decoding, start, ends)


class _Search:
    def __init__(self, decoding: Decoding, start: int, ends: AbstractSet[int]) -> None:
        self.rows = decoding.rows
        self.fed, self.sources = [start] * self.rows, list(range(self.rows))
        self._decoding, self._ends = decoding, ends
        self._forced = 0
        self._start = [start, *decoding.forced]
        self._ruled = has_rules(decoding)

    def _force(self, logits: Tensor) -> Emission | None:
        """Feed the next forced token, if one is left."""
        forced = self._decoding.forced
        if self._forced == len(forced):
            return None
        token = forced[self._forced]
        self._forced += 1
        self.fed = [token] * self.rows
        only_scored = self._forced == len(forced) and self._decoding.max_new_tokens == 0
        scored = _score(logits, token, self._decoding.logprobs)
        return Emission(forced=scored, reason="length" if only_scored else None)

    def _ruled_scores(self, scores: Tensor, answer: Sequence[int]) -> Tensor:
        if self._ruled:
            scores = scores.clone()
            apply_rules(scores, self._decoding, [*self._start, *answer], answer, self._ends)
        return scores


class Walk(_Search):
    """One token after another: the likeliest, or a drawn one."""

    def __init__(self, decoding: Decoding, start: int, ends: AbstractSet[int]) -> None:
        super().__init__(decoding, start, ends)
        self._seed = secrets.randbelow(SEEDS) if decoding.seed is None else decoding.seed
        self._answer: list[int] = []
        self._plain = decoding.temperature == 0 and not self._ruled

    def advance(self, output: StepOutput, first: int) -> Emission:
        """See `Search`."""
        logits = output.logits[first]
        if forced := self._force(logits):
            return forced
        token = output.best[first] if self._plain else self._choose(logits)
        scored = _score(logits, token, self._decoding.logprobs)
        if token in self._ends:
            return Emission(end=scored, reason="stop")
        self._answer.append(token)
        self.fed = [token]
        complete = len(self._answer) == self._decoding.max_new_tokens
        return Emission([scored], reason="length" if complete else None)

    def _choose(self, logits: Tensor) -> int:
        scores = self._ruled_scores(logits, self._answer)
        if self._decoding.temperature == 0:
            return int(scores.argmax())
        return draw(scores, self._decoding, self._seed, len(self._answer))


@dataclass(slots=True)
class _Beam:
    score: float
    tokens: list[int]


class Beams(_Search):
    """Beam search as transformers does it, with `early_stopping=False`; gives the whole answer at the end."""

    def __init__(self, decoding: Decoding, start: int, ends: AbstractSet[int]) -> None:
        super().__init__(decoding, start, ends)
        # All rows begin alike, so only the first may branch.
        self._beams = [_Beam(NEVER if row else 0.0, []) for row in range(self.rows)]
        self._finished: list[_Beam] = []

    def advance(self, output: StepOutput, first: int) -> Emission:
        """See `Search`."""
        if forced := self._force(output.logits[first]):
            return forced
        self._branch(output.logits[first : first + self.rows])
        length = len(self._beams[0].tokens)
        penalty = float(length**self._decoding.length_penalty)
        full = len(self._finished) == self.rows
        worst = self._finished[-1].score if full else NEVER
        if length < self._decoding.max_new_tokens and self._beams[0].score / penalty > worst:
            return Emission()
        answer = max(self._finished, key=lambda beam: beam.score).tokens
        stopped = answer[-1] in self._ends
        tokens = [Scored(token) for token in (answer[:-1] if stopped else answer)]
        return Emission(tokens, reason="stop" if stopped else "length")

    def _branch(self, logits: Tensor) -> None:
        scores = logits.log_softmax(-1)  # [rows, V]
        if self._ruled:
            ruled = [self._ruled_scores(scores[row], beam.tokens) for row, beam in enumerate(self._beams)]
            scores = torch.stack(ruled)
        vocabulary = scores.shape[1]
        scores = scores + torch.tensor([[beam.score] for beam in self._beams], device=scores.device)
        keep = max(2, 1 + len(self._ends)) * self.rows
        best, places = scores.flatten().topk(min(keep, scores.numel()))
        beams: list[_Beam] = []
        sources: list[int] = []
        for rank, (score, place) in enumerate(zip(best.tolist(), places.tolist(), strict=True)):
            source, token = divmod(place, vocabulary)
            beam = _Beam(score, [*self._beams[source].tokens, token])
            over = token in self._ends or len(beam.tokens) == self._decoding.max_new_tokens
            if over and rank < self.rows:
                length = len(beam.tokens)
                self._finished.append(_Beam(score / length**self._decoding.length_penalty, beam.tokens))
            if token not in self._ends and len(beams) < self.rows:
                beams.append(beam)
                sources.append(source)
        self._finished = sorted(self._finished, key=lambda beam: -beam.score)[: self.rows]
        self._beams, self.sources = beams, sources
        self.fed = [beam.tokens[-1] for beam in beams]


class Contrast(_Search):
    """Contrastive search (Su et al. 2022, https://arxiv.org/abs/2202.06417).

    Of the `top_k` likeliest tokens, that one is taken whose probability, less its likeness to what was
    said before, is highest; each row tries one of them.
    """

    def __init__(self, decoding: Decoding, start: int, ends: AbstractSet[int]) -> None:
        super().__init__(decoding, start, ends)
        self._answer: list[int] = []
        self._past: list[Tensor] = []  # [1, D], of length 1
        self._tried: tuple[list[int], Tensor] | None = None  # tokens and their probabilities
        self._scored: list[Scored] = []

    def advance(self, output: StepOutput, first: int) -> Emission:
        """See `Search`."""
        hidden = F.normalize(output.hidden[first : first + self.rows], dim=-1)  # [k, D]
        chosen, emission = 0, Emission()
        if self._tried is None:
            self._past.append(hidden[:1])
            if forced := self._force(output.logits[first]):
                return forced
        else:
            tokens, probabilities = self._tried
            likeness = (hidden @ torch.cat(self._past).T).amax(-1)  # [k]
            alpha = self._decoding.penalty_alpha
            chosen = int(((1 - alpha) * probabilities - alpha * likeness).argmax())
            if tokens[chosen] in self._ends:
                return Emission(reason="stop")
            self._answer.append(tokens[chosen])
            self._past.append(hidden[chosen : chosen + 1])
            emission = Emission([self._scored[chosen]])
            if len(self._answer) == self._decoding.max_new_tokens:
                emission.reason = "length"
        logits = output.logits[first + chosen]
        scores = self._ruled_scores(logits, self._answer)
        if self._decoding.temperature not in (0, 1):
            scores = scores / self._decoding.temperature
        likely, found = scores.softmax(-1).topk(self.rows)
        self.fed, self.sources = found.tolist(), [chosen] * self.rows
        self._tried = self.fed, likely
        self._scored = [_score(logits, token, self._decoding.logprobs) for token in self.fed]
        return emission


def _score(logits: Tensor, token: int, top: int | None) -> Scored:
    """A token with its log-probability as the model gives it, before any rule."""
    if top is None:
        return Scored(token)
    logprobs = logits.log_softmax(-1)
    found, tokens = logprobs.topk(top)
    return Scored(token, float(logprobs[token]), tuple(zip(tokens.tolist(), found.tolist(), strict=True)))
