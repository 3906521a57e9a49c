"""The one thread that computes: takes requests on, lets every answer advance a step a turn.

A request joins and leaves at any turn, so short answers do not wait for long ones. What happens inside
a turn is the decoder's business.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from smolchat_fast.serve.answer import (
    Answer,
    DeadlineError,
    EngineError,
    Finish,
    InternalError,
    QueueFullError,
    QueueTimeoutError,
    Reason,
    Scored,
    ShuttingDownError,
    TooLargeError,
)
from smolchat_fast.serve.meter import NO_METER, Meter
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.search import Emission
from smolchat_fast.serve.text import TextStream
from smolchat_fast.serve.waiting import FairQueue

log = logging.getLogger(__name__)

Row = TypeVar("Row")

ENCODE_TOKENS = 64
"""Source tokens that are encoded between two steps of running answers, about the cost of a step of 16 rows:
a long prompt some layers at a time, so that they do not stutter, or several short ones."""


class Decoder(Protocol[Row]):
    """What computes tokens. All calls come from one thread, but those of `bytes_of` and `text`."""

    def bytes_of(self, prompt: Sequence[int], decoding: Decoding) -> int:
        """Bytes that an answer takes at most."""
        ...

    def start(self, prompt: Sequence[int], decoding: Decoding) -> Row:
        """Begin an answer; the row holds whatever it needs."""
        ...

    def encode(self, row: Row, tokens: int | None = None) -> bool:
        """Go on with its prompt, by the cost of so many tokens; True once it can take steps."""
        ...

    def step(self) -> list[tuple[Row, Emission]]:
        """Let every encoded row take a step."""
        ...

    def leave(self, rows: Sequence[Row]) -> None:
        """Let go of rows."""
        ...

    def text(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What an engine takes on."""

    max_running: int = 16
    max_queue: int = 64
    cache_mb: float = 1024
    queue_timeout_s: float = 30.0
    timeout_s: float = 120.0


@dataclass(eq=False)
class _Job(Generic[Row]):
    prompt: Sequence[int]
    decoding: Decoding
    answer: Answer
    text: TextStream
    bytes: int
    row: Row | None = None
    ready: bool = False
    tokens: int = 0
    scored: list[Scored] = field(default_factory=list)  # those whose text has not been given
    scores_given: int = 0
    arrived: float = field(default_factory=time.monotonic)
    last: float = 0.0


