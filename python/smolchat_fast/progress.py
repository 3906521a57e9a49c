"""How a long job tells where it stands: one callable, drawn in one place."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

LINE_EVERY_S = 10.0
DRAW_EVERY_S = 0.1


class Progress(Protocol):
    """Called with the step under way, units done and units in all (0: not known)."""

    def __call__(self, phase: str, done: int, total: int) -> None: ...


def ignore(phase: str, done: int, total: int) -> None:
    """The progress of a library call that nobody watches."""


def note(progress: Progress, facts: Mapping[str, str], texts: Sequence[str] = ()) -> None:
    """Give a display figures to show beside how far the job is; other callables do without.

    Args:
        progress: Where the job is shown.
        facts: Values by name; they replace the ones before.
        texts: Lines of text, for example sample answers.
    """
    if (take := getattr(progress, "note", None)) is not None:
        take(facts, texts)


class Display:
    """Draws `dedup  verify  61 %  1.2 M/s  0:14 left`: one live line on a terminal, plain lines in a log.

    A job that gives figures (`note`) has a live panel instead of the line, and longer lines in a log.
    """

    def __init__(self, stage: str, out: TextIO) -> None:
        self.stage, self.out, self.live = stage, out, out.isatty()
        self._phase, self._began, self._first, self._shown = "", 0.0, 0, 0.0
        self._width = 0
        self._facts: Mapping[str, str] = {}
        self._texts: Sequence[str] = ()
        self._panel: Any = None

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

    def note(self, facts: Mapping[str, str], texts: Sequence[str] = ()) -> None:
        """Show these figures with the next drawing."""
        self._facts, self._texts = dict(facts), list(texts)

    def _write(self, line: str) -> None:
        if self.live and self._facts and self._draw_panel(line):
            return
        line = "  ".join([line, *(f"{name} {value}" for name, value in self._facts.items())])
        if self.live:
            self.out.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def _draw_panel(self, line: str) -> bool:
        """Draw figures and texts in a frame; False where the library for it is missing."""
        try:
            from smolchat_fast.panel import LivePanel
        except ImportError:
            return False
        if self._panel is None:
            self._clear()
            self._panel = LivePanel(self.out)
        self._panel.draw(line, self._facts, self._texts)
        return True

    def close(self) -> None:
        """Clear the live line; a panel stays with its last figures."""
        if self._panel is not None:
            self._panel.close()
        self._clear()

    def _clear(self) -> None:
        if self.live and self._width:
            self.out.write("\r" + " " * self._width + "\r")
            self.out.flush()
            self._width = 0


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
