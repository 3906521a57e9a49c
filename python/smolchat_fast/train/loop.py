"""The one training loop, text to text, for pre-training and fine-tuning.

```
stream -> batches of a step -> loss sum / target tokens of the step -> clip -> optimizer
                                                     every so often -> validation loss, checkpoint
```
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.errors import StageError
from smolchat_fast.model import save_model
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stream import Batch
from smolchat_fast.train.checkpoint import Checkpoints, read_checkpoint
from smolchat_fast.train.metrics import Metrics
from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.schedule import Schedule
from smolchat_fast.train.state import TrainState, random_states, set_random_states
from smolchat_fast.train.stop import stop_on_signal

IGNORED = -100
"""Label of a padded target."""


class BatchSource(Protocol):
    """What the loop asks of a stream."""

    @property
    def rows(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def __next__(self) -> Batch: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass
class Run:
    """One training run: everything that takes part, and where it writes."""

    options: TrainOptions
    model: T5ForConditionalGeneration
    optimizer: Optimizer
    batches: BatchSource
    valid: Callable[[], Iterable[Batch]] | None
    accelerator: Accelerator
    tokenizer: Path
    out: Path
    progress: Progress = ignore

    def __post_init__(self) -> None:
        """Hand model and optimizer to accelerate, and go on from the newest checkpoint."""
        self.checkpoints = Checkpoints(self.out / "checkpoints", keep=self.options.keep)
        self.plain_model = self.model
        wrapped, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.forward: nn.Module = torch.compile(wrapped) if self.options.compile else wrapped  # type: ignore[assignment]
        self.schedule, self.state = Schedule(self.options), TrainState()
        self._restore()

    def train(self) -> bool:
        """Train to the end, or until asked to stop; save either way.

        Returns:
            Whether the run came to its end.
        Raises:
            StageError: the loss is not a number any more; the last checkpoint is from before.
        """
        options, state, ended = self.options, self.state, False
        self.forward.train()
        with stop_on_signal() as stop, Metrics(self.out, state, every=options.log_every) as metrics:
            self.metrics = metrics
            while not (ended := self._is_done()):
                micro = list(itertools.islice(self.batches, options.accumulate))
                counts = self._agree(micro, stop.requested)
                if counts.stop or counts.empty:
                    ended = counts.empty
                    break
                self._step(micro, counts)
                if _due(state.step, options.eval_every) and not self._is_done():
                    self._validate()
                if _due(state.step, options.save_every) and not self._is_done():
                    self._save()
            if ended:
                self._validate()
            self._save()
        return ended

    def _step(self, micro: list[Batch], counts: Counts) -> None:
        """One change of the weights from the batches of a step."""
        position = self._position(counts.rows)
        lr = self.schedule.apply(self.optimizer, position)
        loss_sum = torch.zeros((), device=self.accelerator.device)
        for i, batch in enumerate(micro):
            with self._synced(last=i == len(micro) - 1):
                loss = target_loss_sum(self.forward, batch, self.accelerator, self.options.label_smoothing)
                # Ranks average their gradients: multiplying by their number makes it a sum again.
                self.accelerator.backward(loss * (self.accelerator.num_processes / counts.target_tokens))
            loss_sum += loss.detach()
        grad_norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad()
        state = self.state
        state.step += 1
        state.rows += counts.rows
        state.target_tokens += counts.target_tokens
        state.tokens += counts.tokens
        state.stream = self.batches.state_dict()
        total_loss = self.accelerator.reduce(loss_sum, "sum").item()  # type: ignore[union-attr]
        self.metrics.log(
            state,
            loss_sum=total_loss,
            target_tokens=counts.target_tokens,
            tokens=counts.tokens,
            lr=lr,
            grad_norm=grad_norm,
        )
        self._tell()

    def _synced(self, *, last: bool) -> contextlib.AbstractContextManager[Any]:
        # Gradients of several ranks meet once a step.
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.forward)

    def _clip(self) -> float:
        limit = self.options.max_norm or float("inf")
        norm = self.accelerator.clip_grad_norm_(self.plain_model.parameters(), limit)
        value = float(norm) if norm is not None else 0.0
        if not np.isfinite(value) and self.accelerator.scaler is None:
            raise StageError(
                f"the gradient of step {self.state.step + 1:,} is not finite; the weights were not changed. "
                "Use a lower --lr, a longer warm-up or --precision fp32; the last checkpoint is from before."
            )
        return value

    def _position(self, rows: int) -> float:
        """Middle of the coming step as a share of the run."""
        if self.options.steps:
            return (self.state.step + 0.5) / self.options.steps
        return min(1.0, (self.state.rows + rows / 2) / (self.options.epochs * self.batches.rows))

    def _is_done(self) -> bool:
        return bool(self.options.steps) and self.state.step >= self.options.steps

    def _agree(self, micro: list[Batch], stop: bool) -> Counts:
        """What all ranks have for the coming step, and whether one of them wants to stop."""
        rows = sum(int((batch.rows >= 0).sum()) for batch in micro)
        targets = sum(int((batch.labels != IGNORED).sum()) for batch in micro)
        sources = sum(int(batch.attention_mask.sum()) for batch in micro)
        mine = [rows, targets, sources, int(stop), int(not micro)]
        if self.accelerator.num_processes > 1:
            mine = self.accelerator.reduce(torch.tensor(mine, device=self.accelerator.device), "sum").tolist()  # type: ignore[union-attr]
        return Counts(
            rows=mine[0], target_tokens=mine[1], tokens=mine[1] + mine[2], stop=mine[3] > 0, empty=mine[4] > 0
        )

    def _validate(self) -> None:
        if self.valid is None:
            return
        began = time.monotonic()
        limit = self.options.eval_batches or None
        self.state.valid_loss = mean_target_loss(
            self.forward, itertools.islice(self.valid(), limit), self.accelerator
        )
        self.forward.train()
        self.metrics.log_valid(self.state)
        self.metrics.pause(time.monotonic() - began)

    def _save(self) -> None:
        began = time.monotonic()
        self.state.seconds = self.metrics.seconds()
        states = self._gather(random_states())
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            tensors = {
                "optimizer": self.optimizer.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,
                "random": states,
            }
            self.checkpoints.save(
                self.state, lambda folder: save_model(self.plain_model, self.tokenizer, folder), tensors
            )
        self.accelerator.wait_for_everyone()
        self.metrics.pause(time.monotonic() - began)

    def _gather(self, states: dict[str, Any]) -> list[dict[str, Any]]:
        if self.accelerator.num_processes == 1:
            return [states]
        from accelerate.utils import gather_object

        return gather_object([states])

    def _restore(self) -> None:
        """Go on from the newest checkpoint, whose weights the model already has."""
        latest = self.checkpoints.latest()
        if latest is None:
            self.state.stream = self.batches.state_dict()
            return
        self.state, tensors = read_checkpoint(latest)
        self.optimizer.load_state_dict(tensors["optimizer"])
        if self.accelerator.scaler is not None and tensors["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(tensors["scaler"])
        self.batches.load_state_dict(self.state.stream)
        if len(tensors["random"]) == self.accelerator.num_processes:
            set_random_states(tensors["random"][self.accelerator.process_index])

    def _tell(self) -> None:
        if self.options.steps:
            self.progress("steps", self.state.step, self.options.steps)
        else:
            self.progress("rows", self.state.rows, self.options.epochs * self.batches.rows)


@dataclass(frozen=True)
class Counts:
    """What a step holds, over all ranks."""

    rows: int
    target_tokens: int
    tokens: int
    """Source and target tokens without padding."""
    stop: bool
    """A rank was asked to stop."""
    empty: bool
    """A rank has no rows left."""


def target_loss_sum(
    model: nn.Module, batch: Batch, accelerator: Accelerator, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy of a batch, summed over its target tokens; float32 []."""
    labels = torch.from_numpy(batch.labels).to(accelerator.device, non_blocking=True)  # [B, T]
    source = torch.from_numpy(batch.input_ids).to(accelerator.device, non_blocking=True)  # [B, S]
    mask = None
    if not batch.attention_mask.all():  # without padding, attention is cheaper without a mask
        mask = torch.from_numpy(batch.attention_mask).to(accelerator.device, non_blocking=True)
    logits = model(
        input_ids=source, attention_mask=mask, decoder_input_ids=shift_right(labels), use_cache=False
    ).logits
    return functional.cross_entropy(
        logits.flatten(0, 1).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        reduction="sum",
        label_smoothing=label_smoothing,
    )


def shift_right(labels: Tensor) -> Tensor:
    """What the decoder reads to predict the labels: `[PAD]`, then all but the last of them; [B, T]."""
    shifted = functional.pad(labels[:, :-1], (1, 0))
    return shifted.masked_fill(shifted == IGNORED, 0)


@torch.no_grad()
def mean_target_loss(model: nn.Module, batches: Iterable[Batch], accelerator: Accelerator) -> float | None:
    """Mean cross-entropy by target token over all ranks; None without any token."""
    model.eval()
    totals = torch.zeros(2, dtype=torch.float64, device=accelerator.device)  # loss sum, tokens
    for batch in batches:
        totals[0] += target_loss_sum(model, batch, accelerator).double()
        totals[1] += int((batch.labels != IGNORED).sum())
    loss, tokens = accelerator.reduce(totals, "sum").tolist()  # type: ignore[union-attr]
    return loss / tokens if tokens else None


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
