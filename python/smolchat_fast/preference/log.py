"""What a preference training tells and keeps while it runs: `metrics.jsonl`, progress, checkpoints."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from smolchat_fast.errors import StageError
from smolchat_fast.progress import Progress
from smolchat_fast.train.checkpoint import Checkpoints
from smolchat_fast.train.lines import read_lines
from smolchat_fast.train.stop import Stop

NAMES = {
    "loss": "loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "sft_loss": "sft_loss",
    "rewards/chosen": "chosen_reward",
    "rewards/rejected": "rejected_reward",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
}
"""Names of trl and what they are called in a line of `metrics.jsonl`."""


class RunLog(TrainerCallback):
    """Appends a line to `metrics.jsonl` every so many steps and at the last one.

    Attributes:
        last: The newest line.
        stop: Whether the run is asked to stop.
        stopped: True if the run was asked to stop, and saved a checkpoint before its last step.
    """

    def __init__(self, path: Path, progress: Progress, checkpoints: Checkpoints) -> None:
        self.path, self.progress, self.checkpoints, self.stop = path, progress, checkpoints, Stop()
        self.last: dict[str, Any] = {}
        self.stopped = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Forget lines after the checkpoint that training goes on from."""
        kept = [line for line in read_lines(self.path) if line["step"] <= state.global_step]
        self.path.write_text("".join(json.dumps(line) + "\n" for line in kept), "utf-8")
        self.last = kept[-1] if kept else {}

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell the progress; have the last step logged too; save and end if asked to."""
        self.progress("train", state.global_step, state.max_steps)
        if state.global_step >= state.max_steps:
            control.should_log = True
        elif self.stop.requested:
            self.stopped = control.should_save = control.should_training_stop = True

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Make a checkpoint of what the trainer has written."""
        self.checkpoints.seal(state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Write a line.

        Raises:
            StageError: the loss is no longer a number.
        """
        if not logs or "loss" not in logs:
            return
        self.last = {"step": state.global_step} | {
            ours: logs[theirs] for theirs, ours in NAMES.items() if theirs in logs
        }
        if not math.isfinite(self.last["loss"]):
            raise StageError(
                f"the loss is {self.last['loss']} at step {state.global_step}: training has diverged. "
                "Lower lr, or raise beta."
            )
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.last) + "\n")
