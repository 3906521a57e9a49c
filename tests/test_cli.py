"""The command line as a user meets it: through the real program."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast import cli
from smolchat_fast.cli import COMMANDS
from smolchat_fast.recipe import RECIPES


def smolchat(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smolchat_fast", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        check=False,
    )


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.parquet"
    prompts = [f"第{i}个问题是什么？" for i in range(200)]
    table = pa.table({"prompt": prompts, "response": ["答案。"] * 200, "source": ["test"] * 200})
    pq.write_table(table, path)
    return path


def test_without_arguments_it_says_what_to_type_first() -> None:
    run = smolchat()
    assert run.returncode == 0
    assert "First:" in run.stdout
    recipe = re.search(r"smolchat-fast run (\S+)", run.stdout)
    assert recipe is not None
    assert (RECIPES / f"{recipe[1]}.toml").is_file(), "it works in any folder"
    assert all(name in run.stdout for name in COMMANDS)


def test_a_command_writes_its_output_and_a_second_run_skips_it(rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "train.parquet"
    run = smolchat("split", rows, "--out", out, "--parts", "valid=0.2", "test=7")
    assert run.returncode == 0, run.stderr
    train, valid, test = (pq.read_table(out.with_stem(name)) for name in ("train", "valid", "test"))
    assert train.num_rows + valid.num_rows == 193
    assert test.num_rows == 7
    assert 10 < valid.num_rows < 80
    assert "was made before" not in run.stderr
    before = out.stat().st_mtime_ns
    again = smolchat("split", rows, "--out", out, "--parts", "valid=0.2", "test=7")
    assert again.stdout == run.stdout
    assert re.search(r"train\.parquet was made before, in \d+\.\d s; nothing was done", again.stderr)
    assert out.stat().st_mtime_ns == before
    quiet = smolchat("split", rows, "--out", out, "--parts", "valid=0.2", "test=7", "--quiet")
    assert quiet.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["spilt", "x"], "no command is called 'spilt'"),
        (["split", "absent.parquet", "--out", "o.parquet"], "absent.parquet: No such file"),
        (["split", "ROWS", "--out", "o.parquet", "--parts", "valid=1.5"], "option parts = valid=1.5"),
        (["split", "ROWS", "--out", "o.parquet", "--columns", "question"], 'column "question" not found'),
        (["split", "ROWS", "--out", "o.parquet", "--threads", "0"], "option threads = 0"),
        (["split", "ROWS", "--out", "o.parquet", "--seed", "many"], "--seed"),
        (["split", "BROKEN", "--out", "o.parquet"], "broken.parquet"),
    ],
)
def test_wrong_input_ends_with_one_clear_error(
    arguments: list[str], told: str, rows: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(rows.read_bytes()[:-100])
    names = {"ROWS": str(rows), "BROKEN": str(broken)}
    run = smolchat(*[names.get(a, a) for a in arguments], cwd=tmp_path)
    assert run.returncode == 2
    assert told in run.stderr
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "o.parquet").exists()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    run = smolchat(*name.split(), "--help")
    assert run.returncode == 0, run.stderr
    assert "--out" in run.stdout or name in {"chat", "serve", "sources list", "sources show"}


def test_the_data_library_needs_no_torch_and_starts_fast() -> None:
    script = (
        "import sys, time; began = time.perf_counter(); import smolchat_fast.dedup, smolchat_fast.clean, "
        "smolchat_fast.words, smolchat_fast.split, smolchat_fast.sources; "
        "import json; print(json.dumps([time.perf_counter() - began, 'torch' in sys.modules, "
        "'transformers' in sys.modules, 'numpy' in sys.modules and False]))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    seconds, *imported = json.loads(run.stdout)
    assert not any(imported)
    assert seconds < 1


def test_a_stopped_run_names_the_command_that_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop() -> None:
        raise KeyboardInterrupt("stopped after 3 steps; the same command goes on:")

    monkeypatch.setattr(cli, "parse", lambda name, rest: stop)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "my recipe.toml"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith("goes on:\n  smolchat-fast run 'my recipe.toml'\n")
