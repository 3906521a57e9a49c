"""Training: ours beside `Seq2SeqTrainer`, on the same rows and the same first weights.

Each trainer has as many short trials to find its learning rate, all on the first part of the rows. The
baselines then train once through all rows; what counts is when our validation loss is as low as theirs is
in the end. Validations and checkpoints stop the clock of each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..measure import Measured, machine, measure, table
from . import bare, own, peer
from .own import Own
from .peer import Peer
from .task import Task, make_task
from .watch import Curve

PART = 0.25
"""Share of the rows that a trial has, and our own last run."""
VALIDATIONS = 25
"""Of each run, about."""
BATCH_TOKENS = 4_096

EARLIER = [Peer(lr, "adafactor", 16, 8) for lr in (1e-3, 3e-3, 1e-2, 3e-2)]
"""As ChatLM-mini-Chinese sets it up."""
BEST = [
    Peer(lr, "adamw_torch_fused", rows) for rows, lr in ((16, 1e-3), (16, 3e-3), (64, 3e-3), (64, 1e-2))
]
OURS = [Own(lr, BATCH_TOKENS) for lr in (5e-3, 1e-2, 2e-2, 4e-2)]

Setup = TypeVar("Setup", Own, Peer)


def run(rows: int) -> str:
    """Measure all and return the report.

    Args:
        rows: Rows that the baselines are trained on.
    Raises:
        RuntimeError: two trainers began with other weights, or passed other rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(Path(folder), rows, PART)
        return _report(task)


def _train(task: Task, setup: Own | Peer, epochs: int, validations: int) -> Measured:
    trainer: Any = own if isinstance(setup, Own) else peer
    work = partial(trainer.train, setup=setup, epochs=epochs, validations=validations)
    return measure(trainer.imported, work, task, most=1)
