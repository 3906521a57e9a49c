"""Holds what cleaning and dedup did against what the demo corpus planted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

CHANGED = ("html", "width", "control", "repeated_marks", "spaces", "template")
REMOVED = ("broken_row", "empty_field")
TWINS = ("exact_duplicate", "near_duplicate")
"""Counted together: a near-duplicate that differs in punctuation alone is the same text to dedup."""


@dataclass(frozen=True)
class Planted:
    """One kind of dirt in one set."""

    set: str
    kind: str
    planted: int
    found: int
    """Rows restored to their clean text, or removed for this reason."""

    @property
    def share(self) -> float:
        """Found of planted; more than planted is no better than all."""
        return min(self.found, self.planted) / self.planted


def check_planted(out: Path, bad_rows: Mapping[str, Mapping[str, int]]) -> list[Planted]:
    """Look for every planted row in what the data stages made of it.

    Args:
        out: Folder of a run on the built-in corpus.
        bad_rows: Set -> reason of the reader -> records that it left out.
    Returns:
        A line for each set and kind that was planted.
    """
    planted = json.loads((out / "corpus" / "planted.json").read_text("utf-8"))["rows"]
    lines = []
    for name, rows in _by_set(planted).items():
        kinds = Counter("duplicate" if row["kind"] in TWINS else row["kind"] for row in rows)
        bad = Counter(bad_rows[name])
        found = {"empty_field": bad["empty field"], "broken_row": bad.total() - bad["empty field"]}
        found |= _restored(rows, out / "data" / name / "clean.parquet")
        found["duplicate"] = pq.read_metadata(out / "data" / name / "duplicates.parquet").num_rows
        order = (*CHANGED, *REMOVED, "duplicate")
        lines += [Planted(name, kind, kinds[kind], found[kind]) for kind in order if kinds[kind]]
    return lines


def _by_set(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    sets: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        sets.setdefault(Path(row["file"]).parts[1], []).append(row)
    return sets


def _restored(rows: Iterable[Mapping[str, Any]], cleaned: Path) -> Counter[str]:
    table = pq.read_table(cleaned, columns=["prompt", "response"])
    there = set(zip(table["prompt"].to_pylist(), table["response"].to_pylist(), strict=True))
    dirty = (row for row in rows if row["kind"] in CHANGED)
    return Counter(row["kind"] for row in dirty if (row["clean_prompt"], row["clean_response"]) in there)
