"""Training as a stage: skipped, stopped, killed, taken up; the same weights every time."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from accelerate.utils import is_deepspeed_available  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from small import TINY, pairs, write_rows  # noqa: E402
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer  # noqa: E402

from smolchat_fast.errors import DataError, StageError, StoppedError  # noqa: E402
from smolchat_fast.evaluate import EvaluateOptions, evaluate_files  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import (  # noqa: E402
    SftOptions,
    TrainOptions,
    TrainReport,
    loop,
    pretrain_files,
    sft_files,
)
from smolchat_fast.train.checkpoint import Checkpoints  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402
from smolchat_fast.train.state import TrainState  # noqa: E402

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
    assert (out / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert not (out / "checkpoints").exists()
    assert not out.with_name("model.partial").exists()


def test_a_finished_run_is_skipped_and_other_options_are_refused(rows, tokenizer, tmp_path):
    first = pretrain(rows, tokenizer, tmp_path / "model")
    assert pretrain(rows, tokenizer, tmp_path / "model") == first
    with pytest.raises(Exception, match=r"pretrain.lr \(0.02 -> 0.01\)"):
        pretrain(rows, tokenizer, tmp_path / "model", TrainOptions(steps=12, lr=0.01))


def test_epochs_take_every_row_once(rows, tokenizer, tmp_path):
    report = pretrain(rows, tokenizer, tmp_path / "model", TrainOptions(epochs=2, stream=STREAM))
    assert report.rows == 2 * len(pairs())


@pytest.mark.parametrize("weights", [(3.0,), (2.0, 1.0)])
def test_weights_mix_what_is_trained_on_but_validation_takes_each_row_once(
    weights, rows, tokenizer, tmp_path
):
    options = replace(OPTIONS, steps=1, eval_batches=4, stream=replace(STREAM, weights=weights))
    assert options.eval_batches * STREAM.batch_rows >= len(pairs())
    report = pretrain_files(
        [rows] * len(weights), tmp_path / "model", options,
        valid=rows, tokenizer=tokenizer, model=TINY, threads=1,
    )  # fmt: skip
    card = evaluate_files(
        [rows], tmp_path / "card", EvaluateOptions(bleu_rows=0), model=tmp_path / "model", threads=1
    )
    assert report.valid_loss == pytest.approx(card.loss.loss, rel=1e-4)


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
    with pytest.raises(StageError, match=r"differs in: sft.lr \(0.01 -> 0.02\)"):
        sft_files([rows], tmp_path / "sft", replace(options, lr=0.02), model=tmp_path / "base", threads=1)


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


def test_rows_of_another_format_are_refused_with_the_command_that_makes_them(rows, tokenizer, tmp_path):
    raw = tmp_path / "qa.jsonl"
    raw.write_text('{"prompt": "你好", "response": "好"}\n', "utf-8")
    for inputs, valid in ((raw, rows), (rows, raw)):
        with pytest.raises(DataError, match=r"qa\.jsonl: not a Parquet file .* with `smolchat-fast sources`"):
            pretrain_files([inputs], tmp_path / "out", OPTIONS, valid=valid, tokenizer=tokenizer, model=TINY)
    assert not (tmp_path / "out.partial").exists(), "nothing is begun with them"
    with pytest.raises(FileNotFoundError) as missing:
        pretrain_files([tmp_path / "no.parquet"], tmp_path / "out", OPTIONS, tokenizer=tokenizer, model=TINY)
    assert missing.value.filename == str(tmp_path / "no.parquet")


def test_a_run_that_was_begun_otherwise_is_neither_taken_up_nor_thrown_away(rows, tokenizer, tmp_path):
    out = tmp_path / "model"

    def stop(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("steps", 3):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(StoppedError, match="stopped after 3 steps"):
        pretrain(rows, tokenizer, out, progress=stop)
    with pytest.raises(StageError, match=r"begun with other options or inputs: pretrain.lr \(0.02 -> 0.01\)"):
        pretrain(rows, tokenizer, out, replace(OPTIONS, lr=0.01))
    # What only watches may change.
    assert pretrain(rows, tokenizer, out, replace(OPTIONS, keep=1, log_every=5)).steps == OPTIONS.steps


def test_the_best_weights_can_be_the_result(rows, tokenizer, tmp_path):
    # What it learns makes it surer that these answers are wrong.
    wrong = write_rows(tmp_path / "wrong.parquet", [(prompt, prompt[::-1]) for prompt, _ in pairs()])
    options = replace(OPTIONS, steps=40, eval_every=5, final_weights="best", eval_answers=0)
    report = pretrain_files(
        [rows], tmp_path / "best", options, valid=wrong, tokenizer=tokenizer, model=TINY, threads=1
    )
    lines = read_lines(tmp_path / "best" / "metrics.jsonl")
    lowest = min(line["valid_loss"] for line in lines if "valid_loss" in line)
    assert lowest < report.valid_loss
    card = evaluate_files(
        [wrong], tmp_path / "card", EvaluateOptions(bleu_rows=0), model=tmp_path / "best", threads=1
    )
    assert card.loss.loss == pytest.approx(lowest, rel=1e-4)


def test_the_best_weights_are_the_best_of_those_that_were_saved(rows, tokenizer, tmp_path, monkeypatch):
    """The lowest loss comes while the disk is full."""
    losses, saved, real = {5: 2.0, 10: 1.0, 15: 3.0}, {}, loop.save_model

    def on_a_full_disk(model, source, folder: Path) -> None:
        step = int(folder.name.split("-")[1].split(".")[0])
        if step == 10:
            raise OSError(28, "No space left on device")
        real(model, source, folder)
        saved[step] = load_file(folder / "model.safetensors")

    def at_each_step(self: TrainState, loss: float) -> None:
        note(self, losses[self.step])

    note = TrainState.note_validation
    monkeypatch.setattr(TrainState, "note_validation", at_each_step)
    monkeypatch.setattr(loop, "save_model", on_a_full_disk)
    options = replace(OPTIONS, steps=15, keep=1, final_weights="best")
    with pytest.warns(
        RuntimeWarning, match="of step 5, since the better one of step 10 has no whole checkpoint"
    ):
        pretrain(rows, tokenizer, tmp_path / "best", options)
    made = load_file(tmp_path / "best" / "model.safetensors")
    assert all(torch.equal(made[name], saved[5][name]) for name in made)


def test_what_chooses_the_weights_is_not_only_watched(rows, tokenizer, tmp_path):
    options = replace(OPTIONS, steps=2, final_weights="best")
    pretrain(rows, tokenizer, tmp_path / "best", options)
    assert pretrain(rows, tokenizer, tmp_path / "best", replace(options, keep=1)).steps == 2
    with pytest.raises(StageError, match=r"train.eval_every \(5 -> 4\)"):
        pretrain(rows, tokenizer, tmp_path / "best", replace(options, eval_every=4))


def test_validation_tells_bits_exact_match_bleu_and_answers(rows, tokenizer, tmp_path):
    options = replace(OPTIONS, steps=2, eval_answers=12)
    pretrain(rows, tokenizer, tmp_path / "model", options)
    line = read_lines(tmp_path / "model" / "metrics.jsonl")[-1]
    assert 0 <= line["exact"] <= 1
    assert 0 <= line["bleu"] <= 100
    assert len(line["samples"]) == 4
    assert {"prompt", "answer", "expected"} == set(line["samples"][0])
    card = evaluate_files(
        [rows], tmp_path / "card", EvaluateOptions(bleu_rows=0), model=tmp_path / "model", threads=1
    )
    assert line["valid_loss"] == pytest.approx(card.loss.loss, rel=1e-4)
    assert line["bits_per_byte"] == pytest.approx(card.loss.bits_per_byte, rel=1e-4)


def test_an_unknown_tracker_is_refused_by_name(rows, tokenizer, tmp_path):
    with pytest.raises(ValueError, match="option trackers = 'paper': must be of"):
        pretrain(rows, tokenizer, tmp_path / "model", replace(OPTIONS, trackers=("paper",)))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read as Linux tells it")
def test_memory_does_not_grow_with_the_shapes_of_the_batches():
    """Each of these products has a shape of its own; oneDNN would keep all of them, 200 MB and more."""
    script = """if True:
        from pathlib import Path
        import torch
        from smolchat_fast.train.options import TrainOptions
        from smolchat_fast.train.plan import torch_settings

        def resident_mb():
            return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

        with torch_settings(TrainOptions(matmul_precision="medium"), threads=1):
            weight = torch.zeros(256, 768)
            for rows in range(1000, 1200):
                product = torch.zeros(rows, 256) @ weight
                torch.zeros(rows, 256).T @ (product @ weight.T)
                if rows == 1060:
                    before = resident_mb()
        print(resident_mb() - before)"""
    grown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert float(grown.stdout) < 100


def forked(kind: str, *arguments: object) -> None:
    script = Path(__file__).with_name("forked.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, script, kind, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_a_run_that_is_killed_twenty_times_ends_in_the_same_weights(rows, tokenizer, tmp_path):
    """By `kill -9`, at random moments of loading, training, validating, saving and publishing."""
    forked("kill", rows, tokenizer, tmp_path, 20)
    one, other = (tmp_path / name / "model.safetensors" for name in ("whole", "killed"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(rows, tokenizer, tmp_path):
    """Two processes, then one, then two: the same examples at each step, the same loss but for rounding."""
    forked("ranks", rows, tokenizer, tmp_path)
    assert_same_curves(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_two_processes_of_the_other_trainer_draw_the_curve_of_one_of_ours(rows, tokenizer, tmp_path):
    """Stopped on the way by a signal that only one of them hears."""
    forked("twins", rows, tokenizer, tmp_path)
    assert_same_curves(tmp_path / "own", tmp_path / "hf")


ZERO = [
    pytest.param(
        f"zero{stage}",
        marks=pytest.mark.skipif(
            not is_deepspeed_available(), reason="no DeepSpeed: pip install 'smolchat-fast[deepspeed]'"
        ),
    )
    for stage in (1, 2, 3)
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fsdp2", "fsdp2 muon", *ZERO])
def test_a_run_goes_on_with_a_model_in_parts_and_back(kind, rows, tokenizer, tmp_path):
    """One process, two that part the model, one, two that do not, two that do: one curve, one format of checkpoints."""
    forked("shards", rows, tokenizer, tmp_path, *(kind if " " in kind else f"{kind} adamw").split())
    assert_same_curves(tmp_path / "whole", tmp_path / "parts")
    ends = [load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts")]
    assert ends[0].keys() == ends[1].keys()
    for name in ends[0]:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["", "fsdp2", *ZERO[1:]])  # stage 1 saves as stage 2 does
def test_two_processes_that_were_stopped_end_in_the_same_weights(kind, rows, tokenizer, tmp_path):
    forked("stops", rows, tokenizer, tmp_path, kind)
    one, other = (tmp_path / name / "model.safetensors" for name in ("whole", "stopped"))
    assert one.read_bytes() == other.read_bytes()


def assert_same_curves(one: Path, other: Path) -> None:
    """Of the same examples at each step, but for rounding."""
    whole, parts = (read_lines(folder / "metrics.jsonl") for folder in (one, other))
    assert [line["step"] for line in parts] == [line["step"] for line in whole]
    assert [line.get("rows") for line in parts] == [line.get("rows") for line in whole]
    for ours, theirs in zip(whole, parts, strict=True):
        assert theirs.keys() == ours.keys()
        for name in ours.keys() & {"loss", "grad_norm", "valid_loss", "bits_per_byte"}:
            assert theirs[name] == pytest.approx(ours[name], rel=1e-4)


@pytest.mark.slow
def test_the_command_saves_on_a_signal_ends_with_success_and_tells_how_to_go_on(rows, tokenizer, tmp_path):
    out = tmp_path / "model"
    command = [sys.executable, "-m", "smolchat_fast", "pretrain", str(rows), "--out", str(out)]
    command += ["--tokenizer", str(tokenizer), "--steps", "100000", "--log-every", "1", "--eval-every", "0"]
    for flag, value in (("preset", "demo"), ("d-model", 16), ("num-heads", 2), ("num-layers", 1)):
        command += [f"--model.{flag}", str(value)]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    metrics = tmp_path / "model.partial" / "metrics.jsonl"
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if metrics.exists() and metrics.read_bytes().count(b"\n") > 5:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == 0
    assert "saved in" in told
    assert shlex.join(["smolchat-fast", *command[3:]]) in told
    assert Checkpoints(tmp_path / "model.partial" / "checkpoints").latest() is not None
