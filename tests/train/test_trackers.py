"""Trackers get the figures of `metrics.jsonl`, by accelerate's names."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

torch = pytest.importorskip("torch")

from accelerate import tracking  # noqa: E402
from accelerate.tracking import GeneralTracker, LoggerType  # noqa: E402
from small import TINY  # noqa: E402

from smolchat_fast.errors import MissingExtraError  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import TrainOptions, pretrain_files  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402
from smolchat_fast.train.trackers import trackers_for  # noqa: E402

OPTIONS = TrainOptions(
    steps=4, lr=0.01, log_every=2, eval_every=2, eval_answers=0, stream=StreamOptions(batch_rows=8)
)


class Recorder(GeneralTracker):
    """Stands in for a tracker that is not installed, under its name."""

    name = "wandb"
    requires_logging_directory = False
    made: ClassVar[list[Recorder]] = []

    def __init__(self, run_name: str, **settings: Any) -> None:
        super().__init__()
        self.project, self.settings, self.logged, self.ended = run_name, settings, [], False
        Recorder.made.append(self)

    @property
    def tracker(self) -> Recorder:
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, Any], step: int | None = None, **more: Any) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.ended = True


def run(rows: Path, tokenizer: Path, out: Path, *names: str) -> list[dict[str, Any]]:
    options = replace(OPTIONS, trackers=names)
    pretrain_files([rows], out, options, valid=rows, tokenizer=tokenizer, model=TINY, threads=1)
    return read_lines(out / "metrics.jsonl")


def test_a_tracker_gets_every_line_and_the_options(rows, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(tracking, "_available_trackers", [LoggerType.WANDB])
    monkeypatch.setattr(Recorder, "made", [])
    lines = run(rows, tokenizer, tmp_path / "run", "wandb")
    (tracker,) = Recorder.made
    assert tracker.settings["name"] == "run"
    assert tracker.config["lr"] == OPTIONS.lr
    assert tracker.ended
    assert [step for step, _ in tracker.logged] == [line["step"] for line in lines]
    for (_, logged), line in zip(tracker.logged, lines, strict=True):
        assert logged == {name: value for name, value in line.items() if isinstance(value, int | float)}


def test_tensorboard_gets_the_losses(rows, tokenizer, tmp_path):
    lines = run(rows, tokenizer, tmp_path / "run", "tensorboard")
    found = scalars(tmp_path / "run")
    for name in ("loss", "valid_loss", "lr"):
        expected = {line["step"]: line[name] for line in lines if name in line}
        assert found[name] == pytest.approx(expected, rel=1e-6)


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Values by tag and step of the event files in a folder."""
    from tensorboardX.proto.event_pb2 import Event

    found: dict[str, dict[int, float]] = {}
    for path in folder.rglob("events.out.*"):
        data = path.read_bytes()
        while data:
            # A record is its length, a checksum of that, itself, and a checksum of itself.
            (size,) = struct.unpack_from("<Q", data)
            event = Event.FromString(data[12 : 12 + size])
            for value in event.summary.value:
                if value.WhichOneof("value") == "simple_value":
                    found.setdefault(value.tag, {})[event.step] = value.simple_value
            data = data[16 + size :]
    return found


def test_an_unknown_or_missing_tracker_is_named_before_the_run(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="trackers = 'tensorbord'"):
        trackers_for(["tensorbord"], tmp_path)
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(MissingExtraError, match="pip install wandb"):
        trackers_for(["wandb"], tmp_path)
