"""The same run by the `Seq2SeqTrainer` of transformers: our stream, loss, optimizer, schedule and metrics.

A second opinion on the loop: what both have in common is right, or wrong twice. Checkpoints are of the
trainer's own kind (`hf/checkpoint-1200/`); it loads weights, optimizer and random states from them, and
the place in the stream comes from `state.json` beside those.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import (
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5ForConditionalGeneration,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)
from transformers.trainer_utils import get_last_checkpoint

from smolchat_fast.encode import IGNORED
from smolchat_fast.train.loop import BatchSource, Parts
from smolchat_fast.train.metrics import Metrics
from smolchat_fast.train.panel import Panel
from smolchat_fast.train.ranks import on_cpu
from smolchat_fast.train.schedule import Schedule
from smolchat_fast.train.state import TrainState
from smolchat_fast.train.stop import stop_on_signal
from smolchat_fast.train.validation import shift_right, validate

FOLDER, STATE = "hf", "state.json"
ENDLESS = 10**9
"""Steps of a run whose end is that of its stream."""


@dataclass
class HfRun(Parts):
    """One training run by the trainer of transformers, with the border of `loop.Run`."""

    def __post_init__(self) -> None:
        """Find the newest checkpoint."""
        folder = self.out / FOLDER
        self.newest = get_last_checkpoint(str(folder)) if folder.exists() else None
        self.state = TrainState()
        if self.newest is not None:
            self.state = TrainState(**json.loads((Path(self.newest) / STATE).read_text("utf-8")))
            self.batches.load_state_dict(self.state.stream)
        self.saved_step: int | None = self.state.step or None

    def train(self) -> bool:
        """Train to the end, or until asked to stop; save either way.

        Returns:
            Whether the run came to its end.
        """
        options, main = self.options, self.accelerator.is_main_process
        with (
            stop_on_signal() as self.stop,
            Metrics(self.out, self.state, every=options.log_every, write=main) as self.metrics,
        ):
            target = options.steps or options.epochs * self.batches.rows
            self.panel = Panel(self.progress, self.out, self.state, target)
            trainer = _Trainer(self)
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(_Watcher(self, trainer))
            trainer.train(resume_from_checkpoint=self.newest)
            if not self.stop.requested:
                self.validate()
        return not self.stop.requested

    def whole_model(self) -> T5ForConditionalGeneration:
        """The model; each process has all of its weights."""
        return self.model

    def position(self) -> float:
        """Middle of the coming step as a share of the run; with epochs, if it is as long as the others."""
        state, options = self.state, self.options
        if options.steps:
            return min(1.0, (state.step + 0.5) / options.steps)
        half = state.rows / max(1, state.step) / 2
        return min(1.0, (state.rows + half) / (options.epochs * self.batches.rows))

    def validate(self) -> None:
        """Measure on the validation rows, once a step."""
        if self.valid is None or self.state.validated == self.state.step > 0:
            return
        found = validate(self.model, self.valid, self.accelerator, most_batches=self.options.eval_batches)
        self.model.train()
        if found is None:
            return
        self.state.note_validation(found.loss)
        measures = {"valid_loss": found.loss, "bits_per_byte": found.bits_per_byte}
        self.panel.show(self.metrics.log_validation(measures))


class _Trainer(Seq2SeqTrainer):
    """Takes batches as they come, and the loss by target token of the whole step."""

    def __init__(self, run: HfRun) -> None:
        options = run.options
        self.run, self.schedule = run, Schedule(options)
        self.coming: dict[str, int] = {}
        arguments = Seq2SeqTrainingArguments(
            output_dir=str(run.out / FOLDER),
            max_steps=options.steps or ENDLESS,
            gradient_accumulation_steps=options.accumulate // run.accelerator.num_processes,
            max_grad_norm=options.max_norm,
            bf16=options.precision == "bf16",
            fp16=options.precision == "fp16",
            torch_compile=options.compile,
            save_strategy="steps",
            save_steps=options.save_every or ENDLESS,
            save_total_limit=options.keep,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            ignore_data_skip=True,
            seed=options.seed,
            use_cpu=on_cpu(),
        )
        # Multiplies the rates by one: they are set by our schedule, before each step.
        still = LambdaLR(run.optimizer, lambda step: 1.0)
        super().__init__(model=run.model, args=arguments, optimizers=(run.optimizer, still))

    def get_train_dataloader(self) -> Any:
        """Our stream; each process has its own share of it."""
        return _Batches(self.run.batches)

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Tensor | None]:
        """The batches of a step, and the target tokens in them over all processes."""
        micro = list(itertools.islice(epoch_iterator, num_batches))
        if not micro:
            return [], None
        rows = sum(int((batch["rows"] >= 0).sum()) for batch in micro)
        targets = sum(int((batch["labels"] != IGNORED).sum()) for batch in micro)
        sources = sum(int(batch["attention_mask"].sum()) for batch in micro)
        places = sum(batch["input_ids"].numel() + batch["labels"].numel() for batch in micro)
        counts = torch.tensor([rows, targets, sources, places], device=device)
        rows, targets, sources, places = self.run.accelerator.reduce(counts, "sum").tolist()  # type: ignore[union-attr]
        self.coming = {"rows": rows, "target_tokens": targets, "tokens": targets + sources, "places": places}
        self.lr = self.schedule.apply(self.run.optimizer, self.run.position())
        return micro, torch.tensor(targets, device=device)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Cross-entropy over the target tokens of the whole step."""
        labels, mask = inputs["labels"], inputs["attention_mask"]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=None if bool(mask.all()) else mask,
            decoder_input_ids=shift_right(labels),
            use_cache=False,
        )
        loss = nn.functional.cross_entropy(
            outputs.logits.flatten(0, 1).float(),
            labels.flatten(),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.run.options.label_smoothing,
        )
        self.run.metrics.count(loss=loss.item())
        # Ranks average their gradients: multiplying by their number makes it a sum again.
        loss = loss * self.run.accelerator.num_processes / num_items_in_batch
        return (loss, outputs) if return_outputs else loss


