"""What changes the scores of the next token, and the draw among them; one row at a time.

Every rule is the one of `generate` in transformers, in its order; presence and frequency penalties are
OpenAI's. A draw depends on the seed, the choice and the position alone, so an answer is the same whoever
else is served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import numpy as np
import torch
from torch import Tensor

from smolchat_fast.serve.options import Decoding

# Tokens that hold nearly always all of `top_p`: sorting 29,298 takes 2 ms, finding these 0.2 ms.
LIKELY = 1024


def has_rules(decoding: Decoding) -> bool:
    """Whether any rule can change the likeliest token."""
    return bool(
        decoding.logit_bias
        or decoding.repetition_penalty != 1
        or decoding.presence_penalty
        or decoding.frequency_penalty
        or decoding.no_repeat_ngram_size
        or decoding.min_tokens
        or decoding.ignore_eos
    )


def apply_rules(
    scores: Tensor, decoding: Decoding, ids: Sequence[int], answer: Sequence[int], ends: AbstractSet[int]
) -> None:
    """Change the scores of one row in place.

    Args:
        scores: float32 [V].
        decoding: Which rules.
        ids: The row's tokens, the start token first.
        answer: Those that were chosen, not forced.
        ends: Tokens that end an answer.
    """
    if decoding.logit_bias:
        tokens, biases = zip(*decoding.logit_bias, strict=True)
        scores[list(tokens)] += torch.tensor(biases, dtype=scores.dtype, device=scores.device)
    if decoding.repetition_penalty != 1:
        seen = list(set(ids))
        found, penalty = scores[seen], decoding.repetition_penalty
        scores[seen] = torch.where(found < 0, found * penalty, found / penalty)
    if answer and (decoding.presence_penalty or decoding.frequency_penalty):
        counts = Counter(answer)
        times = torch.tensor(list(counts.values()), dtype=scores.dtype, device=scores.device)
        scores[list(counts)] -= decoding.presence_penalty + decoding.frequency_penalty * times
    if decoding.no_repeat_ngram_size:
        banned = _would_repeat(ids, decoding.no_repeat_ngram_size)
        if banned:
            scores[banned] = -torch.inf
    if decoding.ignore_eos or len(answer) < decoding.min_tokens:
        scores[list(ends)] = -torch.inf


def _would_repeat(ids: Sequence[int], size: int) -> list[int]:
    """Tokens that would end a run of `size` tokens which `ids` holds already."""
    if len(ids) < size:
        return []
    last = list(ids[len(ids) - size + 1 :])
    return [ids[at + size - 1] for at in range(len(ids) - size + 1) if list(ids[at : at + size - 1]) == last]


def draw(scores: Tensor, decoding: Decoding, seed: int, position: int) -> int:
    """A token by the probabilities of the scores.

    Args:
        scores: float32 [V], rules applied.
        decoding: Temperature, top-k, top-p, min-p and the number of the choice.
        seed: Of the answer.
        position: Of the token in the answer.
    """
    if decoding.temperature != 1:
        scores = scores / decoding.temperature
    probabilities, tokens = _candidates(scores, decoding)
    # Counter-based (Salmon et al. 2011, https://doi.org/10.1145/2063384.2063405): no state to keep.
    counter = np.random.Philox(key=seed, counter=[position, decoding.choice, 0, 0])
    chance = np.random.Generator(counter).random()
    sums = probabilities.double().cumsum(0)
    place = int(torch.searchsorted(sums, sums[-1] * chance, right=True).clamp_(max=len(sums) - 1))
    return int(tokens[place]) if tokens is not None else place


def _candidates(scores: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor | None]:
    """Probabilities, likeliest first, with their tokens; or those of all tokens in their order."""
    tokens: Tensor | None = None
    if decoding.top_k:
        found, tokens = scores.topk(min(decoding.top_k, len(scores)))
        probabilities = found.softmax(0)
    elif decoding.top_p < 1:
        probabilities, tokens = scores.softmax(0).topk(min(LIKELY, len(scores)))
        if probabilities.sum() < decoding.top_p:
            probabilities, tokens = scores.softmax(0).sort(descending=True)
    else:
        probabilities = scores.softmax(0)
    if decoding.top_p < 1:
        probabilities = torch.where(
            probabilities.cumsum(0) - probabilities < decoding.top_p, probabilities, 0
        )
    if decoding.min_p:
        least = decoding.min_p * probabilities.max()
        probabilities = torch.where(probabilities >= least, probabilities, 0)
    return probabilities, tokens
