"""What the engine tells of itself, for `/metrics`."""

from __future__ import annotations

from typing import Literal, Protocol

from smolchat_fast.serve.answer import EngineError, Reason

Stage = Literal["queued", "encoding", "running"]


class Meter(Protocol):
    """Told of everything that is counted or timed; called from the engine's thread, and from `submit`."""

    def rejected(self, error: EngineError) -> None:
        """A request was refused or given up before it began."""

    def cancelled(self, stage: Stage) -> None:
        """A reader left."""

    def started(self, waited_s: float) -> None:
        """A prompt left the queue."""

    def stepped(self, rows: int, took_s: float) -> None:
        """A step was computed for so many answers."""

    def token(self, after_s: float, *, first: bool) -> None:
        """A reader got a token: so long after the one before, or after the request came."""

    def finished(self, reason: Reason, took_s: float, prompt_tokens: int, tokens: int) -> None:
        """An answer is complete."""


class _NoMeter:
    def rejected(self, error: EngineError) -> None: ...
    def cancelled(self, stage: Stage) -> None: ...
    def started(self, waited_s: float) -> None: ...
    def stepped(self, rows: int, took_s: float) -> None: ...
    def token(self, after_s: float, *, first: bool) -> None: ...
    def finished(self, reason: Reason, took_s: float, prompt_tokens: int, tokens: int) -> None: ...


NO_METER: Meter = _NoMeter()
