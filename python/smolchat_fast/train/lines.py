"""The lines of `metrics.jsonl`, which every run leaves; imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolchat_fast.errors import DataError
from smolchat_fast.stage import PARTIAL

METRICS = "metrics.jsonl"
SMOOTHING = 0.9
"""Weight of the past in the smoothed loss."""

Line = dict[str, Any]


def read_lines(path: Path) -> list[Line]:
    """The whole lines of a metrics file; none if it is not there.

    Raises:
        DataError: a line is no JSON object with a step; names it.
    """
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_text("utf-8").split("\n")[:-1], 1):
        try:
            line = json.loads(text)
            line["step"] += 0
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: no line of a training run ({error!r}).") from error
        lines.append(line)
    return lines


def training(lines: Sequence[Line]) -> list[Line]:
    """The lines about training steps."""
    return [line for line in lines if "loss" in line]


def validation(lines: Sequence[Line]) -> list[Line]:
    """The lines about validations."""
    return [line for line in lines if line.get("valid_loss") is not None]


def smooth(losses: Sequence[float]) -> list[float]:
    """The mean of all losses so far, in which older ones weigh less and less.

    Args:
        losses: N losses.
    Returns:
        N means, each without the pull to zero that a plain exponential mean has at its beginning.
    """
    total, weight, means = 0.0, 0.0, []
    for loss in losses:
        total, weight = SMOOTHING * total + loss, SMOOTHING * weight + 1
        means.append(total / weight)
    return means


def find_metrics(run: Path) -> Path:
    """The metrics of a run: finished, under way, or the file itself.

    Raises:
        FileNotFoundError: there are none.
    """
    under_way = run.with_name(run.name + PARTIAL)
    for path in (run / METRICS, under_way / METRICS, run):
        if path.is_file():
            return path
    raise FileNotFoundError(2, f"no {METRICS} here, nor in {under_way.name}", str(run))
