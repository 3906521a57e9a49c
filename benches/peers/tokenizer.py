"""Tokenizers: merge lists beside a plain loop, byte pairs beside the trainers of two libraries, and what the
default carries on rows that it was not built from."""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from . import corpus
from .measure import Measured, machine, measure, table

HELD_EVERY = 50
"""One row in so many is held out."""


def as_counts(path: Path) -> Any:
    return pq.read_table(path)


def build(data: Any, kind: str, vocab_size: int | None = None) -> str:
    """The `tokenizer.json` of a kind."""
    from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer

    options = (
        TokenizerOptions(kind=kind)
        if vocab_size is None
        else TokenizerOptions(kind=kind, vocab_size=vocab_size, min_count=1)
    )
    return build_tokenizer(data, options).to_str()


def learn_elsewhere(rows: Any, kind: str) -> str:
    """The `tokenizer.json` of what the trainer of another library learns, in this process and of the whole text.

    Its texts become Python strings in the time that is measured: a second for 200 MB.
    """
    from smolchat_fast import _core
    from smolchat_fast.tokenizer import TokenizerOptions
    from smolchat_fast.tokenizer.trainers import TRAINERS

    # With all characters nothing is cut out of the texts for `tokenizers`.
    options = TokenizerOptions(kind=kind)
    if kind.startswith("tokenizers"):
        options = replace(options, coverage=1.0)
    learned = TRAINERS[kind](rows, options)
    return _core.assemble_tokenizer(json.dumps(asdict(learned)), [])[0]


def plain_loop(counts: Any) -> list[tuple[str, str]]:
    """The earlier project's merge list: each cut of each word whose two parts are words, in word order."""
    words = counts.column("word").to_pylist()
    known = set(words) | {c for word in words for c in word}
    merges = []
    for word in words:
        for cut in range(1, len(word)):
            if word[:cut] in known and word[cut:] in known:
                merges.append((word[:cut], word[cut:]))
    return merges


def merge_lists(texts: list[str], folder: Path) -> str:
    """Our merge list of the 30,000 and 300,000 most frequent words beside the plain loop's."""
    from smolchat_fast.words import count_words

    counts = count_words(texts)
    lines = []
    for size in (30_000, 300_000):
        words = counts.slice(0, size)
        path = folder / f"words-{size}.parquet"
        pq.write_table(words, path)
        ours = measure(as_counts, partial(build, kind="merges", vocab_size=10 * size), path)
        loop = measure(as_counts, plain_loop, path)
        model = json.loads(ours.result)["model"]
        lost = unreachable(ours.result)
        for name, found, merges, missing in (
            ("smolchat-fast, whole tokenizer", ours, len(model["merges"]), f"{lost:,}"),
            ("plain Python loop, merges alone", loop, len(loop.result), "not looked at"),
        ):
            lines.append([name, f"{words.num_rows:,}", f"{found.wall_s:.2f}", f"{merges:,}", missing])
    return table(["merge list", "words", "wall s", "merges", "unreachable"], lines)


def unreachable(text: str) -> int:
    from smolchat_fast.tokenizer import report
    from smolchat_fast.tokenizer.folder import from_text

    return len(report(from_text(text), ["今天"])["unreachable"])


KINDS = {
    "smolchat-fast bpe": "bpe",
    "tokenizers bpe": "tokenizers-bpe",
    "sentencepiece bpe": "sentencepiece-bpe",
}


def byte_pairs(path: Path, held: list[str], kinds: dict[str, str]) -> tuple[str, dict[str, Measured]]:
    """Byte pairs learned from the same text by three trainers."""
    measured = {}
    for name, kind in kinds.items():
        learn = build if kind == "bpe" else learn_elsewhere
        measured[name] = measure(pq.read_table, partial(learn, kind=kind), path)
    best = measured["smolchat-fast bpe"]
    lines = []
    for name, found in measured.items():
        told = tried(found.result, held)
        lines.append(
            [
                name,
                f"{found.wall_s:.1f}",
                f"{found.cpu_s:.1f}",
                f"{found.peak_mb:,.0f}",
                f"{told['characters_per_token']:.3f}",
                f"{len(told['unreachable']):,}",
                f"{told['round_trip_share']:.1%}",
                f"{found.wall_s / best.wall_s:.1f}x",
            ]
        )
    header = ["", "wall s", "CPU s", "peak MB", "characters a token", "unreachable", "round trip", "time"]
    return table(header, lines), measured


def tried(text: str, held: list[str]) -> dict[str, Any]:
    from smolchat_fast.tokenizer import report
    from smolchat_fast.tokenizer.folder import from_text

    return report(from_text(text), held)


def all_of_sft() -> str:
    """Counts and the default tokenizer of all rows that are there, from files to files."""
    from smolchat_fast.tokenizer import build_tokenizer_files
    from smolchat_fast.words import count_words_files

    files = sorted((corpus.DATA / "sft").glob("*.parquet"))
    if not files:
        return "count and build: no SMOLCHAT_DATA/sft here"
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        counted = count_words_files(files, Path(folder) / "words.parquet")
        middle = time.perf_counter()
        build_tokenizer_files(files, Path(folder) / "tokenizer")
        ended = time.perf_counter()
    size = f"{counted.rows:,} rows, {counted.bytes / 1e6:.0f} MB of text"
    return f"count and build, {size}: {middle - began:.1f} s + {ended - middle:.1f} s = {ended - began:.1f} s"


def run(mb: float, *, trainers: bool = True) -> str:
    """Measure all on this many megabytes and return the report."""
    rows, origin = corpus.whole_texts(mb)
    held = rows[::HELD_EVERY]
    train = [row for i, row in enumerate(rows) if i % HELD_EVERY]
    size = sum(len(row.encode()) for row in train) / 1e6
    parts = [f"tokenizer: {len(train):,} rows, {size:.1f} MB of {origin}; {len(held):,} rows held out"]
    parts.append(machine(["smolchat-fast", "tokenizers", "sentencepiece"]))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "train.parquet"
        pq.write_table(pa.table({"text": train}), path)
        kinds = KINDS if trainers else {"smolchat-fast bpe": "bpe"}
        parts += ["", byte_pairs(path, held, kinds)[0], "", merge_lists(train, Path(name))]
    return "\n".join([*parts, "", all_of_sft()])
