"""One line says what is done, how fast, and how long it takes."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast import DataError, progress
from smolchat_fast.passages import cut_passages_files


def test_a_line_tells_share_rate_and_time_left() -> None:
    line = progress.describe("dedup", "verify", 610_000, 1_000_000, 2.0)
    assert line == "dedup  verify  61 %  305.0 k/s  0:01 left"


def test_what_was_done_before_does_not_count_in_the_rate() -> None:
    line = progress.describe("run", "steps", 1_500, 2_000, 10.0, first=1_400)
    assert line == "run  steps  75 %  10/s  0:50 left"


def test_nothing_is_claimed_before_there_is_a_rate() -> None:
    assert progress.describe("clean", "clean", 0, 10, 0.0) == "clean  0 %"


def test_a_log_gets_whole_lines_and_quiet_gets_nothing() -> None:
    log = io.StringIO()
    display = progress.Display("count", log)
    display("count", 1, 10)
    display._shown -= progress.LINE_EVERY_S
    display("count", 5, 10)
    display.close()
    assert log.getvalue().startswith("count  50 %")
    assert log.getvalue().endswith("\n")
    quiet = io.StringIO()
    with progress.shown("count", quiet=True, out=quiet) as shown:
        shown("count", 5, 10)
    assert quiet.getvalue() == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_figures_come_after_the_line_in_a_log_and_in_a_frame_on_a_terminal() -> None:
    texts = ["你好 → 你好！", "[bold]no markup[/bold]"]
    for out in (io.StringIO(), Terminal()):
        display = progress.Display("pretrain", out)
        progress.note(display, {"loss": "3.2100", "lr": "1.00e-02"}, texts)
        display("steps", 1, 10)
        display._shown -= progress.LINE_EVERY_S
        display("steps", 5, 10)
        display.close()
        told = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
        assert "50 %" in told
        assert "loss 3.2100" in told
        assert ("你好 → 你好！" in told) == out.isatty()
        assert ("[bold]no markup[/bold]" in told) == out.isatty()


def test_a_callable_without_figures_does_without() -> None:
    calls: list[tuple[str, int, int]] = []
    progress.note(lambda *call: calls.append(call), {"loss": "1"})
    assert calls == []


def test_a_job_that_fails_before_it_began_tells_no_progress(tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["问"]}), rows)
    with pytest.raises(DataError, match='column "text" not found'):
        cut_passages_files([rows], tmp_path / "out.parquet", progress=lambda *call: calls.append(call))
    assert calls == []
