"""What a run tells while it goes: `metrics.jsonl`, one line every few steps."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from smolchat_fast.stage import peak_mb
from smolchat_fast.train.lines import METRICS, Line, read_lines
from smolchat_fast.train.state import TrainState


class Metrics:
    """Writes `metrics.jsonl`; a resumed run goes on after the line of its step.

    Training lines: `step`, `rows`, `loss` (mean over the target tokens since the last line), `lr`,
    `grad_norm`, `tokens_per_s` (source and target, without padding), `target_tokens_per_s`, `padding`
    (share of the places of the batches), `seconds`, `memory_mb`. Validation lines: `step`,
    `valid_loss`, `bits_per_byte`, `exact`, `bleu`, `samples`, `seconds`. Others: `step`, `warning`.
    """

    def __init__(self, folder: Path, state: TrainState, *, every: int = 10, write: bool = True) -> None:
        """Open the file in `folder` and drop lines of steps that `state` has not reached.

        Args:
            folder: Where the file is.
            state: Where the run stands; it holds the sums of the line that is not full yet.
            every: Steps of a line.
            write: False on the processes that only help the main one.
        """
        self.state, self.every = state, every
        self._file = _LineFile(folder / METRICS, state.step) if write else None
        self._begun = time.monotonic() - state.seconds
        self._since = time.monotonic()
        self._spent_before = state.since_line.get("seconds", 0.0)

    def __enter__(self) -> Metrics:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def save_clock(self) -> None:
        """Put the time in the loop into the state, before it is saved."""
        self.state.seconds = self.seconds()
        self.state.since_line["seconds"] = self._spent()

    def seconds(self) -> float:
        """Time in the loop, over all runs that made this state."""
        return time.monotonic() - self._begun

    def count(self, **amounts: float) -> None:
        """Add what a step did to the sums of the coming line."""
        sums = self.state.since_line
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0) + amount

    def log_step(self, *, lr: float, grad_norm: float) -> Line | None:
        """Write a line when it is time for one; returns it."""
        state, sums = self.state, self.state.since_line
        if state.step % self.every:
            return None
        spent = max(self._spent(), 1e-9)
        line: Line = {
            "step": state.step,
            "rows": state.rows,
            "loss": sums["loss"] / max(1, sums["target_tokens"]),
            "lr": lr,
            "grad_norm": grad_norm,
            "tokens_per_s": round(sums["tokens"] / spent, 1),
            "target_tokens_per_s": round(sums["target_tokens"] / spent, 1),
            "padding": round(1 - sums["tokens"] / max(1, sums["places"]), 4),
            "seconds": round(self.seconds(), 3),
            "memory_mb": round(memory_mb(), 1),
        }
        self.write(line)
        sums.clear()
        self._since, self._spent_before = time.monotonic(), 0.0
        return line

    def log_validation(self, measures: Mapping[str, Any]) -> Line:
        """Write a line with what a validation found; returns it."""
        line = {"step": self.state.step, **measures, "seconds": round(self.seconds(), 3)}
        self.write(line)
        return line

    def pause(self, seconds: float) -> None:
        """Leave time spent on validation or saving out of the rate."""
        self._since += seconds

    def write(self, line: Line) -> None:
        """Append a line."""
        if self._file is not None:
            self._file.write(line)

    def _spent(self) -> float:
        return self._spent_before + time.monotonic() - self._since


class _LineFile:
    """A file of JSON lines that a full disk may hold up but not break."""

    def __init__(self, path: Path, last_step: int) -> None:
        kept = [line for line in read_lines(path) if line["step"] <= last_step]
        draft = path.with_name(path.name + ".draft")
        draft.write_text("".join(_text(line) for line in kept), "utf-8")
        draft.replace(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._waiting = bytearray()

    def write(self, line: Line) -> None:
        self._waiting += _text(line).encode()
        try:
            while self._waiting:
                del self._waiting[: os.write(self._file, self._waiting)]
        except OSError as error:
            # What is left comes with the next line, when there is room again.
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise

    def close(self) -> None:
        os.close(self._file)


def _text(line: Line) -> str:
    return json.dumps(line, ensure_ascii=False) + "\n"


def memory_mb() -> float:
    """Peak memory in MiB: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / (1 << 20)
    return peak_mb()
