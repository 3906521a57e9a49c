"""Our trainer on a task."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from smolchat_fast.train.options import OptimizerName, TrainOptions

from .task import MODEL, SEED, Task, stream_options
from .watch import CLIPPING, Curve, Watch


@dataclass(frozen=True)
class Own:
    """How our trainer is set up."""

    lr: float
    batch_tokens: int
    optimizer: OptimizerName = "muon"
    schedule: Any = "wsd"

    def __str__(self) -> str:
        return f"{self.optimizer}, {self.batch_tokens:,} tokens a batch, lr {self.lr:g}"


def imported(task: Task) -> Task:
    import smolchat_fast.train.plan  # noqa: F401

    return task


def train(task: Task, setup: Own, epochs: int, validations: int) -> Curve:
    """Train as `pretrain` does it."""
    from smolchat_fast.stream import Stream
    from smolchat_fast.train import loop, plan, pretrain_files
    from smolchat_fast.train.validation import validate

    watch = Watch()
    runs: list[loop.Run] = []

    class Watched(loop.Run):
        def train(self) -> bool:
            runs.append(self)
            self.accelerator.backward = watch.timed("backward", self.accelerator.backward)  # type: ignore[method-assign]
            self.optimizer.step = watch.timed("optimizer", self.optimizer.step)  # type: ignore[method-assign]
            self.sharding.clip = watch.timed(CLIPPING, self.sharding.clip)  # type: ignore[method-assign]
            found = validate(self.plain_model, self.valid, self.accelerator)  # type: ignore[arg-type]
            watch.start(found and found.loss)
            return super().train()

        def _step(self, micro: Any, counts: Any) -> None:
            super()._step(micro, counts)
            watch.sums.update(
                rows=counts.rows,
                targets=counts.target_tokens,
                sources=counts.tokens - counts.target_tokens,
                places=counts.places,
            )

        def _validate(self) -> bool:
            with watch.held():
                ended = super()._validate()
                watch.note(self.state.valid_loss)
            return ended

        def _save(self) -> None:
            with watch.held():
                super()._save()

    forward = watch.timed("forward", loop.target_loss_sum)
    stream = stream_options(setup.batch_tokens)
    steps = sum(1 for _ in Stream([task.rows], task.folder, stream, epochs=epochs))
    options = TrainOptions(
        epochs=epochs,
        optimizer=setup.optimizer,
        lr=setup.lr,
        schedule=setup.schedule,
        matmul_precision="medium",
        eval_every=max(1, steps // validations),
        eval_batches=0,
        eval_answers=0,
        save_every=0,
        save_minutes=0,
        seed=SEED,
        stream=stream,
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(plan, "Run", Watched),
        mock.patch.object(loop, "target_loss_sum", forward),
    ):
        pretrain_files(
            [task.rows],
            Path(folder) / "model",
            options,
            valid=task.valid,
            tokenizer=task.folder,
            model=MODEL,
        )
    return watch.curve(runs[0].state.step, watch.points[-1][0])
