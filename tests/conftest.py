"""Fixtures that every test file may use."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real Chinese data; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("SMOLCHAT_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real data here (SMOLCHAT_DATA)")
    return folder


def pytest_configure() -> None:
    """A shell starts background jobs with Ctrl+C ignored; the tests of it need Python's own handler."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
