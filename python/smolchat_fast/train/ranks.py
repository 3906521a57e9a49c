"""One training on several processes: the main one leads the stage, all of them train.

`torchrun` and `accelerate launch` start the same command line many times. Only the main process may look
for a finished output, write, and publish; the others wait for its word.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from smolchat_fast.errors import StageError

T = TypeVar("T")


def on_cpu() -> bool:
    """Whether there is nothing but the CPU to work on, which accelerate has to be told."""
    return not torch.accelerator.is_available()


def lead_or_follow(stage: Callable[[Callable[[], T]], T], train: Callable[[], T]) -> T:
    """Run a stage on the main process and its training on every process.

    Args:
        stage: Called on the main process with what it has to call if there is something to train.
        train: Called on every process if the stage calls it.
    Returns:
        On every process what the stage returned.
    Raises:
        StageError: on the other processes, if the stage failed before it came to training.
    """
    ranks = PartialState(cpu=on_cpu())
    if ranks.num_processes == 1:
        return stage(train)
    atexit.register(ranks.destroy_process_group)  # not before: another training may follow
    if not ranks.is_main_process:
        word, problem = _share(None)
        if word == "fail":
            raise StageError(problem)
        if word == "train":
            train()
        return _share(None)

    told = False

    def train_together() -> T:
        nonlocal told
        told = True
        _share(("train", None))
        return train()

    try:
        result = stage(train_together)
    except Exception as error:
        if not told:
            _share(("fail", str(error)))
        raise
    if not told:
        _share(("skip", None))
    return _share(result)


def _share(value: Any) -> Any:
    """What the main process gave, on every process."""
    box = [value]
    broadcast_object_list(box)
    return box[0]
