"""Writes commands.md: the overview and the real --help of every command."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PAGE = Path(__file__).with_name("commands.md")


def shown(*arguments: str) -> str:
    """What a command prints on a terminal of 100 columns, without colours or frames."""
    run = subprocess.run(
        [sys.executable, "-m", "smolchat_fast", *arguments],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100", "NO_COLOR": "1"},
    )
    return "\n".join(line.rstrip() for line in run.stdout.splitlines())


def page() -> str:
    """The whole page."""
    from smolchat_fast.cli import COMMANDS

    parts = ["# Commands", "", "Written by `make docs` from the program itself.", "", "```"]
    parts += [shown(), "```"]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        helps = pool.map(lambda name: shown(*name.split(), "--help"), COMMANDS)
    for name, text in zip(COMMANDS, helps, strict=True):
        parts += ["", f"## {name}", "", "```", text, "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
