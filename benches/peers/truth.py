"""Near duplicates by exact Jaccard similarity over all pairs, written apart from what is measured.

Two sets of similarity t share an n-gram among the rarest `size - ceil(t * size) + 1` of each (prefix
filter: Chaudhuri et al. 2006, https://doi.org/10.1109/ICDE.2006.9), so that not all pairs need a look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

BASE = np.uint64(0x9E3779B97F4A7C15)


def hash_ngrams(rows: Sequence[str], ngram: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all n-grams of all rows [T], and where each row begins and the last ends in it [N + 1].

    Every row must have at least `ngram` characters.
    """
    codes = np.frombuffer("".join(rows).encode("utf-32-le"), np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))
    hashes = np.zeros(len(codes) - ngram + 1, np.uint64)
    for place in range(ngram):
        hashes = hashes * BASE + codes[place : place + len(hashes)]
        hashes ^= hashes >> np.uint64(29)
    counts = lengths - ngram + 1
    starts = np.concatenate([[0], np.cumsum(counts)])
    row_of = np.repeat(np.arange(len(rows)), counts)
    # The k-th n-gram of a row begins k characters after the row does.
    return hashes[np.arange(starts[-1]) + row_of * (ngram - 1)], starts


@dataclass(frozen=True)
class Truth:
    """What a tool that misses nothing finds."""

    removed: frozenset[int]
    """Rows with a duplicate among the earlier rows that stay."""
    has_duplicate: frozenset[int]
    """Rows with any duplicate at all."""


class Sets:
    """The n-grams of each row, the rarest first."""

    def __init__(self, rows: Sequence[str], ngram: int) -> None:
        hashes, starts = hash_ngrams(rows, ngram)
        _, ids, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        rank = np.empty(len(counts), np.int64)
        rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        keyed = np.unique(np.repeat(np.arange(len(rows)), np.diff(starts)) << 32 | rank[ids])
        self.rows, self.members = keyed >> 32, keyed & 0xFFFFFFFF
        self.starts = np.searchsorted(self.rows, np.arange(len(rows) + 1))
        self.sizes = np.diff(self.starts)

    def __getitem__(self, row: int) -> NDArray[np.int64]:
        return self.members[self.starts[row] : self.starts[row + 1]]

    def jaccard(self, one: int, other: int) -> float:
        """Exact similarity of two rows."""
        shared = len(np.intersect1d(self[one], self[other], assume_unique=True))
        return shared / (len(self[one]) + len(self[other]) - shared)


def find_all(sets: Sets, threshold: float) -> Truth:
    """All duplicates among the rows, in the order of the rows."""
    similar: dict[int, list[int]] = {}
    has_duplicate: set[int] = set()
    for one, other in _candidates(sets, threshold):
        if sets.jaccard(one, other) >= threshold:
            similar.setdefault(other, []).append(one)
            has_duplicate |= {one, other}
    removed: set[int] = set()
    for row in sorted(similar):
        if any(earlier not in removed for earlier in similar[row]):
            removed.add(row)
    return Truth(frozenset(removed), frozenset(has_duplicate))


def _candidates(sets: Sets, threshold: float) -> list[tuple[int, int]]:
    prefixes = np.array([size - ceil(threshold * size) + 1 for size in sets.sizes.tolist()])
    in_prefix = np.arange(len(sets.members)) - sets.starts[sets.rows] < prefixes[sets.rows]
    members, rows = sets.members[in_prefix], sets.rows[in_prefix]
    order = np.argsort(members, kind="stable")
    members, rows = members[order], rows[order]
    ends = np.flatnonzero(np.diff(members, append=-1)) + 1
    starts = np.concatenate([[0], ends[:-1]])
    pairs: list[NDArray[np.int64]] = []
    for start, end in zip(starts[ends - starts > 1].tolist(), ends[ends - starts > 1].tolist(), strict=True):
        group = rows[start:end]
        one, other = np.triu_indices(len(group), 1)
        one, other = group[one], group[other]
        sizes = np.sort([sets.sizes[one], sets.sizes[other]], axis=0)
        near = sizes[0] >= threshold * sizes[1]
        pairs.append(one[near] << 32 | other[near])
    keyed = np.unique(np.concatenate(pairs)) if pairs else np.empty(0, np.int64)
    return list(zip((keyed >> 32).tolist(), (keyed & 0xFFFFFFFF).tolist(), strict=True))
