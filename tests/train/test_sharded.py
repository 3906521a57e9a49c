"""Models in parts: what is refused; that they train as others do is shown in `test_files.py`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator, DistributedType  # noqa: E402

from smolchat_fast.train.options import TrainOptions  # noqa: E402
from smolchat_fast.train.sharded import check_sharding, gradient_norm, whole, whole_model  # noqa: E402


def set_up(kind: DistributedType, version: int = 2, recompute: bool = False) -> Any:
    plugin = SimpleNamespace(activation_checkpointing=recompute)
    return SimpleNamespace(
        distributed_type=kind, is_fsdp2=version == 2, state=SimpleNamespace(fsdp_plugin=plugin)
    )


@pytest.mark.parametrize(
    ("accelerator", "options", "told"),
    [
        (set_up(DistributedType.DEEPSPEED), {}, "set up for DEEPSPEED.*--use_fsdp --fsdp_version 2"),
        (set_up(DistributedType.MEGATRON_LM), {}, "set up for MEGATRON_LM.*torchrun"),
        (set_up(DistributedType.FSDP, version=1), {}, "use --fsdp_version 2"),
        (set_up(DistributedType.FSDP, recompute=True), {}, "use --gradient-checkpointing"),
        (set_up(DistributedType.FSDP), {"optimizer": "adafactor"}, "adafactor.*--optimizer adamw or muon"),
        (set_up(DistributedType.FSDP), {"precision": "fp16"}, "fp16.*--precision bf16"),
        (set_up(DistributedType.FSDP), {"trainer": "hf"}, "hf.*--trainer own"),
    ],
)
def test_what_does_not_work_in_parts_is_refused_with_what_does(accelerator, options, told):
    with pytest.raises(ValueError, match=told):
        check_sharding(accelerator, TrainOptions(**options))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_fsdp2_and_plain_processes_are_accepted(optimizer):
    check_sharding(set_up(DistributedType.FSDP), TrainOptions(optimizer=optimizer, precision="bf16"))
    check_sharding(Accelerator(cpu=True), TrainOptions(optimizer="adafactor", precision="fp16"))


def test_what_is_whole_already_stays_as_it_is():
    model, tensor = torch.nn.Linear(2, 3), torch.tensor([3.0, 4.0])
    assert whole_model(model) is model
    state = {"state": {0: {"step": tensor}}, "param_groups": [{"params": [0], "betas": (0.9, 0.95)}]}
    assert whole(state) == state
    assert whole(state)["state"][0]["step"] is tensor
    assert gradient_norm([tensor]) == 5
