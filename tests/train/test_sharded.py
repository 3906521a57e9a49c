"""Models in parts: what is refused; that they train as others do is shown in `test_files.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator, DistributedType  # noqa: E402

from smolchat_fast.train.optimizer import build_optimizer  # noqa: E402
from smolchat_fast.train.options import TrainOptions  # noqa: E402
from smolchat_fast.train.sharded import sharding_for  # noqa: E402
from smolchat_fast.train.sharded.fsdp import Fsdp  # noqa: E402
from smolchat_fast.train.sharded.replicated import Replicated  # noqa: E402


def set_up(kind: DistributedType, **state: Any) -> Any:
    return SimpleNamespace(distributed_type=kind, num_processes=2, state=SimpleNamespace(**state))


def fsdp(version: int = 2, recompute: bool = False) -> Any:
    accelerator = set_up(
        DistributedType.FSDP, fsdp_plugin=SimpleNamespace(activation_checkpointing=recompute)
    )
    accelerator.is_fsdp2 = version == 2
    return accelerator


@pytest.mark.parametrize(
    ("accelerator", "options", "told"),
    [
        (set_up(DistributedType.DEEPSPEED), {}, "set up for DEEPSPEED.*--use_fsdp --fsdp_version 2"),
        (set_up(DistributedType.MEGATRON_LM), {}, "set up for MEGATRON_LM.*torchrun"),
        (fsdp(version=1), {}, "use --fsdp_version 2"),
        (fsdp(recompute=True), {}, "use --gradient-checkpointing"),
        (fsdp(), {"optimizer": "adafactor"}, "adafactor.*--optimizer adamw or muon"),
        (fsdp(), {"precision": "fp16"}, "fp16.*--precision bf16"),
        (fsdp(), {"trainer": "hf"}, "hf.*--trainer own"),
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
