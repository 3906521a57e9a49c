"""Run a contender in a process of its own and take its time, CPU time and peak memory."""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ENOUGH_S = 8.0
"""A contender that takes less is run again, and its best run counts."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one contender did."""

    result: Any
    wall_s: float
    cpu_s: float
    """CPU time of the process and of those it started."""
    peak_mb: float
    """Peak memory of the process, the corpus included."""


def measure(
    prepare: Callable[[Any], Any], work: Callable[[Any], Any], corpus: Any, *, most: int = 3
) -> Measured:
    """Run `work(prepare(corpus))` in a new process; only `work` is timed.

    Args:
        prepare: Reads the corpus into what the contender takes.
        work: The contender; its result crosses back by pickle.
        corpus: What the contenders work on, most often a Parquet file.
        most: Runs of a contender that takes less than `ENOUGH_S`, at most.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, prepare, work, corpus, most).result()


def _measure(prepare: Callable[[Any], Any], work: Callable[[Any], Any], corpus: Any, most: int) -> Measured:
    data = prepare(corpus)
    best: Measured | None = None
    began = time.perf_counter()
    for _ in range(most):
        wall, cpu = time.perf_counter(), _cpu_s()
        result = work(data)
        wall, cpu = time.perf_counter() - wall, _cpu_s() - cpu
        if best is None or cpu < best.cpu_s:
            best = Measured(result=result, wall_s=wall, cpu_s=cpu, peak_mb=_peak_mb())
        if time.perf_counter() - began > ENOUGH_S:
            break
    assert best is not None
    return best


def forget(out: Path) -> None:
    """Remove what an earlier run of a stage made; a finished output would only be looked at."""
    from smolchat_fast.stage import manifest_path

    for path in (out, manifest_path(out)):
        path.unlink(missing_ok=True)


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage tells on Linux is inherited from the parent process
        return (
            int(next(line.split()[1] for line in status.read_text().splitlines() if "VmHWM" in line)) / 1024
        )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)


def _cpu_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def machine(packages: Sequence[str]) -> str:
    """Cores, Python and the versions of packages, in a line."""
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} not installed")
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its numbers flush right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        (name, width), *others = zip(cells, widths, strict=True)
        return f"| {' | '.join([name.ljust(width), *(cell.rjust(width) for cell, width in others)])} |"

    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
