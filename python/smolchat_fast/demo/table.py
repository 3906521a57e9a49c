"""The end of the demo in one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from unicodedata import east_asian_width

from smolchat_fast.evaluate import Card
from smolchat_fast.pipeline import Done, RunReport, first_line
from smolchat_fast.sources.demo.planted import Planted

SETS = {
    "A": "fact and phrasing never stood together",
    "B": "general phrasing never used for that relation",
    "C": "relation's own wording never seen",
    "P": "facts seen only in pre-training",
    "unknown": "cannot be answered, and the model says so",
}


def stages_table(run: RunReport) -> str:
    """Rows in and out, seconds and peak memory of each stage."""
    lines = [["stage", "in", "out", "what happened", "seconds", "peak MiB"]]
    lines += [_stage_line(done) for done in run.stages]
    lines.append(["total", "", "", "", f"{sum(d.seconds for d in run.stages):.1f}", ""])
    return layout(lines, right={1, 2, 4, 5})


def _stage_line(done: Done) -> list[str]:
    rows = [getattr(done.report, name, None) for name in ("rows_in", "rows_out")]
    counts = [f"{count:,}" if isinstance(count, int) else "" for count in rows]
    return [done.name, *counts, _cut(first_line(done.report)), f"{done.seconds:.1f}", f"{done.peak_mb:,.0f}"]


def _cut(text: str, most: int = 76) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def planted_table(planted: Sequence[Planted]) -> str:
    """What was planted in the raw files, and what of it was found."""
    lines = [["set", "planted", "rows", "found", "share"]]
    lines += [[p.set, p.kind, f"{p.planted:,}", f"{p.found:,}", f"{p.share:.3f}"] for p in planted]
    return layout(lines, right={2, 3, 4})


def answers_table(before: Card, after: Card) -> str:
    """Exact match on unseen questions and the preferred style, before and after DPO."""
    lines = [["questions", "n", "before DPO", "after DPO", "what they are"]]
    for name, meaning in SETS.items():
        if name in after.exact:
            old, new = before.exact[name], after.exact[name]
            lines.append([name, f"{new.n}", f"{old.share:.3f}", f"{new.share:.3f}", meaning])
    style = [card.exact["style"].preferred or 0.0 for card in (before, after)]
    meaning = "held-out prompts answered in the preferred style"
    lines.append(["style", f"{after.exact['style'].n}", f"{style[0]:.3f}", f"{style[1]:.3f}", meaning])
    return layout(lines, right={1, 2, 3})


def loss_lines(metrics: Path, lines: int = 8) -> str:
    """The loss curve of a training in a few bars."""
    rows = [json.loads(line) for line in metrics.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row.get("valid_loss") is not None]
    if not rows:
        return ""
    step = max(1, len(rows) // lines)
    shown = [*rows[::step], *([] if (len(rows) - 1) % step == 0 else [rows[-1]])]
    highest = max(row["valid_loss"] for row in shown)
    table = [["step", "valid loss", ""]]
    for row in shown:
        bar = "█" * max(1, round(40 * row["valid_loss"] / highest))
        table.append([f"{row['step']:,}", f"{row['valid_loss']:.3f}", bar])
    return layout(table, right={0, 1})


def layout(lines: Sequence[Sequence[str]], right: Iterable[int] = ()) -> str:
    """Cells in columns, wide characters counted as two."""
    widths = [max(_width(line[i]) for line in lines) for i in range(len(lines[0]))]
    right = set(right)
    rows = []
    for line in lines:
        cells = [_pad(cell, widths[i], i in right) for i, cell in enumerate(line)]
        rows.append("  ".join(cells).rstrip())
    return "\n".join([rows[0], "  ".join("-" * width for width in widths), *rows[1:]])


def _width(text: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int, right: bool) -> str:
    gap = " " * (width - _width(text))
    return gap + text if right else text + gap
