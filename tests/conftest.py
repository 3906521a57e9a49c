"""Fixtures that every test file may use."""

from __future__ import annotations

import os
import signal
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real Chinese data; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SMOLCHAT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here (SMOLCHAT_DATA)")
    return folder


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainers of transformers see two GPUs, and work on what there is."""
    from transformers import TrainingArguments

    find_device = TrainingArguments._setup_devices.func

    def see_two(arguments: TrainingArguments) -> Any:
        device = find_device(arguments)
        arguments._n_gpu = 2
        return device

    seen = cached_property(see_two)
    seen.__set_name__(TrainingArguments, "_setup_devices")
    monkeypatch.setattr(TrainingArguments, "_setup_devices", seen)


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl+C ignored; the tests of it need Python's own handler."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
