"""How an event loop reads answers: several at once, and no oftener than it is worth a write."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence

from smolchat_fast.serve.answer import Answer, Piece

Turn = list[tuple[int, Piece | None]]
"""What came, each piece with its answer's number; None when that answer has ended. Empty: silence."""


async def turns(
    answers: Sequence[Answer], *, silence_s: float = math.inf, gather_s: float = 0.0
) -> AsyncIterator[Turn]:
    """What comes of several answers, until all have ended.

    Args:
        answers: Read by nobody else.
        silence_s: After so many seconds without news an empty turn is given.
        gather_s: Seconds between two turns at least, in which text gathers; the first text and the end of an
            answer do not wait for it.
    Raises:
        EngineError: one of them failed; what came before it has been given.
    """
    bell, left = _Bell(), dict(enumerate(answers))
    try:
        while left:
            bell.reset()
            for answer in left.values():
                answer.listen(bell.ring)
            # Before text is taken: what came before the end is not lost.
            ended = {number for number, answer in left.items() if answer.ended}
            turn = _taken(left)
            failure = next((error for number in ended if (error := left[number].error)), None)
            turn += [(number, None) for number in ended if not left[number].error]
            if turn:
                yield turn
            if failure:
                raise failure
            for number in ended:
                del left[number]
            if left and turn:
                await _gather(list(left.values()), bell, gather_s)
            elif left and not await bell.rings_within(silence_s):
                yield []
    finally:
        for answer in answers:
            answer.listen(None)


async def pieces(
    answer: Answer, *, silence_s: float = math.inf, gather_s: float = 0.0
) -> AsyncIterator[Piece]:
    """The pieces of one answer as they come, an empty one in silence; see `turns`."""
    async for turn in turns([answer], silence_s=silence_s, gather_s=gather_s):
        if not turn:
            yield Piece()
        for _, piece in turn:
            if piece:
                yield piece


def _taken(answers: dict[int, Answer]) -> Turn:
    taken = [(number, answer.take()) for number, answer in answers.items()]
    return [(number, piece) for number, piece in taken if piece.text or piece.tokens]


async def _gather(answers: Sequence[Answer], bell: _Bell, seconds: float) -> None:
    """Sleep, unless one of them ends; text that comes wakes nobody."""
    for answer in answers:
        answer.listen(bell.ring, only_end=True)
    until = bell.now() + seconds
    while (left := until - bell.now()) > 0:
        bell.reset()
        if any(answer.ended for answer in answers):
            return
        await bell.rings_within(left)


class _Bell:
    """Rung by the engine's thread, heard in the event loop it was made in."""

    def __init__(self) -> None:
        self._loop, self._heard, self._rung = asyncio.get_running_loop(), asyncio.Event(), False

    def now(self) -> float:
        """Seconds of the loop's clock."""
        return self._loop.time()

    def reset(self) -> None:
        """Forget that it was rung."""
        self._rung = False
        self._heard.clear()

    def ring(self) -> None:
        """Wake the reader; waking a loop costs a system call, so that is done once for all answers of a step."""
        if not self._rung:
            self._rung = True
            self._loop.call_soon_threadsafe(self._heard.set)

    async def rings_within(self, seconds: float) -> bool:
        """Wait for it; False if it was not rung in time."""
        if math.isinf(seconds):
            return await self._heard.wait()
        timer = self._loop.call_later(seconds, self._heard.set)
        try:
            await self._heard.wait()
        finally:
            timer.cancel()
        return self._rung
