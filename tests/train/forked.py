"""Trainings in processes of their own, forked from one that has imported torch already.

`forked.py kill ROWS TOKENIZER FOLDER TIMES` makes FOLDER/whole undisturbed and FOLDER/killed under fire.
`forked.py ranks ROWS TOKENIZER FOLDER` makes FOLDER/whole in one process and FOLDER/parts in two, one, two.
`forked.py shards ROWS TOKENIZER FOLDER KIND OPTIMIZER` makes FOLDER/whole in one process and FOLDER/parts by turns in one,
in two that part the model, and in two with a whole one each: KIND is fsdp2, zero1, zero2 or zero3.
`forked.py stops ROWS TOKENIZER FOLDER KIND` makes FOLDER/whole in two processes and FOLDER/stopped with a stop.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.state import AcceleratorState, DistributedType
from small import TINY

from smolchat_fast.errors import StoppedError
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stream import StreamOptions
from smolchat_fast.train import TrainOptions, pretrain_files
from smolchat_fast.train import optimizer as optimizers

# The plan and all below it, so that no forked process imports them again.
from smolchat_fast.train.plan import Plan  # noqa: F401

STREAM = StreamOptions(batch_rows=8)
KILLED = TrainOptions(
    steps=80, lr=0.02, dropout=0.1, save_every=7, eval_every=20, eval_answers=8, log_every=1, stream=STREAM
)
SHARED = TrainOptions(steps=18, lr=0.02, accumulate=2, eval_every=6, log_every=1, stream=STREAM)


def train(rows: Path, tokenizer: Path, out: Path, options: TrainOptions, progress: Progress = ignore) -> None:
    try:
        pretrain_files(
            [rows], out, options, valid=rows, tokenizer=tokenizer, model=TINY, threads=1, progress=progress
        )
    except StoppedError as stopped:
        print(stopped)


def fork(work: Callable[[], None]) -> int:
    """The number of a process that does some work and ends."""
    sys.stdout.flush()
    number = os.fork()
    if number:
        return number
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def ended_well(process: int) -> bool:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def kill(rows: Path, tokenizer: Path, folder: Path, times: int) -> None:
    moments = random.Random(1)
    assert ended_well(fork(lambda: train(rows, tokenizer, folder / "whole", KILLED)))
    began = time.monotonic()
    assert ended_well(fork(lambda: train(rows, tokenizer, folder / "again", KILLED)))
    whole_s = time.monotonic() - began
    out, fell = folder / "killed", 0
    for _ in range(times):
        process = fork(lambda: train(rows, tokenizer, out, KILLED))
        time.sleep(moments.uniform(0, 0.5 * whole_s))
        os.kill(process, signal.SIGKILL)
        fell += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    print(f"{fell} of {times} runs fell")
    assert fell > 0
    assert ended_well(fork(lambda: train(rows, tokenizer, out, KILLED)))


def ranks(rows: Path, tokenizer: Path, folder: Path) -> None:
    assert ended_well(fork(lambda: train(rows, tokenizer, folder / "whole", SHARED)))
    for world, last in ((2, 5), (1, 11), (2, 18)):
        together(world, rows, tokenizer, folder / "parts", last)


def shards(rows: Path, tokenizer: Path, folder: Path, kind: str, optimizer: Any) -> None:
    # The rounding of bfloat16, in which Muon multiplies where it is fast, would hide mistakes.
    optimizers._fast_type = lambda device: torch.float32
    options = replace(SHARED, optimizer=optimizer, accumulate=4)
    assert ended_well(fork(lambda: train(rows, tokenizer, folder / "whole", options)))
    for world, parts, last in ((1, "", 4), (2, kind, 8), (1, "", 11), (2, "", 13), (2, kind, 18)):
        together(world, rows, tokenizer, folder / "parts", last, options, kind=parts)


def stops(rows: Path, tokenizer: Path, folder: Path, kind: str) -> None:
    options = replace(SHARED, optimizer="adamw", dropout=0.1, steps=8)
    together(2, rows, tokenizer, folder / "whole", 8, options, kind=kind)
    for last in (3, 8):
        together(2, rows, tokenizer, folder / "stopped", last, options, kind=kind)


FSDP2 = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "T5Block",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "true",
}
"""What `accelerate launch --use_fsdp --fsdp_version 2` sets."""


def zero(stage: int) -> dict[str, str]:
    """What `accelerate launch --use_deepspeed --deepspeed_config_file` sets; small buckets, no weight is kept whole."""
    config = {
        "train_micro_batch_size_per_gpu": "auto",
        "bf16": {"enabled": "auto"},
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": 2000,
            "allgather_bucket_size": 2000,
            "stage3_param_persistence_threshold": 0,
            "stage3_prefetch_bucket_size": 1000,
            "sub_group_size": 3000,
        },
    }
    return {
        "ACCELERATE_USE_DEEPSPEED": "true",
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": base64.urlsafe_b64encode(json.dumps(config).encode()).decode(),
    }


KINDS = {"fsdp2": FSDP2} | {f"zero{stage}": zero(stage) for stage in (1, 2, 3)}


def part_on_cpus(kind: str) -> None:
    """Have accelerate part a model as it does on GPUs; on CPUs it would leave that out."""
    os.environ |= KINDS[kind]
    if kind != "fsdp2":
        import deepspeed

        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = (
            False  # gloo does; this one is compiled first
        )
    begin = AcceleratorState.__init__

    def begin_parted(
        state: Any,
        mixed_precision: Any = None,
        *positional: Any,
        fsdp_plugin: Any = None,
        deepspeed_plugin: Any = None,
        **named: Any,
    ) -> None:
        begin(state, mixed_precision, *positional, fsdp_plugin=fsdp_plugin, **named)
        if fsdp_plugin is not None:
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
        if deepspeed_plugin is not None:
            deepspeed_plugin.set_mixed_precision(mixed_precision)
            deepspeed_plugin.select(_from_accelerator_state=True)
            state.distributed_type, state.deepspeed_plugins = DistributedType.DEEPSPEED, deepspeed_plugin
            state._mixed_precision = "no"

    AcceleratorState.__init__ = begin_parted  # type: ignore[method-assign]


def together(
    world: int,
    rows: Path,
    tokenizer: Path,
    out: Path,
    last: int,
    options: TrainOptions = SHARED,
    *,
    kind: str = "",
) -> None:
    """Train up to a step in several processes; only the last one is told to stop there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def one(rank: int) -> None:
        if world > 1:
            names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
            os.environ |= {name: str(value) for name, value in names.items()}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}

        if kind:
            part_on_cpus(kind)

        def stop(phase: str, done: int, total: int) -> None:
            if rank == world - 1 and (phase, done) == ("steps", last) and last < total:
                os.kill(os.getpid(), signal.SIGTERM)

        train(rows, tokenizer, out, options, stop)
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    processes = [fork(lambda rank=rank: one(rank)) for rank in range(world)]  # type: ignore[misc]
    ended = [ended_well(process) for process in processes]
    assert all(ended)


def import_deepspeed() -> None:
    """Once for all forked processes."""
    os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # gloo does; this one is compiled first


if __name__ == "__main__":
    torch.set_num_threads(1)
    if any(argument.startswith("zero") for argument in sys.argv):
        import_deepspeed()
    rows, tokenizer, folder = map(Path, sys.argv[2:5])
    if sys.argv[1] == "kill":
        kill(rows, tokenizer, folder, int(sys.argv[5]))
    elif sys.argv[1] == "shards":
        shards(rows, tokenizer, folder, sys.argv[5], sys.argv[6])
    elif sys.argv[1] == "stops":
        stops(rows, tokenizer, folder, sys.argv[5])
    else:
        ranks(rows, tokenizer, folder)
