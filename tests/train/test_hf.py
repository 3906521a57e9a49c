"""The trainer of transformers, given the same run, goes the same way."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from small import TINY  # noqa: E402

from smolchat_fast.errors import StoppedError  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import TrainOptions, pretrain_files  # noqa: E402
from smolchat_fast.train.checkpoint import Checkpoints  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402
from smolchat_fast.train.state import TrainState  # noqa: E402

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


def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(rows, tokenizer, tmp_path, monkeypatch):
    """The folder is there long before all that a run needs to go on from it."""
    options = replace(OPTIONS, steps=8, save_every=3, keep=1, trainer="hf")
    whole = losses(rows, tokenizer, tmp_path / "whole", options)

    class Killed(BaseException): ...

    def kill(checkpoints: Checkpoints, step: int, state: TrainState) -> None:
        if step == 6:
            raise Killed
        seal(checkpoints, step, state)

    seal = Checkpoints.seal
    with monkeypatch.context() as killing:
        killing.setattr(Checkpoints, "seal", kill)
        with pytest.raises(Killed):
            losses(rows, tokenizer, tmp_path / "run", options)
    with pytest.warns(RuntimeWarning, match="checkpoint-6: passed over"):
        assert losses(rows, tokenizer, tmp_path / "run", options) == whole


def test_the_twin_saves_by_the_clock_and_answers(rows, tokenizer, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Checkpoints, "seal", lambda self, step, state: saved.append(step))
    options = replace(OPTIONS, steps=4, eval_every=2, eval_answers=4, save_every=0, trainer="hf")
    losses(rows, tokenizer, tmp_path / "seldom", options)
    assert saved == [4]
    losses(rows, tokenizer, tmp_path / "often", replace(options, save_minutes=1e-9))
    assert saved[1:] == [1, 2, 3, 4]
    answered = [line for line in read_lines(tmp_path / "seldom" / "metrics.jsonl") if "exact" in line]
    assert [line["step"] for line in answered] == [2, 4]
    assert len(answered[0]["samples"]) == 4


def test_batches_that_processes_cannot_share_are_refused(rows, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(Accelerator, "num_processes", 3)
    with pytest.raises(ValueError, match="option accumulate = 2: must be a multiple of the 3 processes"):
        losses(rows, tokenizer, tmp_path / "run", replace(OPTIONS, trainer="hf"))


@pytest.mark.usefixtures("two_gpus")
def test_one_of_several_gpus_is_used(rows, tokenizer, tmp_path, monkeypatch):
    """The trainer would share out each batch among all that are in sight."""

    class Copies(torch.nn.DataParallel):
        def __init__(self, *given, **named) -> None:
            raise AssertionError("the model is copied to all GPUs")

    monkeypatch.setattr(torch.nn, "DataParallel", Copies)
    assert len(losses(rows, tokenizer, tmp_path / "run", replace(OPTIONS, steps=2, trainer="hf"))) == 2


def test_the_twin_stops_and_goes_on_as_well(rows, tokenizer, tmp_path):
    options = replace(OPTIONS, trainer="hf")
    whole = losses(rows, tokenizer, tmp_path / "whole", options)

    def stop(phase: str, done: int, total: int) -> None:
        if done == 7:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(StoppedError, match="stopped after 7 steps"):
        losses(rows, tokenizer, tmp_path / "run", options, progress=stop)
    assert losses(rows, tokenizer, tmp_path / "run", options) == whole
