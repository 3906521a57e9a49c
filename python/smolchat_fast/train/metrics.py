"""What a run tells while it goes: `metrics.jsonl`, one line every few steps, and its curves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from smolchat_fast.stage import peak_mb
from smolchat_fast.train.state import TrainState

METRICS = "metrics.jsonl"
CURVE = "curve.png"


class Metrics:
    """Writes `metrics.jsonl`; a resumed run goes on after the line of its step.

    Training lines: `step`, `loss` (mean over the target tokens since the last line), `lr`,
    `grad_norm`, `tokens_per_s` (source and target, without padding), `seconds`, `memory_mb`.
    Validation lines: `step`, `valid_loss`, `seconds`.
    """

    def __init__(self, folder: Path, state: TrainState, *, every: int = 10) -> None:
        """Open the file in `folder` and drop lines of steps that `state` has not reached."""
        self.path, self.every = folder / METRICS, every
        kept = [line for line in read_metrics(self.path) if line["step"] <= state.step]
        self._file = self.path.open("w", encoding="utf-8")
        for line in kept:
            self._write(line)
        self._begun = self._since = time.monotonic() - state.seconds
        self._clear()

    def __enter__(self) -> Metrics:
        """Returns itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def seconds(self) -> float:
        """Time in the loop, over all runs that made this state."""
        return time.monotonic() - self._begun

    def log(
        self,
        state: TrainState,
        *,
        loss_sum: float,
        target_tokens: int,
        tokens: int,
        lr: float,
        grad_norm: float,
    ) -> None:
        """Count a step in, and write a line when it is time for one."""
        self._loss += loss_sum
        self._targets += target_tokens
        self._tokens += tokens
        if state.step % self.every:
            return
        now = time.monotonic()
        self._write(
            {
                "step": state.step,
                "loss": self._loss / max(1, self._targets),
                "lr": lr,
                "grad_norm": grad_norm,
                "tokens_per_s": round(self._tokens / (now - self._since), 1),
                "seconds": round(self.seconds(), 3),
                "memory_mb": round(memory_mb(), 1),
            }
        )
        self._clear()

    def log_valid(self, state: TrainState) -> None:
        """Write a line with the validation loss, whose time does not count in the next rate."""
        began = self._since
        self._write({"step": state.step, "valid_loss": state.valid_loss, "seconds": round(self.seconds(), 3)})
        self._since = began

    def pause(self, seconds: float) -> None:
        """Leave time spent on validation or saving out of the rate."""
        self._since += seconds

    def _clear(self) -> None:
        self._loss, self._targets, self._tokens, self._since = 0.0, 0, 0, time.monotonic()

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def memory_mb() -> float:
    """Peak memory in MiB: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / (1 << 20)
    return peak_mb()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; none if it is not there."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def draw_curve(metrics: Path, out: Path) -> None:
    """Draw training and validation loss and the learning rate over the steps, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    lines = read_metrics(metrics)
    train = [line for line in lines if "loss" in line]
    valid = [line for line in lines if "valid_loss" in line]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="step", ylabel="loss by target token")
    axes.plot([x["step"] for x in train], [x["loss"] for x in train], linewidth=1, label="training")
    axes.plot([x["step"] for x in valid], [x["valid_loss"] for x in valid], "o-", label="validation")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    rates = axes.twinx()
    rates.set_ylabel("learning rate")
    rates.set_ylim(bottom=0, top=1.05 * max((x["lr"] for x in train), default=1.0) or 1.0)
    rates.plot([x["step"] for x in train], [x["lr"] for x in train], ":", color="gray", label="learning rate")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(out, dpi=110)
