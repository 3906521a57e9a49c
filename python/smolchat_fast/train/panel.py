"""What a person sees of a training: the last line of the metrics, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolchat_fast.progress import Progress, note
from smolchat_fast.train.lines import METRICS, SMOOTHING, read_lines, smooth, training, validation
from smolchat_fast.train.state import TrainState

TEXT_CHARS = 60
"""Longest prompt or answer shown."""


class Panel:
    """Turns lines of the metrics into figures, and tells how far the run is."""

    def __init__(self, progress: Progress, out: Path, state: TrainState, target: int) -> None:
        """Begin with what an earlier run has measured.

        Args:
            progress: Where it is shown.
            out: Folder of the metrics.
            state: Where the run stands.
            target: Steps of the run, or rows if epochs end it.
        """
        self.progress, self.target = progress, target
        lines = [line for line in read_lines(out / METRICS) if line["step"] <= state.step]
        losses = [line["loss"] for line in training(lines)]
        self._smooth = smooth(losses)[-1] if losses else None
        self._weight = sum(SMOOTHING**i for i in range(len(losses)))
        self._facts: dict[str, str] = {}
        self._texts: list[str] = []
        for line in validation(lines)[-1:]:
            self.show(line)

    def advance(self, state: TrainState, *, by_steps: bool) -> None:
        """Tell how far the run is."""
        self.progress("steps" if by_steps else "rows", state.step if by_steps else state.rows, self.target)

    def show(self, line: dict[str, Any]) -> None:
        """Show a line of the metrics."""
        if "loss" in line:
            self._facts |= self._training(line)
        else:
            self._facts |= _validation(line)
            self._texts = [
                f"{_short(sample['prompt'])} → {_short(sample['answer'])}"
                for sample in line.get("samples", ())
            ]
        note(self.progress, self._facts, self._texts)

    def _training(self, line: dict[str, Any]) -> dict[str, str]:
        loss, past = line["loss"], SMOOTHING * self._weight
        self._smooth = loss if self._smooth is None else (past * self._smooth + loss) / (past + 1)
        self._weight = past + 1
        sources = line["tokens_per_s"] - line["target_tokens_per_s"]
        return {
            "loss": f"{loss:.4f}",
            "smoothed": f"{self._smooth:.4f}",
            "lr": f"{line['lr']:.2e}",
            "gradient norm": f"{line['grad_norm']:.3f}",
            "target tokens/s": f"{line['target_tokens_per_s']:,.0f}",
            "source tokens/s": f"{sources:,.0f}",
            "padding": f"{line['padding']:.1%}",
            "memory": f"{line['memory_mb']:,.0f} MB",
        }


def _validation(line: dict[str, Any]) -> dict[str, str]:
    formats = {"valid_loss": ".4f", "bits_per_byte": ".3f", "exact": ".1%", "bleu": ".1f"}
    return {
        name.replace("valid_loss", "validation").replace("_", " "): format(line[name], form)
        for name, form in formats.items()
        if line.get(name) is not None
    }


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
