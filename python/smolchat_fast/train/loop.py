"""The one training loop, text to text, for pre-training and fine-tuning.

```
stream -> batches of a step -> loss sum / target tokens of the step -> clip -> optimizer
                                                     every so often -> validation, checkpoint
```
"""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from safetensors.torch import load_model as load_weights
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.encode import IGNORED
from smolchat_fast.model import save_model
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stream import Batch
from smolchat_fast.train.checkpoint import Checkpoints, read_checkpoint
from smolchat_fast.train.metrics import Metrics
from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.panel import Panel
from smolchat_fast.train.schedule import Schedule
from smolchat_fast.train.sharded import sharding_for
from smolchat_fast.train.state import TrainState, random_states, seed_everything, set_random_states
from smolchat_fast.train.stop import Stop, stop_on_signal
from smolchat_fast.train.validation import Valid, run_batch, validate


class BatchSource(Protocol):
    """What the loop asks of a stream."""

    @property
    def rows(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass
class Parts:
    """Everything that takes part in a training run, and where it writes."""

    options: TrainOptions
    model: T5ForConditionalGeneration
    optimizer: Optimizer
    batches: BatchSource
    valid: Valid | None
    accelerator: Accelerator
    tokenizer: Path
    out: Path
    progress: Progress = ignore


@dataclass
class Run(Parts):
    """One training run."""

    def __post_init__(self) -> None:
        """Hand model and optimizer to accelerate, and go on from the newest checkpoint."""
        ranks = self.accelerator.num_processes
        if self.options.accumulate % ranks:
            raise ValueError(
                f"option accumulate = {self.options.accumulate}: must be a multiple of the {ranks} processes, "
                "which share the batches of a step"
            )
        self.checkpoints = Checkpoints(self.out / "checkpoints", keep=self.options.keep)
        self.plain_model = self.model
        latest = self.checkpoints.latest()
        if latest is not None:  # before the model is parted
            load_weights(self.plain_model, latest / "model.safetensors")
        share = sharding_for(self.accelerator, self.options)
        self.sharding = share(self.accelerator, self.options, self.model, self.optimizer)
        self.forward, self.optimizer = self.sharding.forward, self.sharding.optimizer
        self.schedule, self.state, self.stop = Schedule(self.options), TrainState(), Stop()
        self._restore(latest)
        self.saved_step: int | None = self.state.step if self.state.step else None
        self._saved_at, self._save_due = time.monotonic(), False

    def train(self) -> bool:
        """Train to the end, or until asked to stop; save either way.

        Returns:
            Whether the run came to its end.
        Raises:
            StageError: the loss is not a number any more; the last checkpoint is from before.
        """
        main, ranks = self.accelerator.is_main_process, self.accelerator.num_processes
        with (
            stop_on_signal() as self.stop,
            Metrics(self.out, self.state, every=self.options.log_every, write=main) as self.metrics,
        ):
            self.panel = Panel(self.progress, self.out, self.state, self._target())
            self.forward.train()
            while not self._is_done():
                self._validate_and_save_if_due()
                micro = list(itertools.islice(self.batches, self.options.accumulate // ranks))
                counts = self._agree(micro)
                if counts.stop:
                    self._save()
                    return False
                if counts.empty:
                    break
                self._step(micro, counts)
                self._save_due |= counts.save
            ended = self._validate()
            self._save()
        return ended

    def whole_model(self) -> T5ForConditionalGeneration:
        """The model with all its weights; all processes have to ask."""
        return self.sharding.whole_model()

    def _step(self, micro: list[Batch], counts: Counts) -> None:
        """One change of the weights from the batches of a step."""
        lr = self.schedule.apply(self.optimizer, self._position(counts.rows))
        loss_sum = torch.zeros((), device=self.accelerator.device)
        for i, batch in enumerate(micro):
            with self.sharding.synced(last=i == len(micro) - 1):
                loss = target_loss_sum(self.forward, batch, self.accelerator, self.options.label_smoothing)
                # Ranks average their gradients: multiplying by their number makes it a sum again.
                self.sharding.backward(loss * (self.accelerator.num_processes / counts.target_tokens))
            loss_sum += loss.detach()
        state = self.state
        grad_norm = self.sharding.update(state.step + 1)
        state.step += 1
        state.rows += counts.rows
        state.target_tokens += counts.target_tokens
        state.tokens += counts.tokens
        state.stream = self.batches.state_dict()
        total_loss = self.accelerator.reduce(loss_sum, "sum").item()  # type: ignore[union-attr]
        self.metrics.count(
            loss=total_loss,
            target_tokens=counts.target_tokens,
            tokens=counts.tokens,
            places=counts.places,
        )
        self._tell(self.metrics.log_step(lr=lr, grad_norm=grad_norm))
        self.panel.advance(state, by_steps=bool(self.options.steps))

    def _position(self, rows: int) -> float:
        """Middle of the coming step as a share of the run."""
        if self.options.steps:
            return (self.state.step + 0.5) / self.options.steps
        return min(1.0, (self.state.rows + rows / 2) / (self.options.epochs * self.batches.rows))

    def _is_done(self) -> bool:
        return bool(self.options.steps) and self.state.step >= self.options.steps

    def _target(self) -> int:
        """Steps of the run, or rows if epochs end it."""
        return self.options.steps or self.options.epochs * self.batches.rows

    def _agree(self, micro: list[Batch]) -> Counts:
        """What all ranks have for the coming step, and whether one of them wants to stop or to save."""
        minutes = self.options.save_minutes
        mine = [
            sum(int((batch.rows >= 0).sum()) for batch in micro),
            sum(int((batch.labels != IGNORED).sum()) for batch in micro),
            sum(int(batch.attention_mask.sum()) for batch in micro),
            sum(batch.input_ids.size + batch.labels.size for batch in micro),
            int(self.stop.requested),
            int(not micro),
            int(minutes > 0 and time.monotonic() - self._saved_at > 60 * minutes),
        ]
        if self.accelerator.num_processes > 1:
            mine = self.accelerator.reduce(torch.tensor(mine, device=self.accelerator.device), "sum").tolist()  # type: ignore[union-attr]
        rows, targets, sources, places, stop, empty, save = mine
        return Counts(rows, targets, targets + sources, places, stop > 0, empty > 0, save > 0)

    def _validate_and_save_if_due(self) -> None:
        options, state = self.options, self.state
        best_before = state.best_step
        if _due(state.step, options.eval_every) and state.validated != state.step:
            self._validate()
        due = _due(state.step, options.save_every) or self._save_due or state.best_step != best_before
        if due and self.saved_step != state.step:
            self._save()

    def _validate(self) -> bool:
        """Measure on the validation rows; returns False if a wish to stop cut it short."""
        if self.valid is None or self.state.validated == self.state.step > 0:
            return True
        began = time.monotonic()
        # Ranks do not wait for each other here, so none may need what another one has.
        model = self.whole_model()
        found = validate(
            self.forward if self.accelerator.num_processes == 1 else model,
            self.valid,
            self.accelerator,
            most_batches=self.options.eval_batches,
            stopped=lambda: self.stop.requested,
        )
        if found is not None:
            self.state.note_validation(found.loss)
            measures: dict[str, Any] = {"valid_loss": found.loss, "bits_per_byte": found.bits_per_byte}
            if self.valid.answers is not None and self.accelerator.is_main_process:
                measures |= self.valid.answers.ask(model)
            self._tell(self.metrics.log_validation(measures))
            self.accelerator.wait_for_everyone()
        self.forward.train()
        self.metrics.pause(time.monotonic() - began)
        return found is not None

    def _save(self) -> None:
        """Write a checkpoint; a full disk costs no more than that checkpoint."""
        began = time.monotonic()
        self.metrics.save_clock()
        main, scaler = self.accelerator.is_main_process, self.accelerator.scaler
        tensors = {
            "optimizer": self.sharding.optimizer_state(keep=main),
            "scaler": scaler.state_dict() if scaler is not None else None,
            "random": self._gather(random_states()),
        }
        model = self.whole_model()
        saved = self._write(model, tensors) if main else True
        self.accelerator.wait_for_everyone()
        if saved:
            self.saved_step = self.state.step
        self._saved_at, self._save_due = time.monotonic(), False
        self.metrics.pause(time.monotonic() - began)

    def _write(self, model: T5ForConditionalGeneration, tensors: dict[str, Any]) -> bool:
        try:
            self.checkpoints.save(
                self.state, lambda folder: save_model(model, self.tokenizer, folder), tensors
            )
        except OSError as error:
            if error.errno not in {ENOSPC, EDQUOT}:
                raise
            older = (
                "there is no older one"
                if self.saved_step is None
                else f"the last one is of {self.saved_step:,}"
            )
            warning = f"disk full, no checkpoint of step {self.state.step:,} ({older}); free some space"
            warnings.warn(f"{self.checkpoints.folder}: {warning}", RuntimeWarning, stacklevel=2)
            self.metrics.write({"step": self.state.step, "warning": warning})
            return False
        return True

    def _gather(self, states: dict[str, Any]) -> list[dict[str, Any]]:
        if self.accelerator.num_processes == 1:
            return [states]
        from accelerate.utils import gather_object

        return gather_object([states])

    def _restore(self, latest: Path | None) -> None:
        """Go on from a checkpoint whose weights the model has."""
        if latest is None:
            self.state.stream = self.batches.state_dict()
            return
        self.state, tensors = read_checkpoint(latest)
        self.sharding.load_optimizer(tensors["optimizer"])
        if self.accelerator.scaler is not None and tensors["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(tensors["scaler"])
        self.batches.load_state_dict(self.state.stream)
        rank, ranks = self.accelerator.process_index, self.accelerator.num_processes
        if len(tensors["random"]) == ranks:
            set_random_states(tensors["random"][rank])
        else:
            seed_everything(self.options.seed, rank=rank, step=self.state.step)

    def _tell(self, line: dict[str, Any] | None) -> None:
        """Show a line of the metrics, here and to the trackers."""
        if line is None:
            return
        self.panel.show(line)
        if self.options.trackers:
            numbers = {name: value for name, value in line.items() if isinstance(value, int | float)}
            self.accelerator.log(numbers, step=self.state.step)


@dataclass(frozen=True)
class Counts:
    """What a step holds, over all ranks."""

    rows: int
    target_tokens: int
    tokens: int
    """Source and target tokens without padding."""
    places: int
    """Source and target tokens with padding."""
    stop: bool
    """A rank was asked to stop."""
    empty: bool
    """A rank has no rows left."""
    save: bool
    """A rank finds that the last checkpoint is old."""


def target_loss_sum(
    model: nn.Module, batch: Batch, accelerator: Accelerator, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of a batch, summed over its target tokens; float32 []."""
    labels, logits = run_batch(model, batch, accelerator)
    return functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step > 0 and step % every == 0
