"""`docs/figures.md`: what the runs printed last, one section for each, with machine and date."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

FIGURES = Path(__file__).resolve().parents[2] / "docs" / "figures.md"
HEAD = """# Figures

Written by `python -m benches.peers`, which compares results before it takes times. `python -m benches.peers NAME`
runs one section again and leaves the others as they are.
"""
SECTION = re.compile(r"^## (\S+).*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def save(name: str, report: str, path: Path = FIGURES) -> None:
    """Put a report in the place of the earlier one of that name; sections are sorted by name.

    Args:
        name: One word, the name of the run.
        report: Lines for people; tables in Markdown.
        path: The page.
    """
    found = path.read_text("utf-8") if path.exists() else ""
    sections = {match[1]: match[0].strip() for match in SECTION.finditer(found)}
    sections[name] = f"## {name}\n\nMeasured on {date.today().isoformat()}.\n\n{_as_markdown(report)}"
    text = "\n\n".join([HEAD.strip(), *(sections[name] for name in sorted(sections))])
    path.write_text(text + "\n", "utf-8")


def _as_markdown(report: str) -> str:
    """Lines stay lines, and a table stands apart from the text around it."""
    lines: list[str] = []
    for line in report.strip().splitlines():
        is_row = line.startswith("|")
        if lines and lines[-1] and is_row != lines[-1].startswith("|"):
            lines.append("")
        elif lines and lines[-1] and line and not is_row:
            lines[-1] += "  "  # a line break in Markdown
        lines.append(line)
    return "\n".join(lines)
