"""A stage's output is whole or absent, and is made once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from disk import disk_of
from smolchat_fast.errors import StageError
from smolchat_fast.stage import file_hash, manifest_path, read_manifest, run_stage


@dataclass(frozen=True)
class Options:
    times: int = 2


def double(source: Path, options: Options, calls: list[int] | None = None):
    def work(partial: list[Path]) -> dict[str, int]:
        if calls is not None:
            calls.append(1)
        partial[0].write_text(source.read_text() * options.times)
        return {"characters": len(source.read_text())}

    return work


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.txt"
    path.write_text("你好")
    return path


def test_a_finished_stage_is_not_run_again_and_gives_the_same_report(tmp_path: Path, source: Path) -> None:
    out, calls = tmp_path / "out.txt", []
    first = run_stage("double", out, double(source, Options(), calls), inputs=[source], options=Options())
    again = run_stage("double", out, double(source, Options(), calls), inputs=[source], options=Options())
    assert len(calls) == 1
    assert (first.skipped, again.skipped) == (False, True)
    assert first.report == again.report == {"characters": 2}


@pytest.mark.parametrize("change", ["options", "input"])
def test_an_output_made_otherwise_is_refused_by_name_and_overwritten_on_demand(
    tmp_path: Path, source: Path, change: str
) -> None:
    out, options = tmp_path / "out.txt", Options()
    run_stage("double", out, double(source, options), inputs=[source], options=options)
    if change == "options":
        options = Options(times=3)
    else:
        source.write_text("再见")
    expected = r"times \(2 -> 3\)" if change == "options" else r"inputs \(in.txt\)"
    with pytest.raises(StageError, match=expected):
        run_stage("double", out, double(source, options), inputs=[source], options=options)
    assert out.read_text() == "你好你好"
    done = run_stage("double", out, double(source, options), inputs=[source], options=options, overwrite=True)
    assert not done.skipped
    assert out.read_text() == source.read_text() * options.times


def test_a_manifest_with_hashes_of_another_kind_counts_as_other_inputs(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.txt"
    run_stage("double", out, double(source, Options()), inputs=[source])
    path = manifest_path(out)
    path.write_text(path.read_text("utf-8").replace('"hash"', '"sha256"'), "utf-8")
    with pytest.raises(StageError, match=r"inputs \(in.txt\).*--overwrite"):
        run_stage("double", out, double(source, Options()), inputs=[source])


@pytest.mark.parametrize("names", ["ba", "aab", "a"])
def test_inputs_in_another_order_or_number_are_other_inputs(tmp_path: Path, names: str) -> None:
    files = {name: tmp_path / name for name in "ab"}
    for name, path in files.items():
        path.write_text(name)

    def join(names: str) -> bool:
        inputs = [files[name] for name in names]

        def work(partial: list[Path]) -> dict[str, int]:
            partial[0].write_text("".join(path.read_text() for path in inputs))
            return {}

        return run_stage("join", tmp_path / "out", work, inputs=inputs).skipped

    assert not join("ab")
    assert join("ab")
    with pytest.raises(
        StageError, match=r"inputs \(b\)" if names == "a" else r"inputs \(their number or order\)"
    ):
        join(names)


def test_overwrite_keeps_what_was_made_the_same_way(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.txt"
    for skipped in (False, True):
        done = run_stage("double", out, double(source, Options()), inputs=[source], overwrite=True)
        assert done.skipped is skipped


def test_somebody_elses_file_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "precious.txt"
    out.write_text("mine")
    with pytest.raises(StageError, match="--overwrite"):
        run_stage("double", out, double(source, Options()), inputs=[source])
    assert out.read_text() == "mine"


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    def work(partial: list[Path]) -> dict[str, int]:
        partial[0].write_text("half")
        raise OSError(28, "No space left on device", str(partial[0]))

    with pytest.raises(OSError, match="No space left"):
        run_stage("double", tmp_path / "out.txt", work)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        run_stage("double", tmp_path / "out", lambda _: {}, inputs=[tmp_path / "absent.txt"])


def test_side_outputs_appear_with_the_main_one(tmp_path: Path) -> None:
    out, side = tmp_path / "out.txt", tmp_path / "elsewhere" / "removed.txt"
    side.parent.mkdir()

    def work(partial: list[Path]) -> dict[str, int]:
        for path in partial:
            path.write_text("rows")
        return {}

    run_stage("drop", out, work, also=[side])
    assert out.read_text() == side.read_text() == "rows"


def test_a_resumable_stage_finds_what_it_had_begun_and_throws_it_away_only_when_told(tmp_path: Path) -> None:
    out, seen = tmp_path / "model", []

    def work(partial: list[Path]) -> dict[str, int]:
        seen.append(sorted(p.name for p in partial[0].iterdir() if p.name.startswith("step")))
        (partial[0] / f"step-{len(seen)}").touch()
        if len(seen) < 3:
            raise KeyboardInterrupt
        return {}

    for options in (Options(1), Options(1)):
        with pytest.raises(KeyboardInterrupt):
            run_stage("train", out, work, options=options, resumable=True)
    with pytest.raises(StageError, match=r"was begun with other options or inputs: times \(1 -> 2\)"):
        run_stage("train", out, work, options=Options(2), resumable=True)
    run_stage("train", out, work, options=Options(2), resumable=True, overwrite=True)
    assert seen == [[], ["step-1"], []]
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "step-3"]


def test_the_manifest_says_what_was_read_and_made(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.txt"
    run_stage("double", out, double(source, Options()), inputs=[source], options=Options())
    manifest = json.loads(manifest_path(out).read_text())
    assert manifest == read_manifest(out)
    assert manifest["stage"] == "double"
    assert manifest["options"] == {"times": 2}
    assert manifest["inputs"] == [{"name": "in.txt", "hash": file_hash(source)}]
    assert manifest["peak_mb"] > 0


def test_a_stage_killed_at_any_write_leaves_the_old_output_or_the_new_one(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        from smolchat_fast import stage

        out, stop_at = Path(sys.argv[1]), int(sys.argv[2])
        calls = 0

        def counted(function):
            def call(*args, **kwargs):
                global calls
                calls += 1
                if calls == stop_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)
            return call

        Path.replace = counted(Path.replace)
        stage._remove = counted(stage._remove)

        def work(partial):
            for path in partial:
                path.write_text("whole")
            return {}

        stage.run_stage("x", out, work, also=[out.with_name("side.txt")])
    """)
    out = tmp_path / "out.txt"
    for stop_at in range(1, 15):
        run = subprocess.run(
            [sys.executable, "-c", script, str(out), str(stop_at)],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode == 0:
            break
        assert run.returncode == -signal.SIGKILL, run.stderr
        assert not out.exists() or out.read_text() == "whole"
    assert read_manifest(out) is not None
    assert out.read_text() == "whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.txt",
        "out.txt.manifest.json",
        "side.txt",
    ]


