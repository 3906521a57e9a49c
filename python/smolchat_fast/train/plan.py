"""Training as a stage: skipped when done, taken up when stopped, whole when it ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_model as load_weights
from transformers import AutoTokenizer, T5ForConditionalGeneration

from smolchat_fast.errors import StageError, StoppedError
from smolchat_fast.evaluate.evaluate import pick_rows
from smolchat_fast.model import count_parameters, save_model, set_dropout, widen_feed_forward
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.rows import count_rows, read_texts
from smolchat_fast.stage import FOLDER, PARTIAL, Report, run_stage, to_json
from smolchat_fast.stream import Stream
from smolchat_fast.train.checkpoint import step_of
from smolchat_fast.train.curves import draw_curves
from smolchat_fast.train.lines import METRICS, read_lines, training
from smolchat_fast.train.loop import Run
from smolchat_fast.train.optimizer import build_optimizer, freeze
from smolchat_fast.train.options import TrainOptions
from smolchat_fast.train.ranks import lead_or_follow, on_cpu
from smolchat_fast.train.sharded import sharding_for
from smolchat_fast.train.state import seed_everything
from smolchat_fast.train.trackers import end_trackers, start_trackers, trackers_for
from smolchat_fast.train.validation import Answers, Valid

if TYPE_CHECKING:
    from smolchat_fast.train.hf import HfRun


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
        partial = out.with_name(out.name + PARTIAL)

        def train() -> Report:
            return self._train(partial, out, threads, progress or ignore)

        rows = [*self.inputs, *([self.valid] if self.valid else [])]

        def stage(train_together: Callable[[], Report]) -> Report:
            count_rows(rows)  # refuses other formats before anything is begun
            finished = run_stage(
                self.name,
                out,
                lambda _: train_together(),
                makes=FOLDER,
                inputs=[*rows, self.tokenizer],
                options=to_json({self.name: self.options.deciding(), **self.more_options}),
                overwrite=overwrite,
                resumable=True,
                scratch=("checkpoints", "hf"),
            )
            return finished.report

        with torch_settings(self.options, threads):
            return lead_or_follow(stage, train)

    def _train(self, partial: Path, out: Path, threads: int | None, progress: Progress) -> Report:
        options = self.options
        seed_everything(options.seed)
        model = self.first_model()
        self._prepare(model)
        accelerator = Accelerator(
            cpu=on_cpu(),
            mixed_precision={"fp32": "no"}.get(options.precision, options.precision),
            **trackers_for(options.trackers, partial),
        )
        sharding_for(accelerator, options)  # refuses before anything is read
        parameters = count_parameters(model), count_parameters(model, trainable=True)
        seed_everything(options.seed, rank=accelerator.process_index)
        run = _kind(options)(
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
        start_trackers(accelerator, out.name, options)
        try:
            ended = run.train()
        finally:
            end_trackers(accelerator)
        if not ended:
            raise _stopped(run, partial, out)
        whole = run.whole_model()
        if accelerator.is_main_process:
            self._finish(run, whole, partial)
        return _report(run, *parameters)

    def _prepare(self, model: T5ForConditionalGeneration) -> None:
        """Make the model as the options want it in training."""
        options = self.options
        if options.dropout is not None:
            set_dropout(model, options.dropout)
        if options.precision == "fp16":
            widen_feed_forward(model)
        if options.gradient_checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)
                # Newer releases of transformers 5 call it activation_checkpointing_enable.
                model.gradient_checkpointing_enable({"use_reentrant": False})
        freeze(model, options.freeze)

    def _finish(self, run: Run | HfRun, model: T5ForConditionalGeneration, partial: Path) -> None:
        """Write the model folder and the curves."""
        if self.options.final_weights == "best":
            _take_best(run, model)
        save_model(model, self.tokenizer, partial)
        draw_curves({"": read_lines(partial / METRICS)}, partial / "curves")

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

    def _valid(self, accelerator: Accelerator, threads: int | None) -> Valid | None:
        if self.valid is None:
            return None
        path, options = self.valid, self.options
        stream = replace(options.stream, seed=0, weights=())  # they mix files, and this is one
        columns = (stream.source_column, stream.target_column)

        def batches() -> Stream:
            rank, world = accelerator.process_index, accelerator.num_processes
            return Stream([path], self.tokenizer, stream, rank=rank, world=world, epochs=1, threads=threads)

        answers = None
        if options.eval_answers and accelerator.is_main_process:
            picked = pick_rows([path], options.eval_answers, columns)
            tokenizer = AutoTokenizer.from_pretrained(self.tokenizer)
            prompts, expected = ([row[i] for row in picked] for i in range(2))
            answers = Answers(tokenizer, prompts, expected, stream.max_source, stream.max_target)
        return Valid(batches, _text_bytes(path, columns[1]), stream.max_target, answers)


def _kind(options: TrainOptions) -> type[Run] | type[HfRun]:
    if options.trainer == "own":
        return Run
    from smolchat_fast.train.hf import HfRun

    return HfRun


def _take_best(run: Run | HfRun, model: T5ForConditionalGeneration) -> None:
    """Give the model the weights of the lowest validation loss that are there: the last ones or a checkpoint's."""
    state, taken = run.state, run.state.step
    if state.best_step in (None, taken):
        return
    best = run.checkpoints.best(state)
    if best is not None and (state.own_loss is None or best[0] < state.own_loss):
        load_weights(model, best[1] / "model.safetensors")
        taken = step_of(best[1])
    if taken != state.best_step:
        warnings.warn(
            f"{run.out}: the model is that of step {taken:,}, since the better one of step {state.best_step:,} has no "
            "whole checkpoint",
            RuntimeWarning,
            stacklevel=2,
        )


def _text_bytes(path: Path, column: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """UTF-8 bytes of each text of a column."""
    return np.array(
        [len(text.encode()) for texts in read_texts([path], [column]) for text in texts[0]], np.int64
    )


def _stopped(run: Run | HfRun, partial: Path, out: Path) -> BaseException:
    step = run.state.step
    if run.saved_step == step:
        return StoppedError(
            f"stopped after {step:,} steps; saved in {partial}. "
            f"The same command goes on from there and makes {out}:"
        )
    older = "nothing was saved" if run.saved_step is None else f"the last checkpoint is of {run.saved_step:,}"
    return StageError(f"stopped after {step:,} steps, but the disk is full: {older}. Free some space first.")


COMPILED_PRODUCTS = 64
"""Shapes whose compiled products oneDNN keeps; torch has it keep 1,024. A megabyte or so each: on a processor
with bfloat16 products, where every batch has other shapes, memory grew from 2 to 8 GB in 500 steps."""


@contextmanager
def torch_settings(options: TrainOptions, threads: int | None) -> Iterator[None]:
    """Threads and arithmetic while a run lasts."""
    for cache in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):  # read at the first product
        os.environ.setdefault(cache, str(COMPILED_PRODUCTS))
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


def _report(run: Run | HfRun, parameters: int, trained: int) -> Report:
    state = run.state
    losses = [line["loss"] for line in training(read_lines(run.out / METRICS))]
    return {
        "parameters": parameters,
        "trained_parameters": trained,
        "steps": state.step,
        "rows": state.rows,
        "target_tokens": state.target_tokens,
        "loss": losses[-1] if losses else None,
        "valid_loss": state.valid_loss,
        "tokens_per_s": round(state.tokens / state.seconds, 1) if state.seconds else 0.0,
        "seconds": round(state.seconds, 3),
    }
