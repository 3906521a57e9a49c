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
from smolchat_fast.stage import FOLDER, file_hash, manifest_path, read_manifest, run_stage


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
    out, calls = tmp_path / "out", []
    first = run_stage("double", out, double(source, Options(), calls), inputs=[source], options=Options())
    again = run_stage("double", out, double(source, Options(), calls), inputs=[source], options=Options())
    assert len(calls) == 1
    assert (first.skipped, again.skipped) == (False, True)
    assert first.report == again.report == {"characters": 2}


@pytest.mark.parametrize("change", ["options", "input"])
def test_an_output_made_otherwise_is_refused_by_name_and_overwritten_on_demand(
    tmp_path: Path, source: Path, change: str
) -> None:
    out, options = tmp_path / "out", Options()
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
    out = tmp_path / "out"
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
    out = tmp_path / "out"
    for skipped in (False, True):
        done = run_stage("double", out, double(source, Options()), inputs=[source], overwrite=True)
        assert done.skipped is skipped


def test_somebody_elses_file_is_not_overwritten(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "precious"
    out.write_text("mine")
    with pytest.raises(StageError, match="--overwrite"):
        run_stage("double", out, double(source, Options()), inputs=[source])
    assert out.read_text() == "mine"


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    def work(partial: list[Path]) -> dict[str, int]:
        partial[0].write_text("half")
        raise OSError(28, "No space left on device", str(partial[0]))

    with pytest.raises(OSError, match="No space left"):
        run_stage("double", tmp_path / "out", work)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"absent\.txt"):
        run_stage("double", tmp_path / "out", lambda _: {}, inputs=[tmp_path / "absent.txt"])


def test_side_outputs_appear_with_the_main_one(tmp_path: Path) -> None:
    out, side = tmp_path / "out", tmp_path / "elsewhere" / "removed"
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
            run_stage("train", out, work, makes=FOLDER, options=options, resumable=True)
    with pytest.raises(StageError, match=r"was begun with other options or inputs: times \(1 -> 2\)"):
        run_stage("train", out, work, makes=FOLDER, options=Options(2), resumable=True)
    run_stage("train", out, work, makes=FOLDER, options=Options(2), resumable=True, overwrite=True)
    assert seen == [[], ["step-1"], []]
    assert sorted(p.name for p in out.iterdir()) == ["manifest.json", "step-3"]


