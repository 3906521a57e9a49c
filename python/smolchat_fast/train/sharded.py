"""A model whose weights, gradients and optimizer states are parted among devices (FSDP2 of accelerate).

Only the training step works on the parts. What is saved, validated or asked is whole, so a checkpoint is the
same whether its run was parted or not, and any other run goes on from it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.train.options import TrainOptions


def check_sharding(accelerator: Accelerator, options: TrainOptions) -> None:
    """Refuse what would train wrongly, or save a part of the model only.

    Raises:
        ValueError: says what to use instead.
    """
    kind = accelerator.distributed_type
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(
            f"accelerate is set up for {kind.value}, which keeps the model in a form of its own: use FSDP "
            "(`accelerate launch --use_fsdp --fsdp_version 2`), or neither (`torchrun`)"
        )
    if kind != DistributedType.FSDP:
        return
    if not accelerator.is_fsdp2:
        raise ValueError("accelerate is set up for FSDP of version 1: use --fsdp_version 2")
    if accelerator.state.fsdp_plugin.activation_checkpointing:
        raise ValueError("FSDP is set up to compute activations again: use --gradient-checkpointing instead")
    for name, value, other in (
        ("optimizer", "adafactor", "--optimizer adamw or muon"),
        ("precision", "fp16", "--precision bf16"),
        ("trainer", "hf", "--trainer own"),
    ):
        if getattr(options, name) == value:
            raise ValueError(f"option {name} = {value}: does not work with FSDP; use {other}")


def prepare(
    accelerator: Accelerator, model: T5ForConditionalGeneration, optimizer: Optimizer
) -> tuple[nn.Module, Optimizer]:
    """Hand model and optimizer to accelerate; returns what to call and to step."""
    if accelerator.distributed_type == DistributedType.FSDP:
        # Two modules with one weight would belong to two groups of parameters, which FSDP2 refuses.
        for stack in (model.encoder, model.decoder):
            stack.set_input_embeddings(model.shared)
        # T5 adds to what a block returns out of place, so nothing gets lost.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    return accelerator.prepare(model, optimizer)


def gradient_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Norm of all gradients as one vector, over all parts; float32 []."""
    return _full(get_total_norm(gradients))


def whole_model(model: T5ForConditionalGeneration) -> T5ForConditionalGeneration:
    """The model itself, or a float32 copy of one in parts; all processes have to ask."""
    if not any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return model
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        copy = T5ForConditionalGeneration(model.config)
    weights = {name: _full(parameter.detach()) for name, parameter in model.named_parameters()}
    # What is missing shares a weight that is there.
    copy.load_state_dict(weights, strict=False, assign=True)
    copy.tie_weights()
    copy.generation_config = model.generation_config
    return copy


def whole(value: Any, *, keep: bool = True) -> Any:
    """Dictionaries and lists with all tensors whole; all processes have to ask.

    Args:
        value: For example what `state_dict` of an optimizer gives.
        keep: False leaves parted tensors out, on a process that only has to take part.
    """
    if isinstance(value, DTensor):
        gathered = _full(value)
        return gathered.cpu() if keep else None
    if isinstance(value, dict):
        return {name: whole(part, keep=keep) for name, part in value.items()}
    if isinstance(value, list):
        return [whole(part, keep=keep) for part in value]
    return value


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load what `whole` made of `optimizer.state_dict()`, each tensor parted as its parameter is."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parted = {
        number: {name: _like(parameters[number], value) for name, value in values.items()}
        for number, values in state["state"].items()
    }
    optimizer.load_state_dict(state | {"state": parted})


def _full(tensor: Any) -> Any:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _like(parameter: Tensor, value: Any) -> Any:
    if not isinstance(parameter, DTensor) or value.shape != parameter.shape:
        return value
    # Each process has read the whole tensor: it keeps its part and sends nothing.
    return distribute_tensor(
        value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
    )
