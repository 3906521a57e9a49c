"""What the docs say is what the program does."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from smolchat_fast.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]


def test_the_readme_example_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert code is not None
    exec(code.group(1), {})
    printed = re.findall(r"# (\[.*\])$", code.group(1), re.MULTILINE)
    assert capsys.readouterr().out.split("\n")[:-1] == printed


def test_the_readme_names_only_commands_that_exist() -> None:
    table = re.findall(r"^\| (`[a-z`, ]+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`([a-z]+)", cell)}
    assert named <= COMMANDS.keys()
    assert {"clean", "dedup", "pretrain", "serve"} <= named


@pytest.mark.slow
def test_the_page_of_commands_is_the_real_help() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "commands.py"))["page"]()
    assert page == (ROOT / "docs" / "commands.md").read_text("utf-8"), "run `make docs`"


def test_each_promise_of_serving_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "serving.md").read_text("utf-8")
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", page.partition("\n| promise | test |\n")[2], re.MULTILINE)[
        1:
    ]
    assert len(rows) > 100
    for promise, test in rows:
        if test.startswith("none"):
            continue
        named = re.fullmatch(r"`([a-z0-9_/]+\.py)::(test_\w+)`", test)
        assert named, promise
        path = ROOT / "tests" / "serve" / named[1]
        assert re.search(rf"^def {named[2]}\(", path.read_text("utf-8"), re.MULTILINE), promise
