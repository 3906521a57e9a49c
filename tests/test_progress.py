"""One line says what is done, how fast, and how long it takes."""

from __future__ import annotations

import io

from smolchat_fast import progress


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
