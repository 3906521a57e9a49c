"""A model whose optimizer states, gradients and weights are parted among devices by ZeRO of DeepSpeed.

Stage 1 parts the optimizer states, stage 2 the gradients too, stage 3 the weights too. Where a part begins
follows from a vector of all weights, so a matrix may lie on several devices in pieces of any length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import convert_outputs_to_fp32
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.optim import Optimizer
from transformers import T5ForConditionalGeneration

from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.sharded.replicated import Replicated, copy_with, not_finite

MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW keeps of each weight."""


class Zero(Replicated):
    """Each process changes a part of the weights; DeepSpeed's engine clips and steps."""

    NAME = "DeepSpeed"
    REFUSED = (
        ("optimizer", "muon", "--optimizer adamw, or FSDP"),
        ("optimizer", "adafactor", "--optimizer adamw"),
        ("precision", "fp16", "--precision bf16"),
        ("compile", True, "--no-compile"),
        ("trainer", "hf", "--trainer own"),
    )

    @classmethod
    def check(cls, accelerator: Accelerator, options: TrainOptions) -> None:
        """Refuse what does not work, and a configuration that says otherwise than the options."""
        super().check(accelerator, options)
        plugin = accelerator.state.deepspeed_plugin
        if plugin.zero_stage not in (1, 2, 3):
            raise ValueError(
                f"DeepSpeed is set up for ZeRO stage {plugin.zero_stage}: use --zero_stage 1, 2 or 3"
            )
        for place, (value, other) in (_counts(accelerator, options) | _refused(options)).items():
            found = plugin.get_value(place, "auto")
            if found not in ("auto", None, value):
                raise ValueError(f"DeepSpeed is set up with {place} = {found}: leave it out; {other}")

    @contextmanager
    def synced(self, *, last: bool) -> Iterator[None]:
        """Tell the engine which pass is the last one of a step."""
        self.engine.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss, where their part is."""
        self.engine.backward(loss)

    def update(self, step: int) -> float:
        """Have the engine clip, change the weights and drop the gradients; it changes nothing if there is no norm."""
        self.engine.step()
        norm = float(self.engine.get_global_grad_norm())
        if not math.isfinite(norm):
            raise not_finite(step)
        return norm

    def whole_model(self) -> T5ForConditionalGeneration:
        """The model itself, or a float32 copy in stage 3."""
        if self.stage < 3:
            return self.model
        from deepspeed.runtime.zero import GatheredParameters

        weights = {}
        for name, parameter in self.model.named_parameters():
            with GatheredParameters([parameter]):
                weights[name] = parameter.detach().clone()
        return copy_with(self.model, weights)

    def optimizer_state(self, *, keep: bool) -> dict[str, Any]:
        """Put together from all parts, one tensor after the other."""
        from deepspeed.utils import safe_get_full_optimizer_state

        numbers = itertools.count()
        groups = [
            group | {"params": [next(numbers) for _ in parameters]}
            for group, parameters in zip(self.inner.param_groups, self.groups, strict=True)
        ]
        state: dict[int, dict[str, Any]] = {}
        begun = self.engine.global_steps > 0
        for number, parameter in enumerate(itertools.chain(*self.groups) if begun else ()):
            moments = {name: safe_get_full_optimizer_state(parameter, name) for name in MOMENTS}
            if keep:
                step = next(iter(self.inner.state.values()))["step"]  # all count alike
                whole = {"step": step, **moments}
                state[number] = {name: tensor.to("cpu", copy=True) for name, tensor in whole.items()}
        return {"state": state, "param_groups": groups}

    def load_optimizer(self, state: dict[str, Any]) -> None:
        """Give each process its part; what the groups have is in the options."""
        whole = state["state"]
        if not whole:
            return
        self._make_states()
        for made in self.inner.state.values():
            made["step"].copy_(next(iter(whole.values()))["step"])
        for number, parameter in enumerate(itertools.chain(*self.groups)):
            for name in MOMENTS:
                self._load_moment(parameter, name, whole[number][name])

    def _prepare(self, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
        plugin = self.accelerator.state.deepspeed_plugin
        self.stage: int = plugin.zero_stage
        self.groups: list[list[nn.Parameter]] = [list(group["params"]) for group in optimizer.param_groups]
        # DeepSpeed puts parts of one long vector into it, in place of its parameters.
        self.inner = optimizer
        ours = _counts(self.accelerator, self.options)
        plugin.deepspeed_config.update({name: value for name, (value, _) in ours.items()})
        # The engine's own bf16 would round the weights; here the products alone are rounded, as without it.
        plugin.deepspeed_config["bf16"] = {"enabled": False}
        if self.options.precision == "bf16":
            rounded = torch.autocast(self.accelerator.device.type, dtype=torch.bfloat16)(self.model.forward)
            self.model.forward = convert_outputs_to_fp32(rounded)  # type: ignore[method-assign]
        self.engine: Any
        self.engine, wrapped = super()._prepare(optimizer)
        for group in optimizer.param_groups:
            for part in group["params"]:  # none in stage 3
                # Of states that a first step makes, DeepSpeed would find those of the first group alone.
                moments = {name: torch.zeros_like(part) for name in MOMENTS}
                optimizer.state[part] = {"step": torch.zeros((), device=part.device), **moments}
        return self.engine, wrapped

    def _make_states(self) -> None:
        """Take a step of no length: ZeRO makes the states of an optimizer in its first step."""
        for group in self.inner.param_groups:
            group["lr"] = 0.0
        token = torch.zeros((1, 1), dtype=torch.long, device=self.accelerator.device)
        with self.synced(last=True):
            logits = self.engine(input_ids=token, decoder_input_ids=token, use_cache=False).logits
            self.backward(0 * logits.sum())
        self.engine.step()

    def _load_moment(self, parameter: Any, name: str, whole: Tensor) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        if self.stage < 3:
            safe_set_full_optimizer_state(parameter, whole, name)
            return
        # The former fails in stage 3 where the processes do not divide a tensor.
        length, ranks = parameter.ds_tensor.numel(), self.accelerator.num_processes
        padded = pad(whole.flatten(), (0, length * ranks - whole.numel()))
        safe_set_local_optimizer_state(
            parameter, padded.view(ranks, length)[self.accelerator.process_index], name
        )


def _counts(accelerator: Accelerator, options: TrainOptions) -> dict[str, tuple[Any, str]]:
    """What DeepSpeed has to know, by name, and which options have it.

    A step is as many batches as the loop says, each of as many rows as the stream says.
    """
    return {
        "gradient_accumulation_steps": (1, "use --accumulate"),
        "gradient_clipping": (options.max_norm, "use --max-norm"),
        "train_micro_batch_size_per_gpu": (1, "use --stream.batch-tokens or --stream.batch-rows"),
        "train_batch_size": (accelerator.num_processes, "use --accumulate"),
    }


def _refused(options: TrainOptions) -> dict[str, tuple[Any, str]]:
    """What a configuration may have by one value only, by name, and what to do instead."""
    offload = "a higher --zero_stage needs less memory"
    return {
        "optimizer": (None, "use --optimizer"),
        "scheduler": (None, "use --schedule"),
        "fp16.enabled": (False, "use --precision"),
        # accelerate has written the option there already.
        "bf16.enabled": (options.precision == "bf16", "use --precision"),
        "zero_optimization.compute_grad_norm": (True, "each step is checked by it"),
        "zero_optimization.offload_optimizer.device": ("none", offload),
        "zero_optimization.offload_param.device": ("none", offload),
    }
