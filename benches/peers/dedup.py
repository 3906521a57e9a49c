"""Near-duplicate removal: ours, rensa and datasketch on the same rows.

All compare sets of 5-grams of the text as it is, at a Jaccard similarity of 0.8; the rivals with 128
permutations. A tool that removes must say which rows stay; one that flags marks every row of a group.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from . import corpus
from .measure import Measured, machine, measure, table
from .truth import Sets, Truth, find_all, hash_ngrams

NGRAM, THRESHOLD, PERMUTATIONS = 5, 0.8, 128
LIMIT_CPU_S = 2.5e-6
"""Of a row: about one hash and one update for each n-gram, half a second for 200,000 rows."""


def as_column(path: Path) -> Any:
    return pq.read_table(path)["text"].combine_chunks()


def as_strings(path: Path) -> list[str]:
    return pq.read_table(path)["text"].to_pylist()


def ngrams(text: str) -> list[str]:
    return [text[start : start + NGRAM] for start in range(len(text) - NGRAM + 1)]


def ours(column: Any) -> list[int]:
    from smolchat_fast.dedup import DedupOptions, find_duplicates

    options = DedupOptions(ngram=NGRAM, threshold=THRESHOLD, normalize=False, distinct_numbers=False)
    return find_duplicates(column, options).removed["row"].to_pylist()


def rensa_readme(rows: list[str]) -> list[int]:
    from rensa import RMinHashDeduplicator

    dedup = RMinHashDeduplicator(threshold=THRESHOLD, num_perm=PERMUTATIONS, use_lsh=True)
    keep = dedup.add_pairs((str(row), ngrams(text)) for row, text in enumerate(rows))
    return [row for row, kept in enumerate(keep) if not kept]


def rensa_flat(rows: list[str]) -> list[int]:
    from rensa import RMinHash, RMinHashLSH

    hashes, starts = hash_ngrams(rows, NGRAM)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, starts.astype("uint64"), PERMUTATIONS, 42)
    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=16)
    return [row for row, flag in enumerate(index.query_duplicate_flags_matrix_one_shot(matrix)) if flag]


def datasketch(rows: list[str]) -> list[int]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    removed = []
    for row, text in enumerate(rows):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([ngram.encode() for ngram in set(ngrams(text))])
        if index.query(sketch):
            removed.append(row)
        else:
            index.insert(row, sketch)
    return removed


CONTENDERS: dict[str, tuple[str, Callable[[Path], Any], Callable[[Any], list[int]]]] = {
    "smolchat-fast": ("removes", as_column, ours),
    "rensa, flat batch": ("flags", as_strings, rensa_flat),
    "rensa, as its README": ("removes", as_strings, rensa_readme),
    "datasketch": ("removes", as_strings, datasketch),
}


def run(rows: int) -> str:
    """Measure all on this many rows and return the report.

    Raises:
        RuntimeError: ours removed a row without need, or missed more than 0.5 %.
    """
    texts, origin = corpus.with_near_copies(rows)
    truth = find_all(Sets(texts, NGRAM), THRESHOLD)
    size = sum(len(text.encode()) for text in texts)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.parquet"
        corpus.write(texts, path)
        measured = {name: measure(prepare, work, path) for name, (_, prepare, work) in CONTENDERS.items()}
    best = measured["smolchat-fast"]
    check(best, truth)
    for name, found in measured.items():
        recall, precision = score(found, truth)
        lines.append(
            [
                name,
                CONTENDERS[name][0],
                f"{len(texts) / found.wall_s:,.0f}",
                f"{found.wall_s:.2f}",
                f"{found.cpu_s:.2f}",
                f"{found.peak_mb:,.0f}",
                f"{recall:.4f}",
                f"{precision:.4f}",
                f"{found.wall_s / best.wall_s:.1f}x",
                f"{found.cpu_s / best.cpu_s:.1f}x",
            ]
        )
    header = ["", "", "rows/s", "wall s", "CPU s", "peak MB", "recall", "precision", "wall", "CPU"]
    title = f"dedup: {len(texts):,} rows, {size / 1e6:.1f} MB of {origin}; {len(truth.removed):,} to remove"
    limit = LIMIT_CPU_S * len(texts)
    title += f"\none hash and one update for each n-gram are about {limit:.2f} CPU s; "
    title += (
        f"smolchat-fast takes {best.cpu_s / limit:.1f} times that, all comparisons and the verdict included"
    )
    packages = ["smolchat-fast", "rensa", "datasketch"]
    return "\n".join([title, machine(packages), "", table(header, lines)])


def score(found: Measured, truth: Truth) -> tuple[float, float]:
    """Share of the rows to remove that were found, and share of the found rows with a true duplicate."""
    rows = set(found.result)
    recall = len(rows & truth.removed) / max(1, len(truth.removed))
    return recall, len(rows & truth.has_duplicate) / max(1, len(rows))


def check(found: Measured, truth: Truth) -> None:
    """Refuse to time a result that is wrong."""
    recall, precision = score(found, truth)
    if recall < 0.995 or precision < 1:
        raise RuntimeError(f"dedup: recall {recall:.4f}, precision {precision:.4f}")
