"""Curves of one run or several: loss, learning rate, speed, as a PNG and as a page. Imports no torch."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import MissingExtraError
from smolchat_fast.train.lines import Line, find_metrics, read_lines, smooth, training, validation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curves:
    """Where the curves are."""

    png: Path
    page: Path

    def __str__(self) -> str:
        return f"drew {self.png} and {self.page}"


@arguments
def plot_files(inputs: Sequence[Path], out: Path = Path("curves")) -> Curves:
    """Draw the curves of training runs, beside each other if there are several.

    Args:
        inputs: Model folders, also of runs that are still under way, or their `metrics.jsonl`.
        out: Files to write, without their ending: `OUT.png` and `OUT.html`.
    Returns:
        The two files.
    Raises:
        FileNotFoundError: a run has no metrics.
        DataError: a metrics file cannot be read.
        ValueError: there is no run to draw.
    """
    if not inputs:
        raise ValueError("no run to draw: name at least one model folder")
    names = _names(inputs)
    return draw_curves(
        {name: read_lines(find_metrics(path)) for name, path in zip(names, inputs, strict=True)}, out
    )


def draw_curves(runs: Mapping[str, Sequence[Line]], out: Path) -> Curves:
    """Draw lines of metrics by run; a single run may have an empty name.

    Args:
        runs: Lines as `read_lines` gives them.
        out: Files to write, without their ending.
    """
    figure = _figure(runs)
    curves = Curves(out.with_name(out.name + ".png"), out.with_name(out.name + ".html"))
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(curves.png, dpi=110)
    drawing = io.StringIO()
    figure.savefig(drawing, format="svg")
    svg = drawing.getvalue()
    curves.page.write_text(_page(runs, svg[svg.index("<svg") :]), "utf-8")
    return curves


def _names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many before it as tell them apart."""
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise ValueError(f"the same run is named twice: {', '.join(map(str, paths))}")


def _figure(runs: Mapping[str, Sequence[Line]]) -> Figure:
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("curves need matplotlib: pip install 'smolchat-fast[train]'") from error
    # The same lines give the same bytes.
    with mpl.rc_context({"svg.hashsalt": "smolchat-fast"}):
        figure = Figure(figsize=(11, 7), layout="constrained")
        (loss, detail), (rate, speed) = figure.subplots(2, 2)
        for color, (name, lines) in enumerate(runs.items()):
            _draw_run(name, lines, f"C{color}", loss, detail, rate, speed)
        _label(loss, "loss by target token", bottom=0)
        _label(detail, "validation loss by target token (last three quarters)")
        _label(rate, "learning rate", bottom=0)
        _label(speed, "tokens/s without padding", bottom=0)
        handles, labels = loss.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _draw_run(
    name: str, lines: Sequence[Line], color: str, loss: Axes, detail: Axes, rate: Axes, speed: Axes
) -> None:
    train, valid = training(lines), validation(lines)
    steps = [line["step"] for line in train]
    losses = [line["loss"] for line in train]
    loss.plot(steps, losses, color=color, alpha=0.25, linewidth=0.8)
    loss.plot(steps, smooth(losses), color=color, linewidth=1.2, label=f"{name} training".strip())
    at, found = [line["step"] for line in valid], [line["valid_loss"] for line in valid]
    loss.plot(at, found, "o--", color=color, markersize=4, linewidth=1, label=f"{name} validation".strip())
    late = [(x, y) for x, y in zip(at, found, strict=True) if 4 * x >= at[-1]]
    detail.plot([x for x, _ in late], [y for _, y in late], "o--", color=color, markersize=4, linewidth=1)
    rate.plot(steps, [line["lr"] for line in train], color=color, linewidth=1.2)
    speed.plot(steps, [line["tokens_per_s"] for line in train], color=color, linewidth=1)


def _label(axes: Axes, title: str, *, bottom: float | None = None) -> None:
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if bottom is not None:
        axes.set_ylim(bottom=bottom)


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }}
svg {{ width: 100%; height: auto }} table {{ border-collapse: collapse; margin: 1rem 0 }}
td, th {{ padding: .2rem .8rem; text-align: left; border-bottom: 1px solid #ddd; vertical-align: top }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<h1>{title}</h1>
{svg}
{tables}
</html>
"""


def _page(runs: Mapping[str, Sequence[Line]], svg: str) -> str:
    tables = [_table(["run", *SUMMARY], [[name, *_summary(lines)] for name, lines in runs.items()])]
    for name, lines in runs.items():
        samples: list[dict[str, str]] = next(
            (line["samples"] for line in reversed(lines) if line.get("samples")), []
        )
        if samples:
            rows = [[s["prompt"], s["answer"], s["expected"]] for s in samples]
            tables.append(f"<h2>Last answers {html.escape(name)}</h2>")
            tables.append(_table(["prompt", "answer", "expected"], rows))
    title = ", ".join(name for name in runs if name) or "Training"
    return PAGE.format(title=html.escape(title), svg=svg, tables="\n".join(tables))


SUMMARY = (
    "steps",
    "training loss",
    "validation loss",
    "lowest",
    "bits per byte",
    "exact",
    "BLEU-4",
    "seconds",
)


def _summary(lines: Sequence[Line]) -> list[str]:
    train, valid = training(lines), validation(lines)
    last: Line = valid[-1] if valid else {}
    lowest = min((line["valid_loss"] for line in valid), default=None)
    return [
        f"{max((line['step'] for line in lines), default=0):,}",
        _number(train[-1]["loss"] if train else None, ".4f"),
        _number(last.get("valid_loss"), ".4f"),
        _number(lowest, ".4f"),
        _number(last.get("bits_per_byte"), ".3f"),
        _number(last.get("exact"), ".1%"),
        _number(last.get("bleu"), ".1f"),
        _number(lines[-1].get("seconds") if lines else None, ",.0f"),
    ]


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def cells(kind: str, values: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{html.escape(value)}</{kind}>" for value in values) + "</tr>"

    return "<table>\n" + "\n".join([cells("th", header), *(cells("td", row) for row in rows)]) + "\n</table>"
