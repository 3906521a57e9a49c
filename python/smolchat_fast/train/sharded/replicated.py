"""A model that each process holds whole, and the border of those that hold parts of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.errors import StageError
from smolchat_fast.train.options import TrainOptions

CLIP_EPSILON = 1e-6
"""What torch adds to a norm before it divides by it."""


class Replicated:
    """Each process holds the whole model; gradients are averaged once a step (DDP)."""

    NAME: ClassVar[str] = "whole models"
    REFUSED: ClassVar[tuple[tuple[str, Any, str], ...]] = ()
    """Options that do not work: name, value, what to use instead."""

    def __init__(
        self,
        accelerator: Accelerator,
        options: TrainOptions,
        model: T5ForConditionalGeneration,
        optimizer: Optimizer,
    ) -> None:
        """Hand model and optimizer to accelerate."""
        self.accelerator, self.options, self.model = accelerator, options, model
        wrapped, self.optimizer = self._prepare(optimizer)
        self.forward: nn.Module = torch.compile(wrapped) if options.compile else wrapped  # type: ignore[assignment]
        # Walking through all modules at each step took 0.4 ms, half a percent of a step of the demo.
        self.trained = [p for p in model.parameters() if p.requires_grad]

    @classmethod
    def check(cls, accelerator: Accelerator, options: TrainOptions) -> None:
        """Refuse what does not work.

        Raises:
            ValueError: says what to use instead.
        """
        for name, value, other in cls.REFUSED:
            if getattr(options, name) == value:
                raise ValueError(f"option {name} = {value}: does not work with {cls.NAME}; use {other}")

    @contextmanager
    def synced(self, *, last: bool) -> Iterator[None]:
        """Around a forward and backward pass: gradients of several processes meet in the last one of a step."""
        if last:
            yield
        else:
            with self.accelerator.no_sync(self.forward):
                yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss."""
        self.accelerator.backward(loss)

    def update(self, step: int) -> float:
        """Clip the gradients, change the weights and drop the gradients.

        Args:
            step: The coming step, for the error.
        Returns:
            The norm before clipping.
        Raises:
            StageError: the norm is not a number; the weights were not changed.
        """
        norm, scaler = self.clip(), self.accelerator.scaler
        # fp16 passes over such a step and scales the loss by half as much. Below one, the loss is not to blame.
        if not math.isfinite(norm) and (scaler is None or scaler.get_scale() < 1):
            raise not_finite(step)
        self.optimizer.step()
        # What zero_grad of accelerate comes to; it inspects the optimizer first and takes three times as long.
        for parameter in self.trained:
            parameter.grad = None
        return norm

    def clip(self) -> float:
        """Scale the gradients down to the largest norm allowed; returns the norm they had."""
        self.accelerator.unscale_gradients()
        gradients = [p.grad for p in self.trained]
        norm = self._norm([gradient for gradient in gradients if gradient is not None])
        value, limit = float(norm), self.options.max_norm
        # Scaling by one would pass over all gradients for nothing.
        if limit and value + CLIP_EPSILON > limit:
            clip_grads_with_norm_(self.trained, limit, norm)
        return value

    def whole_model(self) -> T5ForConditionalGeneration:
        """The model itself, or a float32 copy of one in parts; all processes have to ask."""
        return self.model

    def optimizer_state(self, *, keep: bool) -> dict[str, Any]:
        """What `state_dict` of the optimizer would be for a whole model; all processes have to ask.

        Args:
            keep: False may leave tensors out, on a process that only has to take part.
        """
        return self.optimizer.state_dict()

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Load what `optimizer_state` of any sharding gave."""
        self.optimizer.load_state_dict(state)

    def _prepare(self, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        """What to call and what to step."""
        return self.accelerator.prepare(self.model, optimizer)

    def _norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Norm of all gradients as one vector; float32 []."""
        return get_total_norm(gradients)


def not_finite(step: int) -> StageError:
    """The error for a step whose gradient has no norm."""
    return StageError(
        f"the gradient of step {step:,} is not finite; the weights were not changed. "
        "Use a lower --lr, a longer warm-up or another --precision; the last checkpoint is from before."
    )


def copy_with(model: T5ForConditionalGeneration, weights: dict[str, Tensor]) -> T5ForConditionalGeneration:
    """A model like another one with these weights, which are not copied again."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        copy = T5ForConditionalGeneration(model.config)
    # What is missing shares a weight that is there.
    copy.load_state_dict(weights, strict=False, assign=True)
    copy.tie_weights()
    copy.generation_config = model.generation_config
    return copy
