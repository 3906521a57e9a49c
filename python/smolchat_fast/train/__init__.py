"""Training, text to text: from scratch (`pretrain_files`) and on instructions (`sft_files`).

Both are one loop with other options. A run may be stopped anywhere and goes on exactly where it was:
on a CPU to the same weights, bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smolchat_fast.arguments import arguments
from smolchat_fast.model_options import ModelOptions
from smolchat_fast.progress import Progress
from smolchat_fast.train.options import SftOptions, TrainOptions

if TYPE_CHECKING:
    from transformers import T5ForConditionalGeneration

__all__ = ["SftOptions", "TrainOptions", "TrainReport", "pretrain_files", "sft_files"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainReport:
    """What a training run did."""

    parameters: int
    trained_parameters: int
    steps: int
    rows: int
    target_tokens: int
    loss: float | None
    """Training loss by target token in the last line of the metrics."""
    valid_loss: float | None
    """Validation loss by target token at the end."""
    tokens_per_s: float
    """Source and target tokens without padding, over the whole run."""
    seconds: float
    """Time in the loop."""

    @property
    def rows_in(self) -> int:
        """Rows trained on, each as often as it was seen."""
        return self.rows

    def __str__(self) -> str:
        loss = f", validation loss {self.valid_loss:.3f}" if self.valid_loss is not None else ""
        return (
            f"{self.steps:,} steps{loss}, {self.tokens_per_s:,.0f} tokens/s, {self.rows:,} rows, "
            f"{self.parameters / 1e6:,.1f} M parameters"
        )


@arguments
def pretrain_files(
    inputs: Sequence[Path],
    out: Path,
    options: TrainOptions = TrainOptions(),
    *,
    valid: Path | None = None,
    tokenizer: Path,
    model: ModelOptions = ModelOptions(),
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainReport:
    """Train a model from scratch: a prompt in, its response out.

    Ctrl+C saves and ends; the same command goes on. `out` becomes a model folder with its tokenizer,
    `metrics.jsonl` and `curves.png`; while the run goes on, checkpoints are in `OUT.partial/checkpoints`.
    Under `torchrun` or `accelerate launch` all processes train one model.

    Args:
        inputs: Parquet files of rows (prompt, response).
        out: Model folder to make.
        options: How the model is trained.
        valid: Parquet file of rows for the validation loss.
        tokenizer: Tokenizer folder.
        model: Which model is built.
        threads: Threads of the computation; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, steps or rows done, in all).
    Returns:
        Steps, rows, losses and speed.
    Raises:
        DataError: a file is damaged or lacks a column.
        ValueError: an option is out of range.
        StageError: `out` exists or was begun otherwise, or the loss is not finite any more.
        StoppedError: the run was asked to stop; its work is saved.
    """
    options.check()
    model.shape()
    from smolchat_fast.model import build_model
    from smolchat_fast.train.plan import Plan

    def first_model() -> T5ForConditionalGeneration:
        return build_model(model, tokenizer, options.seed)

    plan = Plan("pretrain", tuple(inputs), valid, options, tokenizer, first_model, {"model": model})
    return TrainReport(**plan.run(out, threads=threads, overwrite=overwrite, progress=progress))


@arguments
def sft_files(
    inputs: Sequence[Path],
    out: Path,
    options: SftOptions = SftOptions(),
    *,
    model: Path,
    valid: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TrainReport:
    """Fine-tune a model on instructions with answers.

    Args:
        inputs: Parquet files of rows (prompt, response).
        out: Model folder to make; the same layout as of pre-training.
        options: How the model is trained.
        model: Model folder to start from, a checkpoint too.
        valid: Parquet file of rows for the validation loss.
        threads: Threads of the computation; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, steps or rows done, in all).
    Returns:
        Steps, rows, losses and speed.
    Raises:
        DataError: a file is damaged or lacks a column.
        ValueError: an option is out of range.
        StageError: `out` exists or was begun otherwise, or the loss is not finite any more.
        StoppedError: the run was asked to stop; its work is saved.
    """
    options.check()
    from smolchat_fast.model import load_model
    from smolchat_fast.train.plan import Plan

    def first_model() -> T5ForConditionalGeneration:
        return load_model(model)

    plan = Plan("sft", tuple(inputs), valid, options, model, first_model)
    return TrainReport(**plan.run(out, threads=threads, overwrite=overwrite, progress=progress))
