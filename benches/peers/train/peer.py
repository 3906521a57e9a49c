"""`Seq2SeqTrainer` of transformers on a task, set up as its users do.

Its rows are encoded before the clock starts; ours are encoded while it runs. Nothing is written, and no
tracker is told anything.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from .task import MAX_TOKENS, MODEL, SEED, Task, stream_options
from .watch import Curve, Watch

IGNORED = -100


@dataclass(frozen=True)
class Peer:
    """How `Seq2SeqTrainer` is set up."""

    lr: float
    optim: str
    """By the names of transformers."""
    batch_rows: int
    accumulate: int = 1

    def __str__(self) -> str:
        rows = f"{self.batch_rows} x {self.accumulate}" if self.accumulate > 1 else f"{self.batch_rows}"
        return f"{self.optim}, {rows} rows, lr {self.lr:g}"


def imported(task: Task) -> Task:
    import smolchat_fast.train.hf  # noqa: F401

    return task


def encode_rows(task: Task) -> list[dict[str, list[int]]]:
    """All rows as ids, `[EOS]` last."""
    from transformers import AutoTokenizer

    from smolchat_fast.encode import encode

    tokenizer = AutoTokenizer.from_pretrained(task.folder)
    table = pq.read_table(task.rows, columns=["prompt", "response"]).to_pydict()
    sources, targets = (encode(tokenizer, texts, MAX_TOKENS) for texts in table.values())
    return [{"input_ids": s, "labels": t} for s, t in zip(sources, targets, strict=True)]


def train(task: Task, setup: Peer, epochs: int, validations: int) -> Curve:
    """Train by `Seq2SeqTrainer`."""
    import torch
    from accelerate import Accelerator
    from transformers import (
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        PrinterCallback,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        TrainerCallback,
    )

    from smolchat_fast.model import build_model
    from smolchat_fast.stream import Stream
    from smolchat_fast.train.validation import Valid, validate

    torch.set_float32_matmul_precision("medium")
    torch.set_flush_denormal(True)
    watch, encoded = Watch(), encode_rows(task)
    model = build_model(MODEL, task.folder, SEED)
    pad = DataCollatorForSeq2Seq(AutoTokenizer.from_pretrained(task.folder), model=model)
    valid = Valid(lambda: Stream([task.valid], task.folder, stream_options(8_192), epochs=1))
    accelerator = Accelerator(cpu=True)

    def loss() -> float | None:
        found = validate(model, valid, accelerator)
        model.train()
        return found and found.loss

    def collate(chosen: Any) -> Any:
        batch = pad(chosen)
        watch.sums.update(
            rows=len(chosen),
            targets=int((batch["labels"] != IGNORED).sum()),
            sources=int(batch["attention_mask"].sum()),
            places=batch["input_ids"].numel() + batch["labels"].numel(),
        )
        return batch

    steps = epochs * -(-len(encoded) // (setup.batch_rows * setup.accumulate))
    every = max(1, steps // validations)

    class Watcher(TrainerCallback):
        def on_train_begin(self, *_: Any, optimizer: Any, **more: Any) -> None:
            optimizer.step = watch.timed("optimizer", optimizer.step)
            watch.start(loss())

        def on_step_end(self, arguments: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step % every == 0 or state.global_step == steps:
                with watch.held():
                    watch.note(loss())

    with tempfile.TemporaryDirectory() as folder:
        arguments = Seq2SeqTrainingArguments(
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
        trainer = Seq2SeqTrainer(model=model, args=arguments, train_dataset=encoded, data_collator=collate)  # type: ignore[arg-type]
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(Watcher())
        trainer.compute_loss = watch.timed("forward", trainer.compute_loss)  # type: ignore[method-assign]
        trainer.accelerator.backward = watch.timed("backward", trainer.accelerator.backward)  # type: ignore[method-assign]
        trainer.train()
    return watch.curve(trainer.state.global_step, watch.points[-1][0])
