"""Exact Jaccard similarity of character n-grams, to keep wanted rows from looking like duplicates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

NGRAM = 5


def shingles(text: str, ngram: int = NGRAM) -> frozenset[str]:
    """The set of character n-grams; a shorter text is one shingle."""
    return frozenset(text[i : i + ngram] for i in range(max(1, len(text) - ngram + 1)))


def jaccard(a: str, b: str, ngram: int = NGRAM) -> float:
    """Size of the intersection over size of the union of both shingle sets."""
    left, right = shingles(a, ngram), shingles(b, ngram)
    return len(left & right) / len(left | right)


def similar_pairs(texts: Sequence[str], threshold: float) -> list[tuple[int, int, float]]:
    """All pairs (earlier, later, similarity) of at least `threshold`, exact.

    Two sets can only be that similar if the rarest `n - ceil(threshold * n) + 1` members of each share
    one (prefix filter), so only texts that meet in such a shingle are compared.
    Source: Bayardo et al. 2007, https://doi.org/10.1145/1242572.1242591
    """
    sets = [shingles(text) for text in texts]
    frequency = Counter(shingle for members in sets for shingle in members)
    meeting: dict[str, list[int]] = {}
    pairs = []
    for later, members in enumerate(sets):
        size = len(members)
        prefix = size - int(-(-threshold * size // 1)) + 1
        rare = sorted(members, key=lambda s: (frequency[s], s))[:prefix]
        earlier = {row for shingle in rare for row in meeting.get(shingle, ())}
        for row in sorted(earlier):
            other = sets[row]
            if min(size, len(other)) < threshold * max(size, len(other)):
                continue
            similarity = len(members & other) / len(members | other)
            if similarity >= threshold:
                pairs.append((row, later, similarity))
        for shingle in rare:
            meeting.setdefault(shingle, []).append(later)
    return pairs