def test_a_disk_that_is_full_when_a_training_is_published_costs_nothing(tmp_path: Path) -> None:
    out, seen = tmp_path / "model", []

    def work(partial: list[Path]) -> dict[str, str]:
        seen.append((partial[0] / "checkpoints" / "step-1").exists())
        (partial[0] / "checkpoints").mkdir(exist_ok=True)
        (partial[0] / "checkpoints" / "step-1").touch()
        (partial[0] / "weights").touch()
        return {"told": "long" * 1000}

    with disk_of(2000), pytest.raises(OSError, match=r"File too large.*manifest\.json"):
        run_stage("train", out, work, resumable=True, scratch=["checkpoints"])
    assert read_manifest(out) is None
    run_stage("train", out, work, resumable=True, scratch=["checkpoints"])
    assert seen == [False, True], "the second run goes on with the work of the first"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "weights"]
    assert (read_manifest(out) or {})["outputs"] == [{"name": "model", "hash": file_hash(out)}]
    (out / "checkpoints").mkdir()  # as a kill right after it was published leaves it
    assert run_stage("train", out, work, resumable=True, scratch=["checkpoints"]).skipped
    assert not (out / "checkpoints").exists()


def test_a_disk_that_is_full_at_the_end_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    out, side = tmp_path / "out.txt", tmp_path / "side.txt"

    def write(text: str, told: str):
        def work(partial: list[Path]) -> dict[str, str]:
            for path in partial:
                path.write_text(text)
            return {"told": told}

        return work

    run_stage("x", out, write("old", ""), also=[side], options=Options(1))
    with disk_of(2000), pytest.raises(OSError, match="File too large"):
        run_stage("x", out, write("new", "long" * 1000), also=[side], options=Options(2), overwrite=True)
    assert out.read_text() == side.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.txt",
        "out.txt.manifest.json",
        "side.txt",
    ]
    assert run_stage("x", out, write("new", ""), also=[side], options=Options(1)).skipped


def test_an_output_of_another_stage_is_refused_by_its_name(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out.txt"
    run_stage("double", out, double(source, Options()), inputs=[source], options=Options())
    with pytest.raises(StageError, match=r"stage \(double -> copy\)\. Use --overwrite"):
        run_stage("copy", out, double(source, Options(1)), inputs=[source])


@pytest.mark.parametrize("kept", ["named before", "asked for later"])
def test_a_further_output_that_is_missing_is_made(tmp_path: Path, kept: str) -> None:
    out, side = tmp_path / "out.txt", tmp_path / "side.txt"

    def work(partial: list[Path]) -> dict[str, int]:
        for path in partial:
            path.write_text("rows")
        return {}

    run_stage("drop", out, work, also=[side] if kept == "named before" else [])
    side.unlink(missing_ok=True)
    assert not run_stage("drop", out, work, also=[side]).skipped
    assert side.read_text() == "rows"
    assert run_stage("drop", out, work, also=[side]).skipped
    assert run_stage("drop", out, work).skipped, "who does not ask for it does not wait for it"


@pytest.mark.parametrize("made", [False, True])
def test_somebody_elses_file_is_not_overwritten_by_a_further_output(tmp_path: Path, made: bool) -> None:
    out, side = tmp_path / "out.txt", tmp_path / "precious.txt"

    def work(partial: list[Path]) -> dict[str, int]:
        for path in partial:
            path.write_text("rows")
        return {}

    if made:
        run_stage("drop", out, work)
    side.write_text("mine")
    with pytest.raises(StageError, match=r"precious\.txt exists .*--overwrite"):
        run_stage("drop", out, work, also=[side])
    assert side.read_text() == "mine"
    run_stage("drop", out, work, also=[side], overwrite=True)
    assert side.read_text() == "rows"
