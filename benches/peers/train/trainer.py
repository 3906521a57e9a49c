"""`Seq2SeqTrainer` of transformers with a clock on its parts and validations of our own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import torch
from accelerate import Accelerator
from transformers import (
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    PreTrainedModel,
    PrinterCallback,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
)

from smolchat_fast.encode import IGNORED, encode
from smolchat_fast.model import build_model
from smolchat_fast.stream import Stream
from smolchat_fast.train.validation import Valid, validate

from .task import MAX_TOKENS, MODEL, SEED, Task, stream_options
from .watch import CLIPPING, Curve, Watch

if TYPE_CHECKING:
    from .peer import Peer


def train(task: Task, setup: Peer, epochs: int, validations: int) -> Curve:
    """Train to the end, with about so many validations."""
    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    watch, encoded = Watch(), _encode_rows(task)
    model = build_model(MODEL, task.folder, SEED)
    steps = epochs * -(-len(encoded) // (setup.batch_rows * setup.accumulate))
    with tempfile.TemporaryDirectory() as folder:
        trainer = Seq2SeqTrainer(
            model=model,
            args=_arguments(setup, folder, epochs, steps),
            train_dataset=encoded,  # type: ignore[arg-type]
            data_collator=_Collator(task, model, watch),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Validations(watch, _measure(task, model), max(1, steps // validations), steps))
        trainer.compute_loss = watch.timed("forward", trainer.compute_loss)  # type: ignore[method-assign]
        accelerator = trainer.accelerator
        accelerator.backward = watch.timed("backward", accelerator.backward)  # type: ignore[method-assign]
        accelerator.clip_grad_norm_ = watch.timed(CLIPPING, accelerator.clip_grad_norm_)  # type: ignore[method-assign]
        trainer.train()
    return watch.curve(trainer.state.global_step, watch.points[-1][0])


def _encode_rows(task: Task) -> list[dict[str, list[int]]]:
    """All rows as ids, `[EOS]` last."""
    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    table = pq.read_table(task.rows, columns=["prompt", "response"]).to_pydict()
    sources, targets = (encode(tokenizer, texts, MAX_TOKENS) for texts in table.values())
    return [{"input_ids": s, "labels": t} for s, t in zip(sources, targets, strict=True)]


def _arguments(setup: Peer, folder: str, epochs: int, steps: int) -> Seq2SeqTrainingArguments:
    return Seq2SeqTrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=setup.batch_rows,
        gradient_accumulation_steps=setup.accumulate,
        learning_rate=setup.lr,
        optim=setup.optim,
        warmup_steps=round(0.05 * steps),
        logging_steps=50,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=SEED,
    )


def _measure(task: Task, model: PreTrainedModel) -> Callable[[], float | None]:
    """What finds the validation loss; the model trains on after it."""
    valid = Valid(lambda: Stream([task.valid], task.folder, stream_options(8_192), epochs=1))
    accelerator = Accelerator(cpu=True)

    def loss() -> float | None:
        found = validate(model, valid, accelerator)
        model.train()
        return found and found.loss

    return loss


class _Collator:
    """Pads rows to the longest of a batch and counts them."""

    def __init__(self, task: Task, model: PreTrainedModel, watch: Watch) -> None:
        self.pad = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(task.folder), model=model)
        self.watch = watch

    def __call__(self, rows: Any) -> Any:
        batch = self.pad(rows)
        self.watch.sums.update(
            rows=len(rows),
            targets=int((batch["labels"] != IGNORED).sum()),
            sources=int(batch["attention_mask"].sum()),
            places=batch["input_ids"].numel() + batch["labels"].numel(),
        )
        return batch


class _Validations(TrainerCallback):
    """Starts the clock, and notes the validation loss every so many steps and at the end."""

    def __init__(self, watch: Watch, loss: Callable[[], float | None], every: int, steps: int) -> None:
        self.watch, self.loss, self.every, self.steps = watch, loss, every, steps

    def on_train_begin(self, *_: Any, optimizer: Any, **more: Any) -> None:
        optimizer.step = self.watch.timed("optimizer", optimizer.step)
        self.watch.start(self.loss())

    def on_step_end(self, arguments: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step % self.every == 0 or state.global_step == self.steps:
            with self.watch.held():
                self.watch.note(self.loss())
