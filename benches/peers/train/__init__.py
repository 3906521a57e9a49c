"""Training: ours beside `Seq2SeqTrainer`, on the same rows and from the same first weights.

Each trainer has as many short trials to find its learning rate. The baselines then train to their end, and
ours has reached them when its validation loss is as low as theirs is there. Validations and checkpoints stop
the clock of each. The rows are the demo's, which everybody has and a small model learns in minutes, or real
ones of at most `REAL_CHARS` characters.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from .. import corpus
from ..measure import Measured, machine, measure, table
from . import bare, own, peer
from .own import Own
from .peer import Peer
from .task import MODEL, VALID_ROWS, Task, make_task

TRIAL_EPOCHS, OWN_EPOCHS, EPOCHS = 1, 2, 3
"""Passes over the rows of a trial, of our last run and of the baselines' last runs, at most."""
VALIDATIONS = 24
"""Of a last run, about."""
LONG_ROWS = 1_500
"""Rows of real lengths, which show what padding costs."""
REAL_ROWS = 3_000
"""Real rows that trainers are tuned on: about a quarter of an hour."""
REAL_CHARS = 128
"""Characters of a real row, question and answer, where trainers are tuned: longer ones are padded so much by
the baselines that few would be trained on in the time."""
SAME_BATCH_ROWS = 32
"""Rows of a batch of the peer where speed is compared; ours has as many tokens, padding included."""

EARLIER = [Peer(lr, "adafactor", 16, 8) for lr in (1e-3, 3e-3, 1e-2, 3e-2)]
"""As ChatLM-mini-Chinese sets it up."""
BEST = [Peer(lr, "adamw_torch_fused", rows) for rows in (16, 64) for lr in (1e-3, 3e-3)]
OURS = [Own(lr, tokens) for tokens in (1_024, 2_048) for lr in (1e-2, 2e-2)]


def run(epochs: int = EPOCHS) -> str:
    """Measure all on the demo's rows and the speed on real ones, and return the report.

    Args:
        epochs: Passes of the baselines' last runs; ours and the trials have no more.
    Raises:
        RuntimeError: two trainers began with other weights, or passed other rows.
    """
    with tempfile.TemporaryDirectory() as folder:
        pairs, origin = corpus.demo_pairs()
        (Path(folder) / "demo").mkdir()
        task = make_task(Path(folder) / "demo", pairs, origin)
        parts = [_sooner(task, epochs), _speed(task)]
        pairs, origin = corpus.pairs(LONG_ROWS)
        if "demo" not in origin:
            (Path(folder) / "long").mkdir()
            parts.append(_speed(make_task(Path(folder) / "long", pairs, origin)))
    return _report(parts)


def run_real(rows: int, epochs: int = EPOCHS) -> str:
    """Measure the seconds to a loss on real rows, and return the report.

    Args:
        rows: Rows to train on.
        epochs: As of `run`.
    Raises:
        RuntimeError: there are no real rows, or as of `run`.
    """
    pairs, origin = corpus.short_pairs(rows + VALID_ROWS, REAL_CHARS)
    if "demo" in origin:
        raise RuntimeError("train: no real rows in SMOLCHAT_DATA/sft")
    with tempfile.TemporaryDirectory() as folder:
        task = make_task(Path(folder), pairs, f"{origin} of at most {REAL_CHARS} characters")
        return _report([_sooner(task, epochs)])


def _report(parts: list[str]) -> str:
    shape = MODEL.shape()
    title = (
        f"train: T5 of {shape.num_layers} + {shape.num_decoder_layers} layers, width {shape.d_model}, float32 "
        "with matmul precision `medium` for all"
    )
    return "\n".join([title, machine(["smolchat-fast", "torch", "transformers", "accelerate"]), "", *parts])