class Engine(Generic[Row]):
    """Answers prompts on a thread of its own.

    Args:
        decoder: What computes tokens.
        limits: What it takes on; beyond that, `submit` refuses.
        meter: Told of everything that is counted or timed.
    """

    def __init__(self, decoder: Decoder[Row], limits: Limits | None = None, meter: Meter = NO_METER) -> None:
        self._decoder, self._limits, self._meter = decoder, limits or Limits(), meter
        self._waiting: FairQueue[_Job[Row]] = FairQueue()
        self._running: list[_Job[Row]] = []
        self._work = threading.Condition()
        self._close_at: float | None = None
        self._answer_s = 1.0
        self._thread = threading.Thread(target=self._loop, name="smolchat-engine", daemon=True)
        self._thread.start()

    def submit(self, prompt: Sequence[int], decoding: Decoding, client: str = "") -> Answer:
        """Queue a prompt and return at once.

        Args:
            prompt: Token ids as the encoder gets them, the end token included.
            decoding: How this answer's tokens are chosen.
            client: Who asks; those who wait are served in turn, whoever asks more often.
        Returns:
            The answer, empty so far.
        Raises:
            QueueFullError: too many are waiting.
            TooLargeError: the answer would not fit into the cache, or has more rows than are computed.
            ShuttingDownError: the engine is being closed.
        """
        return self.submit_all([prompt], [decoding], client)[0]

    def submit_all(
        self, prompts: Sequence[Sequence[int]], decodings: Sequence[Decoding], client: str = ""
    ) -> list[Answer]:
        """Queue several prompts, all of them or none; see `submit`."""
        jobs = [self._job(prompt, decoding) for prompt, decoding in zip(prompts, decodings, strict=True)]
        limits = self._limits
        with self._work:
            if self._close_at is not None:
                raise self._rejected(ShuttingDownError("the server is shutting down"))
            # A request of many rows is one request: it may be longer than the queue, if that is empty.
            taken = len(self._waiting) + len(self._running)
            if taken >= limits.max_queue + limits.max_running:
                raise self._rejected(QueueFullError(len(self._waiting), self._retry_after_s()))
            for job in jobs:
                self._waiting.put(job, client)
            self._work.notify_all()
        return [job.answer for job in jobs]

    def _job(self, prompt: Sequence[int], decoding: Decoding) -> _Job[Row]:
        needed, limits = self._decoder.bytes_of(prompt, decoding), self._limits
        if needed > limits.cache_mb * 2**20:
            raise self._rejected(
                TooLargeError(
                    f"an answer of up to {decoding.max_new_tokens:,} tokens to {len(prompt):,} tokens needs "
                    f"{needed / 2**20:,.0f} MiB of cache; this server has {limits.cache_mb:,.0f}"
                )
            )
        if decoding.rows > limits.max_running:
            raise self._rejected(
                TooLargeError(
                    f"{decoding.rows} beams; this server computes {limits.max_running} rows at most"
                )
            )
        text = TextStream(self._decoder.text, decoding.stop)
        return _Job(prompt, decoding, Answer(len(prompt)), text, needed)

    def _rejected(self, error: EngineError) -> EngineError:
        self._meter.rejected(error)
        return error

    @property
    def load(self) -> tuple[int, int]:
        """Requests (running, waiting)."""
        return len(self._running), len(self._waiting)

    @property
    def cache_bytes(self) -> int:
        """Bytes of cache that the running answers have been promised."""
        return sum(job.bytes for job in list(self._running))

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
        self._remove(jobs)
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
                self._meter.cancelled("queued" if job.row is None else "running" if job.ready else "encoding")
                self._end(job, "cancelled")
            elif now - job.arrived > limits.timeout_s:
                self._fail(job, DeadlineError(f"the request ran longer than {limits.timeout_s:g} s"))
            elif job.row is None and now - job.arrived > limits.queue_timeout_s:
                message = f"the request waited longer than {limits.queue_timeout_s:g} s"
                self._fail(job, self._rejected(QueueTimeoutError(message)))

    def _admit(self) -> None:
        """Encode the prompts that wait; while others are being answered, as much as a step costs."""
        encoding = next((job for job in self._running if not job.ready), None)
        left = ENCODE_TOKENS if any(job.ready for job in self._running) else None
        while (left is None or left > 0) and (job := encoding or self._next_waiting()):
            encoding = None
            try:
                if job.row is None:
                    job.row = self._decoder.start(job.prompt, job.decoding)
                    self._meter.started(time.monotonic() - job.arrived)
                    job.answer.start()
                job.ready = self._decoder.encode(job.row, left)
            except Exception:
                log.exception("a prompt could not be encoded")
                self._fail(job, InternalError("the prompt could not be encoded; the server's log says why"))
            if left is not None:
                left -= len(job.prompt)

    def _next_waiting(self) -> _Job[Row] | None:
        """The job whose turn it is, if it fits beside those that run; now one of them."""
        with self._work:
            job = self._waiting.first()
            if job is None:
                return None
            rows = sum(running.decoding.rows for running in self._running) + job.decoding.rows
            needed = self.cache_bytes + job.bytes
            if rows > self._limits.max_running or needed > self._limits.cache_mb * 2**20:
                return None
            self._waiting.remove(job)
            self._running.append(job)
            return job

    def _step(self) -> None:
        jobs = {id(job.row): job for job in self._running if job.ready}
        if not jobs:
            return
        began = time.monotonic()
        found = self._decoder.step()
        now = time.monotonic()
        self._meter.stepped(len(jobs), now - began)
        over: list[tuple[_Job[Row], Reason]] = []
        for row, emission in found:
            job = jobs[id(row)]
            if reason := self._take(job, emission, now):
                over.append((job, reason))
        # The rows leave before their readers hear of it: who asks next finds room.
        self._remove([job for job, _ in over])
        for job, reason in over:
            self._end(job, reason)

    def _take(self, job: _Job[Row], emission: Emission, now: float) -> Reason | None:
        """Give the reader what a step added; the reason, if that was the end."""
        text = ""
        if emission.forced:
            job.answer.prompt_scores.append(emission.forced)
        job.answer.end_score = emission.end
        for scored in emission.tokens:
            job.tokens += 1
            text += job.text.push(scored.id)
            if job.decoding.logprobs is not None:
                job.scored.append(scored)
            if job.text.stopped:
                job.tokens = job.text.tokens
                break
        stopped: Reason | None = "stop" if job.text.stopped else None
        reason = stopped or emission.reason
        if reason and not job.text.stopped:
            text += job.text.flush()
            # A stop string may have been complete only now.
            if job.text.stopped:
                job.tokens, reason = job.text.tokens, "stop"
        if emission.tokens:
            self._meter.token(now - (job.last or job.arrived), first=not job.last)
            job.last = now
        job.answer.completion_tokens = job.tokens
        job.answer.put(text, self._given_scores(job))
        return reason

    def _given_scores(self, job: _Job[Row]) -> Sequence[Scored]:
        if not job.scored:
            return ()
        count = job.text.tokens - job.scores_given
        given, job.scored = job.scored[:count], job.scored[count:]
        job.scores_given += len(given)
        return given

    def _end(self, job: _Job[Row], reason: Reason) -> None:
        self._remove([job])
        took = time.monotonic() - job.arrived
        if reason != "cancelled":
            self._answer_s += 0.2 * (took - self._answer_s)
            self._meter.finished(reason, took, len(job.prompt), job.tokens)
        job.answer.end(Finish(reason, job.tokens))

    def _fail(self, job: _Job[Row], error: EngineError) -> None:
        self._remove([job])
        job.answer.fail(error)

    def _fail_running(self) -> None:
        jobs = list(self._running)
        self._remove(jobs)
        for job in jobs:
            job.answer.fail(InternalError("the answer broke off; the server's log says why"))

    def _remove(self, jobs: Sequence[_Job[Row]]) -> None:
        with self._work:
            for job in jobs:
                self._waiting.remove(job)
                if job in self._running:
                    self._running.remove(job)
        rows = [job.row for job in jobs if job.row is not None]
        for job in jobs:
            job.row = None
        if rows:
            self._decoder.leave(rows)
