"""Word counts: ours on all cores, jieba and rjieba with a pool of two processes, on the same rows."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from . import corpus
from .dedup import as_column, as_strings
from .measure import machine, measure, table

PROCESSES = 2


def ours(column: Any) -> Counter[str]:
    from smolchat_fast.words import count_words

    counts = count_words(column).to_pydict()
    return Counter(dict(zip(counts["word"], counts["count"], strict=True)))


def load_jieba() -> None:
    import jieba

    jieba.setLogLevel("ERROR")
    jieba.initialize()


def load_rjieba() -> None:
    import rjieba

    rjieba.cut("词典")


def count_with_jieba(rows: list[str]) -> Counter[str]:
    import jieba

    return Counter(word for row in rows for word in jieba.cut(row))


def count_with_rjieba(rows: list[str]) -> Counter[str]:
    import rjieba

    return Counter(word for row in rows for word in rjieba.cut(row))


def in_pool(
    load: Callable[[], None], count: Callable[[list[str]], Counter[str]], rows: list[str]
) -> Counter[str]:
    """Count pieces of the rows in two processes; loading the dictionary counts too, as it does in use."""
    pieces = [rows[start : start + 512] for start in range(0, len(rows), 512)]
    total: Counter[str] = Counter()
    with get_context("spawn").Pool(PROCESSES, load) as pool:
        for counts in pool.imap_unordered(count, pieces):
            total.update(counts)
        pool.close()
        pool.join()
    return total


def jieba_pool(rows: list[str]) -> Counter[str]:
    return in_pool(load_jieba, count_with_jieba, rows)


def rjieba_pool(rows: list[str]) -> Counter[str]:
    return in_pool(load_rjieba, count_with_rjieba, rows)


CONTENDERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Counter[str]]]] = {
    "smolchat-fast": (as_column, ours),
    "rjieba, pool of 2": (as_strings, rjieba_pool),
    "jieba, pool of 2": (as_strings, jieba_pool),
}


def run(mb: float) -> str:
    """Measure all on this many megabytes and return the report.

    Raises:
        RuntimeError: our counts are not those of jieba.
    """
    texts, origin = some_text(mb)
    size = sum(len(text.encode()) for text in texts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.parquet"
        corpus.write(texts, path)
        measured = {name: measure(prepare, work, path) for name, (prepare, work) in CONTENDERS.items()}
    wanted, best = measured["jieba, pool of 2"].result, measured["smolchat-fast"]
    if best.result != wanted:
        word = next(word for word in wanted.keys() | best.result.keys() if wanted[word] != best.result[word])
        raise RuntimeError(f"words: {word!r} {best.result[word]} times, by jieba {wanted[word]} times")
    lines = []
    for name, found in measured.items():
        off = sum(abs(found.result[word] - wanted[word]) for word in wanted.keys() | found.result.keys())
        lines.append(
            [
                name,
                f"{size / 1e6 / found.wall_s:.2f}",
                f"{found.wall_s:.2f}",
                f"{found.cpu_s:.2f}",
                f"{off / sum(wanted.values()):.2%}",
                f"{found.wall_s / best.wall_s:.1f}x",
                f"{found.cpu_s / best.cpu_s:.1f}x",
            ]
        )
    header = ["", "MB/s", "wall s", "CPU s", "counts off", "wall", "CPU"]
    title = f"words: {len(texts):,} rows, {size / 1e6:.1f} MB of {origin}"
    return "\n".join([title, machine(["smolchat-fast", "rjieba", "jieba"]), "", table(header, lines)])


def some_text(mb: float) -> tuple[list[str], str]:
    """Texts of this many megabytes in all."""
    texts, origin = corpus.texts(int(mb * 1e6 / 300))
    chosen, size = [], 0
    for text in texts:
        if size >= mb * 1e6:
            break
        chosen.append(text)
        size += len(text.encode())
    return chosen, origin
