"""What goes wrong with files, for each stage of rows: a clear error or the right rows, and never half an output."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disk import disk_of
from smolchat_fast.clean import clean_files
from smolchat_fast.dedup import deduplicate_files
from smolchat_fast.errors import DataError
from smolchat_fast.sources import read_files
from smolchat_fast.split import SplitOptions, split_files
from smolchat_fast.stats import stats_files

Stage = Callable[[list[Path], Path], Any]


def dedup(inputs: list[Path], out: Path) -> Any:
    beside = {"removed": out.with_name("removed.parquet"), "grown": out.with_name("grown.index")}
    return deduplicate_files(inputs, out, **beside)


def clean(inputs: list[Path], out: Path) -> Any:
    return clean_files(inputs, out, removed=out.with_name("dropped.parquet"))


def split(inputs: list[Path], out: Path) -> Any:
    return split_files(inputs, out, SplitOptions(parts=("valid=0.3", "test=0")))


MIDWAY = "midway"


def stop_midway(inputs: list[Path], out: Path) -> None:
    """`stats` writes in one go at its end: this one says that it is under way and waits for its end."""

    def wait(_phase: str, _done: int, _total: int) -> None:
        out.with_name(MIDWAY).touch()
        time.sleep(60)

    stats_files(inputs, out, progress=wait)


STAGES: dict[str, Stage] = {
    "read": read_files,
    "clean": clean,
    "dedup": dedup,
    "split": split,
    "stats": stats_files,
}
each_stage = pytest.mark.parametrize("stage", STAGES)


def pairs(prompts: list[str], responses: list[str]) -> pa.Table:
    return pa.table({"prompt": prompts, "response": responses})


@cache
def han(count: int, seed: int) -> str:
    """Chinese characters at random: nothing that a rule would change or drop."""
    picks = random.Random(seed).choices(range(0x4E00, 0x9000), k=count)
    return "".join(map(chr, picks))


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50,000 rows that do not compress well, some of them twice."""
    texts = [han(60, seed) for seed in range(2_000)]
    prompts = [f"第{n}题{texts[n % 2_000]}" for n in range(50_000)]
    path = tmp_path_factory.mktemp("many") / "many.parquet"
    pq.write_table(pairs(prompts, prompts[::-1]), path, compression="none")
    return path