def _sooner(task: Task, epochs: int) -> str:
    """Seconds to the loss that each baseline ends with, and what our trainer costs by itself."""
    trials = {
        name: {setup: _train(task, setup, min(TRIAL_EPOCHS, epochs), 1) for setup in setups}
        for name, setups in (("earlier", EARLIER), ("best", BEST), ("ours", OURS))
    }
    _check([found for by_setup in trials.values() for found in by_setup.values()])
    chosen: dict[str, Any] = {
        name: min(by_setup, key=lambda setup: by_setup[setup].result.loss)
        for name, by_setup in trials.items()
    }
    last = {
        name: _train(task, setup, min(epochs, OWN_EPOCHS if name == "ours" else EPOCHS), VALIDATIONS)
        for name, setup in chosen.items()
    }
    ours = last["ours"]
    lines = []
    for name, found in last.items():
        curve, reached = found.result, ours.result.seconds_to(found.result.loss)
        sooner = "not reached" if reached is None else f"{curve.seconds / reached:.1f}x"
        lines.append(
            [
                str(chosen[name]),
                f"{curve.steps:,}",
                f"{curve.seconds:.1f}",
                f"{curve.loss:.3f}",
                *(["", ""] if name == "ours" else ["-" if reached is None else f"{reached:.1f}", sooner]),
                curve.outside_and_clipping,
                f"{found.peak_mb:,.0f}",
            ]
        )
    header = [
        "last run",
        "steps",
        "s",
        "loss at the end",
        "ours there after s",
        "sooner",
        "outside",
        "peak MB",
    ]
    taken = measure(bare.imported, bare.train, bare.shapes_of(task, chosen["ours"]), most=1).peak_mb
    return "\n".join(
        [
            f"{pq.read_metadata(task.rows).num_rows:,} rows, {task.origin}: validation loss by target token; "
            f"{len(OURS)} trials of one pass for each trainer:",
            table(
                ["trial", "s", "loss"], [_trial(setup, m) for t in trials.values() for setup, m in t.items()]
            ),
            "",
            "`outside` is the share of the time that is neither forward, backward nor optimizer; the second figure "
            "counts the norm and the clipping of the gradients to the optimizer.",
            table(header, lines),
            "",
            f"Memory of our trainer above imports, model, optimizer and activations: {ours.peak_mb:,.0f} - "
            f"{taken:,.0f} = {ours.peak_mb - taken:,.0f} MB.",
            "",
        ]
    )


def _trial(setup: Own | Peer, found: Measured) -> list[str]:
    return [str(setup), f"{found.result.seconds:.1f}", f"{found.result.loss:.3f}"]


def _speed(task: Task) -> str:
    """Target tokens a second of one pass: batches of as many tokens, the same optimizer."""
    theirs = Peer(1e-3, "adamw_torch_fused", SAME_BATCH_ROWS)
    found = {str(theirs): _train(task, theirs, 1, 1)}
    curve = found[str(theirs)].result
    # A batch of ours is nearly as large as it may be, one of theirs as large as its rows make it.
    ours = Own(1e-3, max(2 * 256, curve.sums["places"] // curve.steps), "adamw", "cosine")
    found[str(ours)] = _train(task, ours, 1, 1)
    _check(list(found.values()))
    slowest = curve.sums["targets"] / curve.seconds
    lines = []
    for name, measured in found.items():
        curve = measured.result
        speed = curve.sums["targets"] / curve.seconds
        lines.append(
            [
                name,
                f"{curve.sums['places'] / curve.steps:,.0f}",
                f"{curve.padding:.1%}",
                f"{speed:,.0f}",
                f"{speed / slowest:.2f}x",
                curve.outside_and_clipping,
            ]
        )
    rows = found[str(ours)].result.sums["rows"]
    header = ["one pass", "tokens a batch", "padding", "target tokens/s", "faster", "outside"]
    return "\n".join([f"{rows:,} rows, {task.origin}:", table(header, lines), ""])


def _check(measured: Sequence[Measured]) -> None:
    """All began with the same weights and passed the same rows."""
    curves = [found.result for found in measured]
    kinds = {tuple(curve.sums[name] for name in ("rows", "sources", "targets")) for curve in curves}
    first = [curve.points[0][1] for curve in curves]
    if len(kinds) > 1 or max(first) - min(first) > 1e-3:
        raise RuntimeError(f"train: rows, source and target tokens {kinds}, first losses {first}")


def _train(task: Task, setup: Own | Peer, epochs: int, validations: int) -> Measured:
    trainer: Any = own if isinstance(setup, Own) else peer
    work = partial(trainer.train, setup=setup, epochs=epochs, validations=validations)
    found = measure(trainer.imported, work, task, most=1)
    curve = found.result
    print(f"{setup}: {curve.seconds:.1f} s, loss {curve.loss:.3f}", file=sys.stderr, flush=True)
    return found
