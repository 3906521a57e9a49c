"""`Seq2SeqTrainer` of transformers on a task, set up as its users do.

Its rows are encoded before the clock starts; ours are encoded while it runs. Nothing is written, and no
tracker is told anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from .task import Task
from .watch import Curve


@dataclass(frozen=True)
class Peer:
    """How `Seq2SeqTrainer` is set up."""

    lr: float
    optim: str
    """By the names of transformers."""
    batch_rows: int
    accumulate: int = 1

    def __str__(self) -> str:
        rows = f"{self.batch_rows} x {self.accumulate}" if self.accumulate > 1 else f"{self.batch_rows}"
        return f"{self.optim}, {rows} rows, lr {self.lr:g}"


def imported(task: Task) -> Task:
    import smolchat_fast.train.hf  # noqa: F401

    return task


def train(task: Task, setup: Peer, epochs: int, validations: int) -> Curve:
    """Train by `Seq2SeqTrainer`."""
    from . import trainer

    return trainer.train(task, setup, epochs, validations)