@pytest.fixture
def out(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """An output in a folder of its own, which shows what is left behind."""
    folder = tmp_path / "made"
    folder.mkdir()
    return folder / ("out.json" if request.node.callspec.params.get("stage") == "stats" else "out.parquet")


def left(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


@each_stage
@pytest.mark.parametrize("room", [500, 1 << 21])
def test_a_full_disk_is_an_error_that_names_the_file_and_leaves_nothing(
    stage: str, room: int, many: Path, out: Path
) -> None:
    if stage == "stats" and room > 500:
        pytest.skip("its output is small")
    with disk_of(room), pytest.raises(OSError, match=r"File too large.*made/") as error:
        STAGES[stage]([many], out)
    assert not isinstance(error.value, ValueError)
    assert left(out) == []


@each_stage
def test_killed_in_the_middle_it_leaves_no_output_and_the_next_run_makes_it(
    stage: str, many: Path, out: Path
) -> None:
    call = "stop_midway" if stage == "stats" else f"STAGES[{stage!r}]"
    script = f"from faults.test_faults import *; {call}([Path({str(many)!r})], Path({str(out)!r}))"
    tests = Path(__file__).parents[1]
    begun = MIDWAY if stage == "stats" else "out.parquet.partial"
    with subprocess.Popen([sys.executable, "-c", script], cwd=tests) as child:
        while child.poll() is None and not (out.parent / begun).exists():
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    report = STAGES[stage]([many], out)
    assert (report.rows if stage in {"read", "stats"} else report.rows_in) == 50_000
    assert out.exists()
    assert not [name for name in left(out) if "partial" in name or "draft" in name]


@each_stage
@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_truncated_parquet_file_is_named(stage: str, share: float, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "cut.parquet"
    pq.write_table(pairs(["问"] * 50, [han(40, n) for n in range(50)]), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"cut\.parquet"):
        STAGES[stage]([path], out)
    assert left(out) == []


def test_damage_anywhere_in_a_parquet_file_is_an_error_at_most(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    whole, path = tmp_path / "whole.parquet", tmp_path / "damaged.parquet"
    pq.write_table(pairs(["问"] * 5, [han(40, n) for n in range(5)]), whole, compression="none")
    content, refused = whole.read_bytes(), 0
    for at in range(4, len(content)):
        path.write_bytes(content[:at] + b"\xff" + content[at + 1 :])
        try:
            stats_files([path])
        except DataError as error:
            assert "damaged.parquet" in str(error)  # noqa: PT017
            refused += 1
        except ValueError as error:
            # The name of a column, or its type, is another one now.
            assert "column" in str(error)  # noqa: PT017
    assert refused > 10
    assert capfd.readouterr().err == "", "a panic of the Parquet reader is told as the damage that it is"


@each_stage
def test_bytes_that_are_no_utf8_are_told_with_file_and_place(stage: str, tmp_path: Path, out: Path) -> None:
    good = '{"prompt": "问", "response": "答"}\n'.encode()
    lines = tmp_path / "bad.jsonl"
    lines.write_bytes(good * 3 + b'{"prompt": "\xe5\xe5", "response": "6"}\n' + good)
    with pytest.raises(DataError, match=r"bad\.jsonl, line 4: invalid bytes"):
        STAGES[stage]([lines], out)
    # Reading goes on behind it; the other stages take no file that is not whole.
    assert out.exists() is (stage == "read")


@each_stage
def test_a_parquet_column_that_is_no_utf8_is_named(stage: str, tmp_path: Path, out: Path) -> None:
    binary = pa.array([b"\xe9\x97\xae", b"\xe5\xe5\xff"], pa.binary())
    text = pa.StringArray.from_buffers(2, binary.buffers()[1], binary.buffers()[2])
    path = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"prompt": text, "response": ["答", "答"]}), path)
    with pytest.raises(DataError, match=r"bad\.parquet"):
        STAGES[stage]([path], out)
    assert left(out) == []


def rows_left(stage: str, report: Any) -> int:
    """Rows that the stage wrote, or counted, in all of its outputs."""
    if stage == "split":
        return report.train_rows + sum(report.part_rows.values())
    return report.rows if stage == "stats" else report.rows_out


@each_stage
@pytest.mark.parametrize(
    ("make", "kept"),
    [
        (lambda: pairs(["天为什么是蓝的？"], ["因为空气散射蓝光。"]).slice(1), 0),
        (lambda: pairs(["天为什么是蓝的？"], ["因为空气散射蓝光。"]), 1),
        (lambda: pairs(["请写一篇长文。"], [han(3_500_000, 1)]), 1),  # 10 MB
        (lambda: pairs(["天为什么是蓝的？"] * 10_000, ["因为空气散射蓝光。"] * 10_000), 10_000),
    ],
    ids=["no rows", "one row", "a row of 10 MB", "equal rows"],
)
def test_odd_numbers_and_sizes_of_rows_are_no_problem(
    stage: str, make: Callable[[], pa.Table], kept: int, tmp_path: Path, out: Path
) -> None:
    rows = make()
    path = tmp_path / "rows.parquet"
    pq.write_table(rows, path)
    report = STAGES[stage]([path], out)
    assert rows_left(stage, report) == (min(kept, 1) if stage == "dedup" else kept)
    if stage == "stats":
        assert report.duplicate_rows == max(0, kept - 1)
        return
    written = pq.read_table(out)
    if stage == "split":
        assert sorted(report.part_rows.values()) == [0, 0] or report.train_rows == 0, "on one side"
        written = pa.concat_tables([written, pq.read_table(out.with_name("valid.parquet"))])
    assert set(written["response"].to_pylist()) == set(rows["response"].to_pylist())


@each_stage
def test_an_empty_file_has_no_rows_and_no_file_is_an_error(stage: str, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "empty.jsonl"
    path.touch()
    assert rows_left(stage, STAGES[stage]([path], out)) == 0
    with pytest.raises(DataError, match="no input files"):
        STAGES[stage]([], out.parent / "other" / out.name)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt"])
def test_a_line_of_10_mb_is_read_as_it_is(kind: str, tmp_path: Path, out: Path) -> None:
    text = han(3_500_000, 1)
    line = {
        "jsonl": f'{{"prompt": "问", "response": "{text}"}}',
        "csv": f'prompt,response\n问,"{text}"',
        "txt": text,
    }
    path = tmp_path / f"rows.{kind}"
    path.write_text(line[kind] + "\n", "utf-8")
    assert read_files([path], out).rows == 1
    assert pq.read_table(out)["text" if kind == "txt" else "response"].to_pylist() == [text]


@pytest.mark.parametrize("stage", ["clean", "dedup", "split"])
def test_a_further_output_that_is_gone_is_made_again(stage: str, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pairs(["问"] * 50, [han(40, n) for n in range(50)]), path)
    report = STAGES[stage]([path], out)
    files = left(out)
    for name in files:
        if not name.startswith("out.parquet"):
            out.with_name(name).unlink()
    assert STAGES[stage]([path], out) == report
    assert left(out) == files


@pytest.mark.parametrize("make", [clean_files, deduplicate_files])
def test_removed_rows_that_are_asked_for_later_are_written(
    make: Callable[..., Any], tmp_path: Path, out: Path
) -> None:
    path, removed = tmp_path / "rows.parquet", out.with_name("removed.parquet")
    pq.write_table(pairs(["问题", "问题"], ["回答", "回答"]), path)
    assert make([path], out) == make([path], out, removed=removed)
    assert removed.exists()
