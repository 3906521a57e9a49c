"""How several processes share a model: each holds the whole of it, or a part (FSDP2, ZeRO of DeepSpeed).

Only the training step works on parts. What is saved, validated or asked is whole, so a checkpoint is the
same whether its run was parted or not, and any other run goes on from it.
"""

from __future__ import annotations

from accelerate import Accelerator, DistributedType

from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.sharded.fsdp import Fsdp
from smolchat_fast.train.sharded.replicated import Replicated
from smolchat_fast.train.sharded.zero import Zero


def sharding_for(accelerator: Accelerator, options: TrainOptions) -> type[Replicated]:
    """What accelerate is set up for.

    Raises:
        ValueError: it would train wrongly, or save a part of the model only; says what to use instead.
    """
    kind = accelerator.distributed_type
    if kind == DistributedType.MEGATRON_LM:
        raise ValueError(
            f"accelerate is set up for {kind.value}, which keeps the model in a form of its own: use FSDP "
            "(`accelerate launch --use_fsdp --fsdp_version 2`), or neither (`torchrun`)"
        )
    parted: dict[DistributedType, type[Replicated]] = {
        DistributedType.FSDP: Fsdp,
        DistributedType.DEEPSPEED: Zero,
    }
    sharding = parted.get(kind, Replicated)
    sharding.check(accelerator, options)
    return sharding