def test_the_manifest_says_what_was_read_and_made(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
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

        stage.run_stage("x", out, work, also=[out.with_name("side")])
    """)
    out = tmp_path / "out"
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
        "out",
        "out.manifest.json",
        "side",
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
        run_stage("train", out, work, makes=FOLDER, resumable=True, scratch=["checkpoints"])
    assert read_manifest(out) is None
    run_stage("train", out, work, makes=FOLDER, resumable=True, scratch=["checkpoints"])
    assert seen == [False, True], "the second run goes on with the work of the first"
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "weights"]
    assert (read_manifest(out) or {})["outputs"] == [{"name": "model", "hash": file_hash(out)}]
    (out / "checkpoints").mkdir()  # as a kill right after it was published leaves it
    assert run_stage("train", out, work, makes=FOLDER, resumable=True, scratch=["checkpoints"]).skipped
    assert not (out / "checkpoints").exists()


def test_a_disk_that_is_full_at_the_end_leaves_the_old_output_and_nothing_else(tmp_path: Path) -> None:
    out, side = tmp_path / "out", tmp_path / "side"

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
        "out",
        "out.manifest.json",
        "side",
    ]
    assert run_stage("x", out, write("new", ""), also=[side], options=Options(1)).skipped


def test_an_output_of_another_stage_is_refused_by_its_name(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    run_stage("double", out, double(source, Options()), inputs=[source], options=Options())
    with pytest.raises(StageError, match=r"stage \(double -> copy\)\. Use --overwrite"):
        run_stage("copy", out, double(source, Options(1)), inputs=[source])


@pytest.mark.parametrize("kept", ["named before", "asked for later"])
def test_a_further_output_that_is_missing_is_made(tmp_path: Path, kept: str) -> None:
    out, side = tmp_path / "out", tmp_path / "side"

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
    out, side = tmp_path / "out", tmp_path / "precious"

    def work(partial: list[Path]) -> dict[str, int]:
        for path in partial:
            path.write_text("rows")
        return {}

    if made:
        run_stage("drop", out, work)
    side.write_text("mine")
    with pytest.raises(StageError, match=r"precious exists .*--overwrite"):
        run_stage("drop", out, work, also=[side])
    assert side.read_text() == "mine"
    run_stage("drop", out, work, also=[side], overwrite=True)
    assert side.read_text() == "rows"


def write(partial: list[Path]) -> dict[str, int]:
    """Work of a stage that makes a file or a folder, whichever its partial path is."""
    for path in partial:
        (path / "made" if path.is_dir() else path).write_text("made")
    return {}


@pytest.mark.parametrize("place", ["the input", "a folder that holds it", "a folder that is read"])
@pytest.mark.parametrize("further", [False, True])
def test_what_is_read_is_never_overwritten(tmp_path: Path, place: str, further: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    source = folder / "one"
    source.write_text("mine")
    inputs = [folder] if place == "a folder that is read" else [source]
    out = {"the input": source, "a folder that holds it": folder}.get(place, folder / "two")
    outs = {"out": tmp_path / "elsewhere", "also": [out]} if further else {"out": out}
    with pytest.raises(StageError, match="would take the place of") as refused:
        run_stage("x", work=write, inputs=inputs, overwrite=True, **outs)
    assert "--overwrite" not in str(refused.value)
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert source.read_text() == "mine"


def test_a_file_of_another_folder_is_not_taken_for_what_was_made(tmp_path: Path, source: Path) -> None:
    out, other = tmp_path / "here" / "out", tmp_path / "there" / "out"
    run_stage("x", out, write, inputs=[source])
    other.parent.mkdir()
    other.write_text("precious")
    for _ in range(2):  # with `out` there, and without it
        with pytest.raises(StageError, match="there/out exists but was not finished by this program"):
            run_stage("x", out, write, inputs=[source], also=[other])
        assert other.read_text() == "precious"
        out.unlink(missing_ok=True)
    run_stage("x", out, write, inputs=[source], also=[other], overwrite=True)
    assert run_stage("x", out, write, inputs=[source], also=[other]).skipped


def test_an_input_is_known_under_another_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    source, link = tmp_path / "data" / "one", tmp_path / "link"
    source.write_text("mine")
    link.symlink_to(source)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match="would take the place of"):
        run_stage("x", Path("data/../data/one"), write, inputs=[link], overwrite=True)
    assert source.read_text() == "mine"


def test_what_goes_on_in_a_partial_folder_is_no_input_of_its_stage(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.partial" / "checkpoints" / "step-1"
    checkpoint.mkdir(parents=True)
    with pytest.raises(StageError, match="would take the place of"):
        run_stage("x", tmp_path / "model", write, makes=FOLDER, inputs=[checkpoint], overwrite=True)
    assert checkpoint.exists()


@pytest.mark.parametrize("name", ["out", "out.partial"])
@pytest.mark.parametrize("makes", [FOLDER, (".parquet",)])
def test_a_folder_of_somebody_else_is_never_overwritten(
    tmp_path: Path, name: str, makes: tuple[str, ...]
) -> None:
    notes = tmp_path / name / "notes"
    notes.parent.mkdir()
    notes.write_text("mine")
    (tmp_path / name / "manifest.json").write_text('{"name": "of a web page"}')
    with pytest.raises(StageError, match="folder") as refused:
        run_stage("x", tmp_path / "out", write, makes=makes, overwrite=True)
    assert "--overwrite" not in str(refused.value)
    assert notes.read_text() == "mine"


def test_an_empty_folder_and_one_of_ours_are_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for times in (1, 2):
        run_stage("x", out, write, makes=FOLDER, options=Options(times), overwrite=True)
        assert sorted(path.name for path in out.iterdir()) == ["made", "manifest.json"]
        (out / "README.md").write_text("put beside by a user")


@pytest.mark.parametrize("makes", [FOLDER, (".parquet",)])
def test_a_folder_takes_no_place_of_a_file_and_a_file_none_of_a_folder(
    tmp_path: Path, makes: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    run_stage("x", out, write, makes=(".parquet",) if makes == FOLDER else FOLDER)
    with pytest.raises(StageError, match=r"is a (file|folder), and a (file|folder) is made"):
        run_stage("x", out, write, makes=makes, overwrite=True)
    assert read_manifest(out) is not None


def test_a_folder_that_was_half_removed_by_a_killed_run_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run_stage("x", out, write, makes=FOLDER, options=Options(1))

    def kill(path: Path, **_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr("shutil.rmtree", kill)
        with pytest.raises(KeyboardInterrupt):
            run_stage("x", out, write, makes=FOLDER, options=Options(2), overwrite=True)
    assert read_manifest(out) is None
    run_stage("x", out, write, makes=FOLDER, options=Options(2), overwrite=True)
    assert sorted(path.name for path in out.iterdir()) == ["made", "manifest.json"]


@pytest.mark.parametrize("further", [False, True])
def test_a_name_that_says_another_format_is_refused(tmp_path: Path, further: bool) -> None:
    named = tmp_path / "rows.csv"
    outs = {"out": tmp_path / "out", "also": [named]} if further else {"out": named}
    with pytest.raises(ValueError, match=r"rows\.csv: cannot be written in this format; name it \.parquet"):
        run_stage("x", work=write, **outs)
    assert list(tmp_path.iterdir()) == []
