"""How a long job tells where it stands: one callable, drawn in one place."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

LINE_EVERY_S = 10.0
DRAW_EVERY_S = 0.1


class Progress(Protocol):
    """Called with the step under way, units done and units in all (0: not known)."""

    def __call__(self, phase: str, done: int, total: int) -> None: ...


def ignore(phase: str, done: int, total: int) -> None:
    """The progress of a library call that nobody watches."""


class Display:
    """Draws `dedup  verify  61 %  1.2 M/s  0:14 left`: one live line on a terminal, plain lines in a log."""

    def __init__(self, stage: str, out: TextIO) -> None:
        self.stage, self.out, self.live = stage, out, out.isatty()
        self._phase, self._began, self._first, self._shown = "", 0.0, 0, 0.0
        self._width = 0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if phase != self._phase:
            # A job that goes on where it was stopped has some units done at its first call.
            self._phase, self._began, self._first = phase, now, done
            self._shown = now if not self.live else 0.0
        if now - self._shown < (DRAW_EVERY_S if self.live else LINE_EVERY_S):
            return
        self._shown = now
        self._write(describe(self.stage, phase, done, total, now - self._began, self._first))

    def _write(self, line: str) -> None:
        if self.live:
            self.out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def close(self) -> None:
        """Clear the live line."""
        if self.live and self._width:
            self.out.write("\r" + " " * self._width + "\r")
            self.out.flush()


def describe(stage: str, phase: str, done: int, total: int, seconds: float, first: int = 0) -> str:
    """One line on a phase that began with `first` units done and has run for `seconds`."""
    parts = [stage] if phase == stage else [stage, phase]
    if total:
        parts.append(f"{100 * done / total:.0f} %")
    rate = (done - first) / seconds if seconds > 0 else 0.0
    if rate:
        parts.append(f"{_short(rate)}/s")
    if rate and total:
        left = int((total - done) / rate)
        parts.append(f"{left // 60}:{left % 60:02d} left")
    return "  ".join(part for part in parts if part)


def _short(number: float) -> str:
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number:.1f}" if number < 10 else f"{number:.0f}"


@contextmanager
def shown(stage: str, *, quiet: bool = False, out: TextIO | None = None) -> Iterator[Progress]:
    """The progress of one stage on standard error; nothing with `quiet`."""
    if quiet:
        yield ignore
        return
    display = Display(stage, out or sys.stderr)
    try:
        yield display
    finally:
        display.close()
