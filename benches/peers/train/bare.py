"""The same batches without a trainer: what model, optimizer and activations take by themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .own import Own
from .task import MODEL, SEED, Task, stream_options


@dataclass(frozen=True)
class Bare:
    """A task, and the shapes of its batches: rows, source tokens, target tokens."""

    task: Task
    setup: Own
    shapes: list[tuple[int, int, int]]


def shapes_of(task: Task, setup: Own) -> Bare:
    """The batches of a trial."""
    from smolchat_fast.stream import Stream

    stream = Stream([task.rows], task.folder, stream_options(setup.batch_tokens), epochs=1)
    return Bare(task, setup, [(*batch.input_ids.shape, batch.labels.shape[1]) for batch in stream])


def imported(bare: Bare) -> Bare:
    import transformers  # noqa: F401

    return bare


def train(bare: Bare) -> int:
    """Step after step on random ids of these shapes; returns how many."""
    import torch
    from torch.nn import functional

    from smolchat_fast.model import build_model
    from smolchat_fast.train.optimizer import build_optimizer
    from smolchat_fast.train.options import TrainOptions

    torch.set_float32_matmul_precision("medium")
    model = build_model(MODEL, bare.task.folder, SEED)
    optimizer = build_optimizer(model, TrainOptions(optimizer=bare.setup.optimizer, lr=1e-3))
    for rows, source, target in bare.shapes:
        ids: Any = torch.randint(2, 1_000, (rows, source))
        labels = torch.randint(2, 1_000, (rows, target))
        logits = model(input_ids=ids, decoder_input_ids=labels, use_cache=False).logits
        functional.cross_entropy(logits.flatten(0, 1), labels.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    return len(bare.shapes)
