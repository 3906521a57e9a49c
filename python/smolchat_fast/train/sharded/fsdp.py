"""A model whose weights, gradients and optimizer states are parted among devices by FSDP2 of torch."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.sharded.replicated import Replicated, copy_with


class Fsdp(Replicated):
    """Each process holds a part of every weight, as a DTensor."""

    NAME = "FSDP"
    REFUSED = (
        ("optimizer", "adafactor", "--optimizer adamw or muon"),
        ("precision", "fp16", "--precision bf16"),
        ("trainer", "hf", "--trainer own"),
    )

    @classmethod
    def check(cls, accelerator: Accelerator, options: TrainOptions) -> None:
        """Refuse FSDP1, and what does not work with FSDP2."""
        if not accelerator.is_fsdp2:
            raise ValueError("accelerate is set up for FSDP of version 1: use --fsdp_version 2")
        if accelerator.state.fsdp_plugin.activation_checkpointing:
            raise ValueError(
                "FSDP is set up to compute activations again: use --gradient-checkpointing instead"
            )
        super().check(accelerator, options)

    def whole_model(self) -> T5ForConditionalGeneration:
        """A float32 copy."""
        weights = {name: _full(parameter.detach()) for name, parameter in self.model.named_parameters()}
        return copy_with(self.model, weights)

    def optimizer_state(self, *, keep: bool) -> dict[str, Any]:
        """With all tensors whole."""
        return _whole(self.optimizer.state_dict(), keep=keep)

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Part each tensor as its parameter is."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        parted = {
            number: {name: _like(parameters[number], value) for name, value in values.items()}
            for number, values in state["state"].items()
        }
        super().load_optimizer(state | {"state": parted})

    def _prepare(self, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        # Two modules with one weight would belong to two groups of parameters, which FSDP2 refuses.
        for stack in (self.model.encoder, self.model.decoder):
            stack.set_input_embeddings(self.model.shared)
        # T5 adds to what a block returns out of place, so nothing gets lost.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        return super()._prepare(optimizer)

    def _norm(self, gradients: Sequence[Tensor]) -> Tensor:
        return _full(super()._norm(gradients))


def _whole(value: Any, *, keep: bool) -> Any:
    """Dictionaries and lists with all tensors whole."""
    if isinstance(value, DTensor):
        gathered = _full(value)
        return gathered.cpu() if keep else None
    if isinstance(value, dict):
        return {name: _whole(part, keep=keep) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part, keep=keep) for part in value]
    return value


def _full(tensor: Any) -> Any:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(parameter: Tensor, value: Any) -> Any:
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    # Each process has read the whole tensor: it keeps its part and sends nothing.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
