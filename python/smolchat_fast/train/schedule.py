"""The learning rate over a run, as a share of the highest one.

A schedule is a function of the position in the run, read at the middle of each step, so that neither
the first nor the last step has a rate of zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer

from smolchat_fast.train.options import ScheduleName, TrainOptions

ONECYCLE_START = 1 / 50
"""Share at which `onecycle` starts: 1e-4 of a highest rate of 5e-3."""


def lr_share(name: ScheduleName, position: float, *, warmup: float, decay: float) -> float:
    """Learning rate at a position of the run, as a share of the highest one.

    Args:
        name: The schedule.
        position: Where in the run, in [0, 1].
        warmup: Share of the run in which the rate rises.
        decay: Share of the run in which `wsd` lets it fall.
    """
    if position < warmup:
        rise = position / warmup
        if name == "onecycle":
            return ONECYCLE_START + (1 - ONECYCLE_START) * _half_cosine(1 - rise)
        return rise
    after = (position - warmup) / (1 - warmup) if warmup < 1 else 1.0
    shapes: dict[ScheduleName, Callable[[], float]] = {
        "constant": lambda: 1.0,
        "wsd": lambda: min(1.0, (1 - position) / decay) if decay else 1.0,
        "cosine": lambda: _half_cosine(after),
        "onecycle": lambda: _half_cosine(after),
    }
    return shapes[name]()


def _half_cosine(x: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * x))


class Schedule:
    """Sets the learning rate of every group of an optimizer."""

    def __init__(self, options: TrainOptions) -> None:
        self.options = options

    def apply(self, optimizer: Optimizer, position: float) -> float:
        """Set the rates for a position in [0, 1]; returns the first group's."""
        options = self.options
        share = lr_share(options.schedule, position, warmup=options.warmup_share, decay=options.decay_share)
        for group in optimizer.param_groups:
            group["lr"] = share * group["max_lr"]
        return optimizer.param_groups[0]["lr"]
