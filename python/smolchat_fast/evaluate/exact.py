"""Exact match: whether an answer is one of those a question accepts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolchat_fast.errors import DataError
from smolchat_fast.evaluate.card import ExactScore

NORMAL_95 = 1.959964
"""Standard deviations on each side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Question:
    """A question and what counts as answered."""

    set: str
    prompt: str
    accepted: tuple[str, ...]
    preferred: str | None = None
    """The accepted answer that is preferred, if one is."""


def read_questions(path: Path) -> list[Question]:
    """Questions of a JSON lines file: `{"set": ..., "prompt": ..., "accepted": [...], "preferred": ...}`.

    Raises:
        DataError: a line is no such object; names the line.
    """
    questions = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                questions.append(_question(line, f"{path}, line {number}"))
    if not questions:
        raise DataError(f"{path}: no question.")
    return questions


def _question(line: str, place: str) -> Question:
    try:
        fields: Any = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON ({error}).") from error
    expected = 'expected {"set": text, "prompt": text, "accepted": [texts], "preferred": text or absent}'
    if not isinstance(fields, dict):
        raise DataError(f"{place}: found {type(fields).__name__}, {expected}.")
    name, prompt, accepted, preferred = (
        fields.get(key) for key in ("set", "prompt", "accepted", "preferred")
    )
    texts = [name, prompt, *(accepted if isinstance(accepted, list) else [None])]
    if (
        not accepted
        or not all(isinstance(text, str) for text in texts)
        or not isinstance(preferred, str | None)
    ):
        raise DataError(f"{place}: {expected}.")
    return Question(str(name), str(prompt), tuple(accepted), preferred)


def is_right(question: Question, answer: str) -> bool:
    """True if the answer is an accepted one; spaces at its ends do not count."""
    return answer.strip() in {accepted.strip() for accepted in question.accepted}


def is_preferred(question: Question, answer: str) -> bool:
    """True if the answer is the preferred one."""
    return question.preferred is not None and answer.strip() == question.preferred.strip()


def score_exact(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, ExactScore]:
    """Exact match of each question set, in the order in which the sets appear.

    Args:
        questions: N questions.
        answers: N answers.
    Returns:
        A score by name of the set.
    """
    by_set: dict[str, list[tuple[Question, str]]] = {}
    for question, answer in zip(questions, answers, strict=True):
        by_set.setdefault(question.set, []).append((question, answer))
    return {name: _score(pairs) for name, pairs in by_set.items()}


def _score(pairs: Sequence[tuple[Question, str]]) -> ExactScore:
    right = sum(is_right(question, answer) for question, answer in pairs)
    asked = [pair for pair in pairs if pair[0].preferred is not None]
    low, high = wilson_interval(right, len(pairs))
    return ExactScore(
        n=len(pairs),
        right=right,
        share=right / len(pairs),
        low=low,
        high=high,
        preferred=sum(is_preferred(*pair) for pair in asked) / len(asked) if asked else None,
    )


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """95 % confidence interval of a share, also honest near 0 and 1.

    Source: Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953
    """
    share, z2 = right / n, NORMAL_95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = NORMAL_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
