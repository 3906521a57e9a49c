"""Models in parts: what is refused; that they train as others do is shown in `test_files.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator, DistributedType  # noqa: E402
from accelerate.utils import DeepSpeedPlugin  # noqa: E402

from smolchat_fast.train.optimizer import build_optimizer  # noqa: E402
from smolchat_fast.train.options import TrainOptions  # noqa: E402
from smolchat_fast.train.sharded import sharding_for  # noqa: E402
from smolchat_fast.train.sharded.fsdp import Fsdp  # noqa: E402
from smolchat_fast.train.sharded.replicated import Replicated  # noqa: E402
from smolchat_fast.train.sharded.zero import Zero  # noqa: E402


def set_up(kind: DistributedType, **state: Any) -> Any:
    return SimpleNamespace(distributed_type=kind, num_processes=2, state=SimpleNamespace(**state))


def fsdp(version: int = 2, recompute: bool = False) -> Any:
    accelerator = set_up(
        DistributedType.FSDP, fsdp_plugin=SimpleNamespace(activation_checkpointing=recompute)
    )
    accelerator.is_fsdp2 = version == 2
    return accelerator


def deepspeed(stage: int = 2, precision: str = "no", offload: str | None = None, **config: Any) -> Any:
    """As `accelerate launch --use_deepspeed` sets it up, with a configuration file if there is something for one."""
    parts = {"stage": stage} | ({"offload_optimizer": {"device": offload}} if offload else {})
    given = (
        {"hf_ds_config": config | {"zero_optimization": parts}}
        if config or offload
        else {"zero_stage": stage}
    )
    plugin = DeepSpeedPlugin(**given)
    plugin.set_mixed_precision(precision)
    return set_up(DistributedType.DEEPSPEED, deepspeed_plugin=plugin)


@pytest.mark.parametrize(
    ("accelerator", "options", "told"),
    [
        (set_up(DistributedType.MEGATRON_LM), {}, "set up for MEGATRON_LM.*torchrun"),
        (fsdp(version=1), {}, "use --fsdp_version 2"),
        (fsdp(recompute=True), {}, "use --gradient-checkpointing"),
        (fsdp(), {"optimizer": "adafactor"}, "adafactor.*--optimizer adamw or muon"),
        (fsdp(), {"precision": "fp16"}, "fp16.*--precision bf16"),
        (fsdp(), {"trainer": "hf"}, "hf.*--trainer own"),
        (
            deepspeed(),
            {"optimizer": "muon"},
            "muon: does not work with DeepSpeed; use --optimizer adamw, or FSDP",
        ),
        (deepspeed(), {"optimizer": "adafactor"}, "adafactor.*--optimizer adamw"),
        (deepspeed(), {"precision": "fp16"}, "fp16.*--precision bf16"),
        (deepspeed(), {"compile": True}, "compile.*--no-compile"),
        (deepspeed(), {"trainer": "hf"}, "hf.*--trainer own"),
        (deepspeed(stage=0), {}, "stage 0: use --zero_stage 1, 2 or 3"),
        (deepspeed(gradient_accumulation_steps=8), {}, "gradient_accumulation_steps = 8.*--accumulate"),
        (deepspeed(gradient_clipping=0.5), {}, "gradient_clipping = 0.5.*--max-norm"),
        (
            deepspeed(train_micro_batch_size_per_gpu=16),
            {},
            "train_micro_batch_size_per_gpu = 16.*--stream.batch",
        ),
        (deepspeed(optimizer={"type": "Adam"}), {}, "optimizer = .*--optimizer"),
        (deepspeed(scheduler={"type": "WarmupLR"}), {}, "scheduler = .*--schedule"),
        (deepspeed(bf16={"enabled": True}), {}, "bf16.enabled = True.*--precision"),
        (
            deepspeed(offload="cpu"),
            {},
            "offload_optimizer.device = cpu.*a higher --zero_stage needs less memory",
        ),
    ],
)
def test_what_does_not_work_in_parts_is_refused_with_what_does(accelerator, options, told):
    with pytest.raises(ValueError, match=told):
        sharding_for(accelerator, TrainOptions(**{"optimizer": "adamw"} | options))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_fsdp2_and_plain_processes_are_accepted(optimizer):
    assert sharding_for(fsdp(), TrainOptions(optimizer=optimizer, precision="bf16")) is Fsdp
    plain = sharding_for(Accelerator(cpu=True), TrainOptions(optimizer="adafactor", precision="fp16"))
    assert plain is Replicated


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_all_stages_of_zero_are_accepted_and_what_agrees_with_the_options(stage):
    options = TrainOptions(optimizer="adamw", precision="bf16", max_norm=0.5)
    assert sharding_for(deepspeed(stage, "bf16"), options) is Zero
    agreeing = {"gradient_clipping": 0.5, "gradient_accumulation_steps": 1, "train_batch_size": "auto"}
    assert sharding_for(deepspeed(stage, "bf16", bf16={"enabled": "auto"}, **agreeing), options) is Zero


def test_what_is_whole_already_stays_as_it_is():
    options = TrainOptions(optimizer="adamw", max_norm=1.0, lr=0.5)
    model = torch.nn.Linear(2, 1, bias=False)
    sharding = Replicated(Accelerator(cpu=True), options, model, build_optimizer(model, options))
    assert sharding.whole_model() is model
    before = model.weight.detach().clone()
    sharding.backward((sharding.forward(torch.tensor([[3.0, 4.0]]))).sum())
    assert sharding.update(1) == 5
    assert model.weight.grad is None
    assert not torch.equal(model.weight, before)
    state = sharding.optimizer_state(keep=True)
    assert state["state"][0]["exp_avg"].norm() == pytest.approx(0.1, rel=1e-5)  # of a gradient of norm one
    sharding.load_optimizer(state)
