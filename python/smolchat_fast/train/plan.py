"""Training as a stage: skipped when done, taken up when stopped, whole when it ends."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from transformers import T5ForConditionalGeneration

from smolchat_fast.errors import StoppedError
from smolchat_fast.model import count_parameters, load_model, save_model, set_dropout
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stage import Report, run_stage
from smolchat_fast.stream import Batch, Stream
from smolchat_fast.train.checkpoint import Checkpoints
from smolchat_fast.train.loop import Run
from smolchat_fast.train.metrics import CURVE, METRICS, draw_curve, read_metrics
from smolchat_fast.train.optimizer import build_optimizer, freeze
from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.state import seed_everything


@dataclass(frozen=True)
class Plan:
    """What is trained on what."""

    name: str
    """The stage: pretrain or sft."""
    inputs: tuple[Path, ...]
    valid: Path | None
    options: TrainOptions
    tokenizer: Path
    """Folder with the tokenizer; for fine-tuning the model's own."""
    first_model: Callable[[], T5ForConditionalGeneration]
    """Makes or reads the model that a fresh run begins with."""
    more_options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, out: Path, *, threads: int | None, overwrite: bool, progress: Progress | None) -> Report:
        """Train unless `out` is there already."""

        def work(partial: list[Path]) -> Report:
            with _torch_settings(self.options, threads):
                return self._train(partial[0], out, threads, progress or ignore)

        finished = run_stage(
            self.name,
            out,
            work,
            inputs=[*self.inputs, *([self.valid] if self.valid else []), self.tokenizer],
            options={"train": self.options, **self.more_options},
            overwrite=overwrite,
            resumable=True,
        )
        # Only now: until the model was published, a run that is killed goes on from its last checkpoint.
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
        return finished.report

    def _train(self, partial: Path, out: Path, threads: int | None, progress: Progress) -> Report:
        options = self.options
        seed_everything(options.seed)
        latest = Checkpoints(partial / "checkpoints").latest()
        model = self.first_model() if latest is None else load_model(latest)
        if options.dropout is not None:
            set_dropout(model, options.dropout)
        if options.gradient_checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                # Newer releases of transformers 5 call it activation_checkpointing_enable.
                model.gradient_checkpointing_enable({"use_reentrant": False})
        freeze(model, options.freeze)
        accelerator = Accelerator(mixed_precision={"fp32": "no"}.get(options.precision, options.precision))
        run = Run(
            options=options,
            model=model,
            optimizer=build_optimizer(model, options),
            batches=self._stream(self.inputs, accelerator, threads),
            valid=self._valid(accelerator, threads),
            accelerator=accelerator,
            tokenizer=self.tokenizer,
            out=partial,
            progress=progress,
        )
        if not run.train():
            raise StoppedError(
                f"stopped after {run.state.step:,} steps; saved in {partial / 'checkpoints'}. "
                f"The same command goes on from there and makes {out}."
            )
        save_model(model, self.tokenizer, partial)
        draw_curve(partial / METRICS, partial / CURVE)
        return _report(run, model)

    def _stream(self, paths: Iterable[Path], accelerator: Accelerator, threads: int | None) -> Stream:
        options = self.options
        return Stream(
            list(paths),
            self.tokenizer,
            options.stream,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            epochs=None if options.steps else options.epochs,
            threads=threads,
        )

    def _valid(self, accelerator: Accelerator, threads: int | None) -> Callable[[], Iterable[Batch]] | None:
        if self.valid is None:
            return None
        path, stream = self.valid, replace(self.options.stream, seed=0)

        def batches() -> Stream:
            rank, world = accelerator.process_index, accelerator.num_processes
            return Stream([path], self.tokenizer, stream, rank=rank, world=world, epochs=1, threads=threads)

        return batches


@contextmanager
def _torch_settings(options: TrainOptions, threads: int | None) -> Iterator[None]:
    """Threads and arithmetic while a run lasts."""
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    if threads is not None:
        torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(options.matmul_precision)
    # Optimizer states decay into denormal numbers, on which a CPU is many times slower.
    torch.set_flush_denormal(True)
    # accelerate keeps the precision of the first run in a process for all that follow.
    AcceleratorState._reset_state()
    try:
        yield
    finally:
        AcceleratorState._reset_state()
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
        torch.set_flush_denormal(False)


def _report(run: Run, model: T5ForConditionalGeneration) -> Report:
    state = run.state
    losses = [line["loss"] for line in read_metrics(run.out / METRICS) if "loss" in line]
    return {
        "parameters": count_parameters(model),
        "trained_parameters": count_parameters(model, trainable=True),
        "steps": state.step,
        "rows": state.rows,
        "target_tokens": state.target_tokens,
        "loss": losses[-1] if losses else None,
        "valid_loss": state.valid_loss,
        "tokens_per_s": round(state.tokens / state.seconds, 1) if state.seconds else 0.0,
        "seconds": round(state.seconds, 3),
    }
