"""The trainer of transformers, given the same run, goes the same way."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from small import TINY  # noqa: E402

from smolchat_fast.errors import StoppedError  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import TrainOptions, pretrain_files  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402

OPTIONS = TrainOptions(
    steps=20, lr=0.02, accumulate=2, log_every=1, eval_every=10, save_every=5, dropout=0.0, eval_answers=0,
    stream=StreamOptions(batch_rows=8),
)  # fmt: skip


def losses(rows, tokenizer, out, options, **more) -> list[tuple[int, float, float]]:
    pretrain_files([rows], out, options, valid=rows, tokenizer=tokenizer, model=TINY, threads=1, **more)
    lines = read_lines(out / "metrics.jsonl")
    return [(line["step"], line["loss"], line["lr"]) for line in lines if "loss" in line]


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_both_trainers_draw_the_same_curve(optimizer, rows, tokenizer, tmp_path):
    options = replace(OPTIONS, optimizer=optimizer)
    ours = losses(rows, tokenizer, tmp_path / "own", options)
    theirs = losses(rows, tokenizer, tmp_path / "hf", replace(options, trainer="hf"))
    assert [step for step, *_ in theirs] == [step for step, *_ in ours] == list(range(1, 21))
    for (_, loss, lr), (_, expected, expected_lr) in zip(theirs, ours, strict=True):
        assert lr == pytest.approx(expected_lr, rel=1e-9)
        assert loss == pytest.approx(expected, rel=0.01)


def test_the_twin_stops_and_goes_on_as_well(rows, tokenizer, tmp_path):
    options = replace(OPTIONS, trainer="hf")
    whole = losses(rows, tokenizer, tmp_path / "whole", options)

    def stop(phase: str, done: int, total: int) -> None:
        if done == 7:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped after 7 steps"):
        losses(rows, tokenizer, tmp_path / "run", options, progress=stop)
    assert losses(rows, tokenizer, tmp_path / "run", options) == whole
