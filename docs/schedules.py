"""Writes schedules.svg: the learning rate over a run, by each schedule and its usual options."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from smolchat_fast.train.schedule import lr_share

SHOWN = (
    ("wsd", 1e-2, 0.05, 0.4),
    ("cosine", 5e-5, 0.05, 0.0),
    ("onecycle", 5e-3, 0.3, 0.0),
    ("constant", 1e-3, 0.05, 0.0),
)
"""Schedule, highest rate, shares of warm-up and decay."""


def main() -> None:
    positions = [(i + 0.5) / 1000 for i in range(1000)]
    with mpl.rc_context({"svg.hashsalt": "smolchat-fast"}):
        figure = Figure(figsize=(10, 2.6), layout="constrained")
        for axes, (name, lr, warmup, decay) in zip(figure.subplots(1, len(SHOWN)), SHOWN, strict=True):
            axes.plot(positions, [lr * lr_share(name, p, warmup=warmup, decay=decay) for p in positions])
            axes.set_title(f"{name}, lr = {lr:g}", fontsize="medium")
            axes.set_xlabel("share of the run")
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        figure.savefig(Path(__file__).with_name("schedules.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
