"""One answer in the making: written by the engine's thread, read by whoever asked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

Reason = Literal["stop", "length", "cancelled"]


class EngineError(RuntimeError):
    """An answer could not be given, or not to its end."""


class QueueFullError(EngineError):
    """More requests than the server takes on; `retry_after_s` says when to come back."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(f"{waiting} requests are waiting already. Try again in {retry_after_s} s.")
        self.retry_after_s = retry_after_s


class TooLargeError(EngineError):
    """The answer would need more than the server has."""


class QueueTimeoutError(EngineError):
    """The request waited longer than it may."""


class DeadlineError(EngineError):
    """The request took longer than it may."""


class ShuttingDownError(EngineError):
    """The engine is being closed."""


class InternalError(EngineError):
    """A defect; the log has its traceback."""


@dataclass(frozen=True, slots=True)
class Finish:
    """How an answer ended."""

    reason: Reason
    """stop: the model or a stop string ended it; length: it reached its limit; cancelled: by the reader."""
    completion_tokens: int
    """Tokens of the answer, the end token not counted."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A token and, where asked for, its log-probability."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens at its place, with their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that is certain, and the tokens that are wholly within what has been given."""

    text: str = ""
    tokens: tuple[Scored, ...] = ()


class Answer:
    """The text of one answer, in pieces as they come.

    Text that nobody has read yet is merged, so a slow reader costs no more than the answer's length
    and never holds up the engine.

    Args:
        prompt_tokens: Tokens of the question as the model gets it.
    """

    def __init__(self, prompt_tokens: int) -> None:
        self.prompt_tokens = prompt_tokens
        self.completion_tokens = 0
        """Tokens of it so far, the end token not counted."""
        self._changed = threading.Condition()
        self.prompt_scores: list[Scored] = []
        """Scores of the tokens it was made to begin with; whole once it has ended."""
        self.end_score: Scored | None = None
        """The token that ended it, once it has ended."""
        self._unread: list[Piece] = []
        self._texts: list[str] = []
        self._started = False
        self._finish: Finish | None = None
        self._error: EngineError | None = None
        self._cancelled = False
        self._wake: Callable[[], object] | None = None
        self._only_end = False

    # The reader's side.

    def __iter__(self) -> Iterator[str]:
        """Pieces as they come; blocks in between.

        Raises:
            EngineError: the answer failed; what came before it has been given.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unread or self.ended)
            if text := self.take().text:
                yield text
            if self.ended and not self._unread:
                break
        if self._error:
            raise self._error

    async def started(self) -> None:
        """Wait until the answer is being written.

        Raises:
            EngineError: it will not be.
        """
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        self.listen(lambda: loop.call_soon_threadsafe(news.set))
        while not (self._started or self.ended):
            await news.wait()
            news.clear()
        if self._error:
            raise self._error

    def listen(self, wake: Callable[[], object] | None, *, only_end: bool = False) -> None:
        """Have `wake` called, in the engine's thread, whenever there is news.

        Args:
            wake: Takes the place of the one before; None: none.
            only_end: The only news is that nothing more will come.
        """
        with self._changed:
            self._wake, self._only_end = wake, only_end

    def take(self) -> Piece:
        """What has come since the last call."""
        with self._changed:
            unread, self._unread = self._unread, []
        return Piece("".join(piece.text for piece in unread), tuple(t for p in unread for t in p.tokens))

    def cancel(self) -> None:
        """Ask the engine to leave off; it does so within one step."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        """True once the reader wants no more."""
        return self._cancelled

    @property
    def ended(self) -> bool:
        """True once nothing more will come."""
        return self._finish is not None or self._error is not None

    @property
    def text(self) -> str:
        """All of its text so far, read or not."""
        with self._changed:
            return "".join(self._texts)

    @property
    def error(self) -> EngineError | None:
        """Why it failed, if it did."""
        return self._error

    @property
    def finish(self) -> Finish:
        """How it ended.

        Raises:
            RuntimeError: it has not ended, or failed.
        """
        if self._finish is None:
            raise RuntimeError("the answer has not ended")
        return self._finish

    # The engine's side.

    def start(self) -> None:
        """The engine has taken the request on."""
        with self._changed:
            self._started = True
        self._notify()

    def put(self, text: str, tokens: Sequence[Scored] = ()) -> None:
        """Add text and the tokens it was made of."""
        if text or tokens:
            with self._changed:
                self._unread.append(Piece(text, tuple(tokens)))
                self._texts.append(text)
            self._notify()

    def end(self, finish: Finish) -> None:
        """Nothing more will come."""
        with self._changed:
            self._finish = finish
        self._notify()

    def fail(self, error: EngineError) -> None:
        """Nothing more can come."""
        with self._changed:
            self._error = error
        self._notify()

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
            wake = None if self._only_end and not self.ended else self._wake
        if wake:
            # The reader's event loop may have been closed since.
            with suppress(RuntimeError):
                wake()
