"""`python -m benches.peers`: side-by-side runs, printed and kept in docs/figures.md.

All but `train` and `train-real`, which take a quarter of an hour each, `crowd` and `precision`, which need what
`make demo` leaves, and `count`, which fills some gigabytes of disk; or the named ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from smolchat_fast.errors import DataError

from . import (
    clean,
    count,
    crowd,
    dedup,
    doctor,
    encode,
    figures,
    pipeline,
    precision,
    read,
    scale,
    stream,
    tokenizer,
    train,
    words,
)

BY_NAME = ("count", "crowd", "precision", "train", "train-real")
"""Runs that are only made when they are named."""


def main() -> None:
    """Run what was asked for, one after another."""
    parser = _parser()
    chosen = parser.parse_args()
    runs = _runs(chosen)
    unknown = set(chosen.what) - set(runs)
    if unknown:
        parser.error(f"no run is called {', '.join(sorted(unknown))}")
    for name in chosen.what or [name for name in runs if name not in BY_NAME]:
        try:
            report = runs[name]()
        except DataError as error:
            parser.error(str(error))
        print(report, end="\n\n", flush=True)
        if not chosen.no_figures:
            figures.save(name, report)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benches.peers", description=__doc__)
    parser.add_argument(
        "what",
        nargs="*",
        metavar="clean|count|crowd|dedup|doctor|encode|pipeline|precision|read|scale|stream|tokenizer|train|train-real|words",
        help="which runs; all but count, crowd, precision and the trainings by default",
    )
    parser.add_argument("--rows", type=int, default=200_000, help="rows for dedup (default: %(default)s)")
    parser.add_argument(
        "--stream-rows", type=int, default=800_000, help="rows for stream (default: %(default)s)"
    )
    parser.add_argument(
        "--mb", type=float, default=20.0, help="megabytes for clean, encode and words (default: %(default)s)"
    )
    parser.add_argument(
        "--count-gb", type=float, default=6.0, help="gigabytes for count (default: %(default)s)"
    )
    parser.add_argument(
        "--scale-rows",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[100_000, 1_000_000],
        help="sizes for scale, comma between them; 10000000 takes 10 GB of disk (default: 100000,1000000)",
    )
    parser.add_argument(
        "--tokenizer-mb", type=float, default=20.0, help="megabytes for tokenizer (default: %(default)s)"
    )
    parser.add_argument(
        "--train-epochs",
        type=int,
        default=train.EPOCHS,
        help="passes for train and train-real (default: %(default)s)",
    )
    parser.add_argument(
        "--train-rows", type=int, default=train.REAL_ROWS, help="rows for train-real (default: %(default)s)"
    )
    parser.add_argument(
        "--trained",
        type=Path,
        default=Path("runs/demo"),
        help="folder that `demo` or `run` made, for crowd and precision (default: %(default)s)",
    )
    parser.add_argument("--no-figures", action="store_true", help="leave docs/figures.md as it is")
    return parser


def _runs(chosen: argparse.Namespace) -> dict[str, Callable[[], str]]:
    """By name, in the order in which they are made."""
    return {
        "clean": lambda: clean.run(chosen.mb),
        "count": lambda: count.run(chosen.count_gb),
        "crowd": lambda: crowd.run(chosen.trained),
        "dedup": lambda: dedup.run(chosen.rows),
        "doctor": doctor.run,
        "encode": lambda: encode.run(chosen.mb),
        "pipeline": pipeline.run,
        "precision": lambda: precision.run(chosen.trained),
        "read": lambda: read.run(chosen.rows),
        "scale": lambda: scale.run(chosen.scale_rows),
        "stream": lambda: stream.run(chosen.stream_rows),
        "tokenizer": lambda: tokenizer.run(chosen.tokenizer_mb),
        "train": lambda: train.run(chosen.train_epochs),
        "train-real": lambda: train.run_real(chosen.train_rows, chosen.train_epochs),
        "words": lambda: words.run(chosen.mb),
    }


if __name__ == "__main__":
    main()
