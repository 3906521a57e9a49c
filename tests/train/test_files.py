"""Training as a stage: skipped, stopped, killed, taken up; the same weights every time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from small import TINY, pairs  # noqa: E402
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # noqa: E402

from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import SftOptions, TrainOptions, TrainReport, pretrain_files, sft_files  # noqa: E402

STREAM = StreamOptions(batch_rows=16)
OPTIONS = TrainOptions(steps=12, lr=0.02, dropout=0.1, eval_every=5, save_every=4, log_every=2, stream=STREAM)


def pretrain(rows: Path, tokenizer: Path, out: Path, options: TrainOptions = OPTIONS, **more) -> TrainReport:
    return pretrain_files(
        [rows], out, options, valid=rows, tokenizer=tokenizer, model=TINY, threads=1, **more
    )


def test_pre_training_makes_a_model_folder_with_curves(rows, tokenizer, tmp_path):
    seen = []
    out = tmp_path / "model"
    report = pretrain(rows, tokenizer, out, progress=lambda *told: seen.append(told))
    assert seen[-1] == ("steps", 12, 12)
    assert report.steps == 12
    assert report.valid_loss is not None
    assert f"{report.valid_loss:.3f}" in str(report)
    assert AutoModelForSeq2SeqLM.from_pretrained(out).config.d_model == TINY.d_model
    assert AutoTokenizer.from_pretrained(out)("1加1").input_ids[-1] == 1
    assert (out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    assert not (out / "checkpoints").exists()
    assert not out.with_name("model.partial").exists()


def test_a_finished_run_is_skipped_and_other_options_are_refused(rows, tokenizer, tmp_path):
    first = pretrain(rows, tokenizer, tmp_path / "model")
    assert pretrain(rows, tokenizer, tmp_path / "model") == first
    with pytest.raises(Exception, match=r"train.lr \(0.02 -> 0.01\)"):
        pretrain(rows, tokenizer, tmp_path / "model", TrainOptions(steps=12, lr=0.01))


def test_epochs_take_every_row_once(rows, tokenizer, tmp_path):
    report = pretrain(rows, tokenizer, tmp_path / "model", TrainOptions(epochs=2, stream=STREAM))
    assert report.rows == 2 * len(pairs())


def test_fine_tuning_leaves_frozen_parts_alone(rows, tokenizer, tmp_path):
    pretrain(rows, tokenizer, tmp_path / "base")
    options = SftOptions(steps=3, lr=0.01, stream=STREAM)
    report = sft_files([rows], tmp_path / "sft", options, model=tmp_path / "base", threads=1)
    before, after = (AutoModelForSeq2SeqLM.from_pretrained(tmp_path / name) for name in ("base", "sft"))
    changed = {
        name
        for (name, p), (_, q) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert changed
    assert all(name.startswith("decoder") for name in changed)
    assert report.trained_parameters < report.parameters


@pytest.mark.parametrize(("precision", "rounding"), [("fp32", 1e-4), ("bf16", 1e-3)])
def test_computing_activations_again_changes_no_step(precision, rounding, rows, tokenizer, tmp_path):
    losses = []
    for again in (False, True):
        how = {"precision": precision, "gradient_checkpointing": again}
        options = TrainOptions(steps=4, optimizer="adamw", stream=STREAM, log_every=1, **how)
        losses.append(pretrain(rows, tokenizer, tmp_path / str(again), options).loss)
    assert losses[0] == pytest.approx(losses[1], rel=rounding)


def test_bad_options_are_refused_before_anything_is_written(rows, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="option lr"):
        pretrain(rows, tokenizer, tmp_path / "model", TrainOptions(lr=-1.0))
    assert not list(tmp_path.iterdir())


CHILD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from small import TINY
from smolchat_fast.stream import StreamOptions
from smolchat_fast.train import TrainOptions, pretrain_files
stream = StreamOptions(batch_rows=16)
options = TrainOptions(steps=240, lr=0.02, dropout=0.1, save_every=7, log_every=1, stream=stream)
rows, tokenizer, out = map(Path, sys.argv[1:])
try:
    pretrain_files([rows], out, options, tokenizer=tokenizer, model=TINY, threads=1)
except KeyboardInterrupt as stopped:
    print(stopped)
"""


def start(rows: Path, tokenizer: Path, out: Path) -> subprocess.Popen[str]:
    code = CHILD.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-c", code, str(rows), str(tokenizer), str(out)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )


def wait_for_steps(process: subprocess.Popen[str], out: Path, more: int) -> None:
    """Wait until the run has written some more lines of metrics, or has ended."""
    metrics = out.with_name(out.name + ".partial") / "metrics.jsonl"

    def lines() -> int:
        return metrics.read_text("utf-8").count("\n") if metrics.exists() else 0

    begun, until = lines(), time.monotonic() + 120
    while process.poll() is None and lines() < begun + more and time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.slow
def test_a_process_that_is_killed_and_stopped_ends_in_the_same_weights(rows, tokenizer, tmp_path):
    """By `kill -9`, Ctrl+C and SIGTERM, at moments of the machine's choice."""
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert start(rows, tokenizer, whole).wait(300) == 0

    stopped = 0
    for number, steps in (
        (signal.SIGKILL, 30),
        (signal.SIGINT, 40),
        (signal.SIGTERM, 50),
    ):
        process = start(rows, tokenizer, out)
        wait_for_steps(process, out, steps)
        process.send_signal(number)
        told = process.communicate(timeout=120)[0]
        if "The same command goes on" in told:
            assert process.returncode == 0
            stopped += 1
    assert stopped == 2
    assert start(rows, tokenizer, out).wait(300) == 0
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
