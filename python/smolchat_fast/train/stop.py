"""Stopping a run from outside: once to save and end, twice to end at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether somebody asked the run to stop."""

    requested: bool = False


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Note the first Ctrl+C or SIGTERM; the second one acts as if nobody had been listening."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread hears signals
        return
    before: dict[int, Any] = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        stop.requested = True

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield stop
    finally:
        for heard, handler in before.items():
            signal.signal(heard, handler)
