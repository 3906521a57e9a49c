"""Curves of one run and of several, drawn from what the runs wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from smolchat_fast.errors import DataError
from smolchat_fast.train.curves import plot_files
from smolchat_fast.train.lines import find_metrics, read_lines, smooth


def write_run(folder: Path, start: float) -> Path:
    folder.mkdir(parents=True)
    lines: list[dict] = [
        {"step": i, "loss": start / i, "lr": 0.01, "tokens_per_s": 100 + i, "seconds": i} for i in range(1, 9)
    ]
    sample = {"prompt": "<b>你好</b>", "answer": "你好！", "expected": "你好。"}
    lines.append({"step": 8, "valid_loss": start / 7, "bleu": 12.5, "exact": 0.25, "samples": [sample]})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return folder


def test_runs_are_drawn_side_by_side_under_names_that_tell_them_apart(tmp_path):
    runs = [write_run(tmp_path / name / "model", start) for name, start in (("a", 3.0), ("b", 4.0))]
    curves = plot_files(runs, tmp_path / "both")
    assert curves.png.read_bytes()[:4] == b"\x89PNG"
    page = curves.page.read_text("utf-8")
    assert "a/model" in page
    assert "b/model" in page
    assert "&lt;b&gt;你好" in page
    assert "<svg" in page
    assert "http://" not in page.split("<svg")[0], "opens without a network"


def test_a_run_that_is_under_way_is_found(tmp_path):
    write_run(tmp_path / "model.partial", 3.0)
    assert find_metrics(tmp_path / "model") == tmp_path / "model.partial" / "metrics.jsonl"
    with pytest.raises(FileNotFoundError, match=r"no metrics.jsonl here, nor in other.partial"):
        find_metrics(tmp_path / "other")


def test_a_line_that_is_none_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2}\nnonsense\n')
    with pytest.raises(DataError, match=r"metrics.jsonl, line 2"):
        read_lines(path)


def test_a_smoothed_loss_begins_at_the_first_one_and_keeps_a_constant():
    assert smooth([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    assert smooth([4.0, 0.0])[0] == 4.0
