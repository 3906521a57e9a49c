"""What is noted while a trainer works: seconds, losses, tokens, and where the time went."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

T = TypeVar("T")

PARTS = ("forward", "backward", "optimizer")
CLIPPING = "clipping"
"""The norm of the gradients, and scaling them: some count it to the optimizer, so it is told apart."""


@dataclass(frozen=True)
class Curve:
    """One training."""

    seconds: float
    steps: int
    points: list[tuple[float, float]]
    """Seconds and validation loss; the first one is before the first step."""
    sums: Counter[str]
    """Rows, source and target tokens, and places with padding."""
    spent: Counter[str]
    """Seconds of each of `PARTS` and of `CLIPPING`."""

    @property
    def loss(self) -> float:
        """At the end."""
        return self.points[-1][1]

    @property
    def padding(self) -> float:
        """Share of the places that hold no token."""
        return 1 - (self.sums["sources"] + self.sums["targets"]) / self.sums["places"]

    @property
    def outside(self) -> float:
        """Share of the time that went into none of `PARTS`, clipping left outside."""
        return 1 - sum(self.spent[part] for part in PARTS) / self.seconds

    @property
    def outside_and_clipping(self) -> str:
        """Share of the time outside `PARTS`, and what is left of it without clipping."""
        return f"{self.outside:.1%}, {self.outside - self.spent[CLIPPING] / self.seconds:.1%}"

    def seconds_to(self, loss: float) -> float | None:
        """When a validation first found this loss or a lower one."""
        return next((seconds for seconds, found in self.points if found <= loss), None)


@dataclass
class Watch:
    """A clock that stands still during validations and checkpoints, and what it has seen."""

    points: list[tuple[float, float]] = field(default_factory=list)
    sums: Counter[str] = field(default_factory=Counter)
    spent: Counter[str] = field(default_factory=Counter)
    _began: float = 0.0
    _held: float = 0.0
    _holds_since: float | None = None

    def start(self, loss: float | None) -> None:
        """Begin to count, with a model of this validation loss."""
        self._began = time.perf_counter()
        self.note(loss)

    @contextmanager
    def held(self) -> Iterator[None]:
        """What happens meanwhile takes no time."""
        began = self._holds_since = time.perf_counter()
        try:
            yield
        finally:
            self._held += time.perf_counter() - began
            self._holds_since = None

    def note(self, loss: float | None) -> None:
        """A validation has found this loss."""
        if loss is None:
            raise RuntimeError("train: there are no validation rows")
        self.points.append((self.seconds, loss))

    def timed(self, part: str, function: Callable[..., T]) -> Callable[..., T]:
        """The same function, its time put down to a part."""

        @wraps(function)
        def call(*positional: Any, **named: Any) -> T:
            began = time.perf_counter()
            try:
                return function(*positional, **named)
            finally:
                self.spent[part] += time.perf_counter() - began  # type: ignore[assignment]

        return call

    @property
    def seconds(self) -> float:
        """Time in training so far."""
        now = time.perf_counter() if self._holds_since is None else self._holds_since
        return now - self._began - self._held

    def curve(self, steps: int, seconds: float) -> Curve:
        """All of it."""
        return Curve(seconds, steps, self.points, self.sums, self.spent)
