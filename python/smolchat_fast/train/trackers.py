"""Where figures go besides `metrics.jsonl`: the trackers of accelerate, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from smolchat_fast.errors import MissingExtraError
from smolchat_fast.train.options import TrainOptions

PROJECT = "smolchat-fast"


def trackers_for(names: Sequence[str], out: Path) -> dict[str, Any]:
    """What an Accelerator has to be given for these trackers.

    Args:
        names: Trackers by accelerate's names; some read settings of their own from the environment
            (WANDB_MODE=offline, SWANLAB_MODE=local, ...).
        out: Folder for those that write files.
    Raises:
        ValueError: there is no tracker of that name.
        MissingExtraError: its package is not installed.
    """
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise ValueError(f"option trackers = {name!r}: must be of {', '.join(LOGGER_TYPE_TO_CLASS)}")
        if name not in installed:
            # accelerate itself would go on without a word.
            raise MissingExtraError(f"option trackers = {name!r}: not installed (pip install {name})")
    return {"log_with": list(names), "project_dir": out} if names else {}


def start_trackers(accelerator: Accelerator, run: str, options: TrainOptions) -> None:
    """Begin a run with the trackers that the accelerator was given."""
    if options.trackers:
        flat = {
            name: value for name, value in asdict(options).items() if isinstance(value, int | float | str)
        }
        accelerator.init_trackers(PROJECT, config=flat, init_kwargs={"wandb": {"name": run}})


def end_trackers(accelerator: Accelerator) -> None:
    """Have the trackers send what they hold back.

    `end_training` of accelerate would also part processes that still have to write the model.
    """
    for tracker in accelerator.trackers:
        tracker.finish()