class _Batches:
    """Batches of tensors for a trainer that would make its own."""

    def __init__(self, stream: BatchSource) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for batch in self.stream:
            yield {
                name: torch.from_numpy(getattr(batch, name))
                for name in ("input_ids", "attention_mask", "labels", "rows")
            }


class _Watcher(TrainerCallback):
    """Keeps state and metrics, validates, and passes on a wish to stop."""

    def __init__(self, run: HfRun, trainer: _Trainer) -> None:
        self.run, self.trainer, self.grad_norm = run, trainer, 0.0

    def on_pre_optimizer_step(
        self, args: Any, state: TrainerState, control: TrainerControl, **more: Any
    ) -> None:
        """Note the norm that clipping left."""
        norms = [p.grad.norm() for p in self.run.model.parameters() if p.grad is not None]
        self.grad_norm = float(torch.stack(norms).norm())

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, *, model: Any = None, **more: Any
    ) -> None:
        """Count the step."""
        run, trainer = self.run, self.trainer
        run.state.step = state.global_step
        for name in ("rows", "target_tokens", "tokens"):
            setattr(run.state, name, getattr(run.state, name) + trainer.coming[name])
        run.state.stream = run.batches.state_dict()
        run.metrics.count(**{name: n for name, n in trainer.coming.items() if name != "rows"})
        line = run.metrics.log_step(lr=trainer.lr, grad_norm=self.grad_norm)
        if line is not None:
            run.panel.show(line)
        run.panel.advance(run.state, by_steps=bool(run.options.steps))
        if run.options.eval_every and state.global_step % run.options.eval_every == 0:
            run.validate()
        if run.stop.requested:
            control.should_save = control.should_training_stop = True

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Put our state beside the trainer's."""
        run = self.run
        run.metrics.save_clock()
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if run.accelerator.is_main_process:
            (folder / STATE).write_text(json.dumps(run.state.to_json()), "utf-8")
        run.saved_step = state.global_step
