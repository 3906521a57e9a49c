"""What the log tells of a request beside its path and status; what was asked and answered only where that is wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from smolchat_fast.serve.answer import Answer
from smolchat_fast.serve.problem import from_engine

log = logging.getLogger("smolchat_fast.serve")

RECORD = "smolchat.record"
"""Where a request's scope has its record."""
MAX_NAMES = 100
"""Names that are remembered: clients choose them."""

Ids = Sequence[int]


class Record:
    """Filled by a route, written by the guard once the request is over."""

    def __init__(self) -> None:
        self._prompts: Sequence[Ids] = ()
        self._answers: Sequence[Answer] = ()
        self._decode: Callable[[Ids], str] | None = None

    def tell(self, prompts: Sequence[Ids], answers: Sequence[Answer], decode: Callable[[Ids], str]) -> None:
        """Note what is asked.

        Args:
            prompts: As the model gets them.
            answers: To all of them.
            decode: Ids to text.
        """
        self._prompts, self._answers, self._decode = prompts, answers, decode

    def line(self, *, texts: bool) -> str:
        """The end of the log's line: empty where nothing was asked."""
        if not self._answers or not self._decode:
            return ""
        outcomes = dict.fromkeys(map(_outcome, self._answers))
        found = (
            f" prompt_tokens={sum(map(len, self._prompts))}"
            f" completion_tokens={sum(answer.completion_tokens for answer in self._answers)}"
            f" finish={','.join(outcomes)}"
        )
        if texts:
            # As Python writes them: line ends and control characters are escaped, so that no text forges a line.
            asked, said = [self._decode(prompt) for prompt in self._prompts], [a.text for a in self._answers]
            found += f" prompt={_one_or_all(asked)} answer={_one_or_all(said)}"
        return found


def _outcome(answer: Answer) -> str:
    if answer.error:
        return from_engine(answer.error).code
    if answer.ended:
        return answer.finish.reason
    return "cancelled" if answer.cancelled else "unfinished"


def _one_or_all(texts: list[str]) -> str:
    return repr(texts[0] if len(texts) == 1 else texts)


class Unused:
    """Names request fields that have no effect in the log, each once."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def tell(self, names: Iterable[str]) -> None:
        """Name those that have not been named."""
        for name in (name[:100] for name in names):
            if name not in self._named and len(self._named) < MAX_NAMES:
                self._named.add(name)
                log.info("the request field %r has no effect here; it is named only once", name)
