"""The one thread that computes: takes requests on, lets every answer advance a token a turn.

A request joins and leaves at any turn, so short answers do not wait for long ones. What happens inside
a turn is the decoder's business: it may do the rows one by one or in one batch.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from smolchat_fast.serve.answer import (
    Answer,
    DeadlineError,
    Finish,
    InternalError,
    QueueFullError,
    QueueTimeoutError,
    Reason,
    ShuttingDownError,
)
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.text import TextStream

log = logging.getLogger(__name__)

Row = TypeVar("Row")


class Decoder(Protocol[Row]):
    """What computes tokens. All calls come from one thread."""

    @property
    def end_ids(self) -> AbstractSet[int]:
        """Tokens that end an answer."""
        ...

    def start(self, prompt: Sequence[int], decoding: Decoding) -> Row:
        """Encode a prompt; the row holds whatever its answer needs."""
        ...

    def step(self, rows: Sequence[Row]) -> list[int]:
        """The next token of each row."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an engine takes on."""

    max_running: int = 8
    max_queue: int = 64
    queue_timeout_s: float = 30.0
    timeout_s: float = 120.0


@dataclass(eq=False)
class _Job(Generic[Row]):
    prompt: Sequence[int]
    decoding: Decoding
    answer: Answer
    text: TextStream
    row: Row | None = None
    tokens: int = 0
    arrived: float = field(default_factory=time.monotonic)


class Engine(Generic[Row]):
    """Answers prompts on a thread of its own.

    Args:
        decoder: What computes tokens.
        limits: What it takes on; beyond that, `submit` refuses.
    """

    def __init__(self, decoder: Decoder[Row], limits: Limits | None = None) -> None:
        self._decoder, self._limits = decoder, limits or Limits()
        self._waiting: deque[_Job[Row]] = deque()
        self._running: list[_Job[Row]] = []
        self._work = threading.Condition()
        self._close_at: float | None = None
        self._answer_s = 1.0
        self._thread = threading.Thread(target=self._loop, name="smolchat-engine", daemon=True)
        self._thread.start()

    def submit(self, prompt: Sequence[int], decoding: Decoding) -> Answer:
        """Queue a prompt and return at once.

        Args:
            prompt: Token ids as the encoder gets them, the end token included.
            decoding: How this answer's tokens are chosen.
        Returns:
            The answer, empty so far.
        Raises:
            QueueFullError: too many are waiting.
            ShuttingDownError: the engine is being closed.
        """
        answer = Answer(len(prompt))
        job: _Job[Row] = _Job(prompt, decoding, answer, TextStream(self._decoder.text, decoding.stop))
        with self._work:
            if self._close_at is not None:
                raise ShuttingDownError("the server is shutting down")
            if len(self._waiting) + len(self._running) >= self._limits.max_queue + self._limits.max_running:
                raise QueueFullError(len(self._waiting), self._retry_after_s())
            self._waiting.append(job)
            self._work.notify_all()
        return answer

    @property
    def load(self) -> tuple[int, int]:
        """Requests (running, waiting)."""
        return len(self._running), len(self._waiting)

    @property
    def closing(self) -> bool:
        """True once `close` was called."""
        return self._close_at is not None

    def close(self, drain_s: float = 0.0) -> None:
        """Take nothing more on, give what is under way `drain_s` seconds, then stop the thread."""
        with self._work:
            self._close_at = time.monotonic() + drain_s
            self._work.notify_all()
        self._thread.join()

    def _retry_after_s(self) -> int:
        turns = (len(self._waiting) + 1) / self._limits.max_running
        return min(60, max(1, math.ceil(turns * self._answer_s)))

    def _loop(self) -> None:
        while self._wait_for_work():
            try:
                self._leave()
                self._admit()
                self._step()
            except Exception:
                log.exception("a decoding step failed; the answers under way are lost")
                self._fail_running()

    def _wait_for_work(self) -> bool:
        """Sleep while there is nothing to do; False when the thread is to end."""
        with self._work:
            self._work.wait_for(lambda: self._waiting or self._running or self.closing)
            if self._close_at is None:
                return True
            left = bool(self._waiting or self._running)
            if left and time.monotonic() < self._close_at:
                return True
            jobs = [*self._waiting, *self._running]
            self._waiting.clear()
            self._running.clear()
        for job in jobs:
            job.answer.fail(ShuttingDownError("the server was shut down before the answer was complete"))
        return False

    def _leave(self) -> None:
        """Let go of requests whose reader left or whose time is up, waiting or running."""
        now, limits = time.monotonic(), self._limits
        with self._work:
            jobs = [*self._waiting, *self._running]
        for job in jobs:
            if job.answer.cancelled:
                self._end(job, "cancelled")
            elif now - job.arrived > limits.timeout_s:
                self._remove(job)
                job.answer.fail(DeadlineError(f"the request ran longer than {limits.timeout_s:g} s"))
            elif job.row is None and now - job.arrived > limits.queue_timeout_s:
                self._remove(job)
                job.answer.fail(
                    QueueTimeoutError(f"the request waited longer than {limits.queue_timeout_s:g} s")
                )

    def _admit(self) -> None:
        # One a turn: encoding holds up the answers under way.
        with self._work:
            if not self._waiting or len(self._running) >= self._limits.max_running:
                return
            job = self._waiting.popleft()
            self._running.append(job)
        try:
            job.row = self._decoder.start(job.prompt, job.decoding)
        except Exception:
            log.exception("a prompt could not be encoded")
            self._remove(job)
            job.answer.fail(InternalError("the prompt could not be encoded; the server's log says why"))
            return
        job.answer.start()

    def _step(self) -> None:
        jobs = list(self._running)
        rows = [job.row for job in jobs if job.row is not None]
        if not rows:
            return
        for job, token in zip(jobs, self._decoder.step(rows), strict=True):
            if token in self._decoder.end_ids:
                job.answer.put(job.text.flush())
                self._end(job, "stop")
                continue
            job.tokens += 1
            job.answer.put(job.text.push(token))
            if job.text.stopped:
                self._end(job, "stop")
            elif job.tokens >= job.decoding.max_new_tokens:
                job.answer.put(job.text.flush())
                self._end(job, "length")

    def _end(self, job: _Job[Row], reason: Reason) -> None:
        self._remove(job)
        if reason != "cancelled":
            self._answer_s += 0.2 * (time.monotonic() - job.arrived - self._answer_s)
        job.answer.end(Finish(reason, job.tokens))

    def _fail_running(self) -> None:
        for job in list(self._running):
            self._remove(job)
            job.answer.fail(InternalError("the answer broke off; the server's log says why"))

    def _remove(self, job: _Job[Row]) -> None:
        with self._work:
            for jobs in (self._waiting, self._running):
                if job in jobs:
                    jobs.remove(job)
        job.row = None
