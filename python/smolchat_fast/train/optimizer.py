"""The optimizers, each with the learning rate that it is given."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from smolchat_fast.train.options import TrainOptions

BETAS = (0.9, 0.95)
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_ROUNDS = 5


def freeze(model: nn.Module, patterns: Iterable[str], *, stand_in: bool = False) -> list[str]:
    """Stop the training of every parameter whose name begins with a match; returns their names.

    Args:
        model: Its parameters are named as transformers names them.
        patterns: Regular expressions.
        stand_in: The model has fewer layers than the one it stands for, so what a pattern matches may be missing.
    Raises:
        ValueError: a pattern matches no parameter, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in () if stand_in else patterns:
        if not any(re.match(pattern, name) for name in names):
            raise ValueError(
                f"option freeze = {pattern!r}: matches no parameter (the first ones: {', '.join(names[:4])})"
            )
    frozen = [name for name in names if any(re.match(pattern, name) for pattern in patterns)]
    if len(frozen) == len(names):
        raise ValueError(f"option freeze = {', '.join(patterns)!r}: leaves nothing to train")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    return frozen


def build_optimizer(model: nn.Module, options: TrainOptions) -> Optimizer:
    """The chosen optimizer over all parameters that are trained.

    Groups: hidden matrices with `lr` and weight decay; embeddings and norms with `embedding_lr` and
    none. Each group keeps its highest rate as `max_lr` for the schedule.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (matrices if is_hidden_matrix(name, parameter) else rest).append(parameter)
    embedding_lr = options.lr if options.embedding_lr is None else options.embedding_lr
    groups: list[dict[str, Any]] = [
        {"params": matrices, "lr": options.lr, "weight_decay": options.weight_decay, "hidden": True},
        {"params": rest, "lr": embedding_lr, "weight_decay": 0.0, "hidden": False},
    ]
    groups = [group | {"max_lr": group["lr"]} for group in groups if group["params"]]
    if options.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        # Its defaults replace the given rate by one of their own.
        return Adafactor(groups, lr=options.lr, relative_step=False, scale_parameter=False, warmup_init=False)
    kind = Muon if options.optimizer == "muon" else AdamW
    return kind(groups, lr=options.lr, betas=BETAS, fused=True)


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Whether a parameter of this name maps hidden states to hidden states."""
    return parameter.ndim == 2 and "shared" not in name and "relative_attention_bias" not in name


class Muon(AdamW):
    """Muon for groups marked `hidden`, AdamW for the others.

    `torch.optim.Muon` takes one matrix at a time and leaves everything that is no hidden matrix to a
    second optimizer. Here the matrices of one shape are orthogonalised together: for the demo's 32
    matrices about four times faster on a CPU.

    Source: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/
    """

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Change the parameters once; the gradients of hidden matrices are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["hidden"]:
                self._step_hidden(group)
        super().step()
        return loss

    def _step_hidden(self, group: dict[str, Any]) -> None:
        by_shape: defaultdict[torch.Size, list[tuple[Tensor, Tensor]]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                momentum = self._momentum(parameter).lerp_(parameter.grad, 1 - MOMENTUM)
                by_shape[parameter.shape].append((parameter, parameter.grad.lerp(momentum, MOMENTUM)))
                parameter.grad = None  # AdamW passes over parameters without one
        for shape, pairs in by_shape.items():
            parameters, directions = zip(*pairs, strict=True)
            rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for parameter, direction in zip(parameters, orthogonal(torch.stack(directions)), strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(direction, alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            # AdamW looks for a step count in every state that it loads.
            state |= {"step": torch.zeros(()), "momentum": torch.zeros_like(parameter)}
        return state["momentum"]


def orthogonal(matrices: Tensor) -> Tensor:
    """The nearly orthogonal matrix next to each of a stack, by five Newton-Schulz rounds.

    Args:
        matrices: float32 [N, rows, columns].
    Returns:
        float32 [N, rows, columns]; singular values between about 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(_fast_type(matrices.device))
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


def _fast_type(device: torch.device) -> torch.dtype:
    # bfloat16 is exact enough here; a CPU without instructions for it would take many times longer.
    slow = device.type == "cpu" and not torch.cpu._is_avx512_bf16_supported()
    return torch.float32 if slow else torch.bfloat16
