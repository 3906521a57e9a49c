"""The stream: rows shuffled, batches encoded and padded, and an epoch taken up late, from the same files.

The peers are too slow for the whole file, so they pass some of its rows; every row that they hand out must
have as many tokens as with us.
"""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from . import corpus
from .measure import Measured, machine, measure, table

MAX_TOKENS = 320
BATCH_ROWS = 32
"""Rows of a batch of the peers; ours have as many tokens as fit in `BATCH_TOKENS`."""
BATCH_TOKENS = 8_192
BUFFER_ROWS = 10_000
"""Rows among which the peers shuffle; ours shuffle among 300,000."""
FILES = 8
SHUFFLED_ROWS, BATCHED_ROWS = 200_000, 40_000
"""Rows that the peers pass, at most."""
LATE = 0.9
"""Share of the epoch after which ours is taken up again."""
COMPARED = 1_000
"""Batches after that, which must be the same."""


@dataclass(frozen=True)
class Passed:
    """The batches that a contender handed out."""

    rows: np.ndarray
    """Their numbers in the files, int64 [R]."""
    tokens: np.ndarray
    """Source and target tokens of each, int64 [R]."""
    places: int
    seconds: float
    """Until the last of them; closing is not counted."""
    late: Any = None
    """The state after `LATE` of the rows."""
    digest: int = 0
    """Checksum of the `COMPARED` batches after it."""

    @property
    def padding(self) -> float:
        """Share of the places that hold no token."""
        return 1 - float(self.tokens.sum()) / self.places


Arrays = tuple[Any, Any, Any, Any]
"""`input_ids`, `attention_mask`, `labels`, `rows`."""


def count(batches: Iterable[Arrays], most: int) -> Passed:
    """Rows and tokens of batches, until so many rows have passed."""
    began = time.perf_counter()
    numbers, tokens, places, passed = [], [], 0, 0
    for input_ids, mask, labels, rows in batches:
        numbers.append(rows)
        tokens.append(mask.sum(1) + (labels != -100).sum(1))
        places += input_ids.size + labels.size
        passed += len(rows)
        if passed >= most:
            break
    seconds = time.perf_counter() - began
    return Passed(np.concatenate(numbers), np.concatenate(tokens), places, seconds)


def stream(folder: Path, epochs: int | None = 1) -> Any:
    from smolchat_fast.stream import Stream, StreamOptions

    options = StreamOptions(
        max_source=MAX_TOKENS, max_target=MAX_TOKENS, batch_tokens=BATCH_TOKENS, pad_multiple=1
    )
    return Stream(sorted(folder.glob("rows-*.parquet")), folder, options, epochs=epochs)


def ours(folder: Path) -> Passed:
    total, late, digest = 0, None, _Digest()

    def batches() -> Iterator[Arrays]:
        nonlocal total, late
        opened = stream(folder)
        for batch in opened:
            if late is not None:
                digest.add(batch)
            total += len(batch.rows)
            if late is None and total >= LATE * opened.rows:
                late = opened.state_dict()
            yield batch.input_ids, batch.attention_mask, batch.labels, batch.rows

    found = count(batches(), 1 << 60)
    return Passed(found.rows, found.tokens, found.places, found.seconds, late, digest.value)


class _Digest:
    """A checksum of the first `COMPARED` batches."""

    def __init__(self) -> None:
        self.value, self.left = 0, COMPARED

    def add(self, batch: Any) -> None:
        if self.left > 0:
            self.left -= 1
            for array in (batch.input_ids, batch.attention_mask, batch.labels, batch.rows):
                self.value = zlib.crc32(array, self.value)


def take_up(late: tuple[Path, Any]) -> tuple[float, int]:
    """Seconds from a state to its first batch, files opened anew; and the checksum of the next ones."""
    folder, state = late
    began = time.perf_counter()
    opened = stream(folder)
    opened.load_state_dict(state)
    first = next(opened)
    seconds = time.perf_counter() - began
    digest = _Digest()
    digest.add(first)
    for batch in islice(opened, COMPARED - 1):
        digest.add(batch)
    return seconds, digest.value


def ours_imported(given: Any) -> Any:
    """All contenders read the files themselves; what they import is not timed."""
    import smolchat_fast.stream  # noqa: F401

    return given


def peers_imported(folder: Path) -> Path:
    import datasets  # noqa: F401
    import torch.utils.data  # noqa: F401
    import transformers  # noqa: F401

    return folder


def _shuffled(folder: Path) -> Any:
    from datasets import load_dataset

    files = [str(path) for path in sorted(folder.glob("rows-*.parquet"))]
    rows = load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=str(folder))
    return rows.shuffle(seed=1, buffer_size=BUFFER_ROWS)


def shuffled_rows(folder: Path) -> tuple[int, float]:
    """Rows of the streaming shuffle of `datasets`, and the seconds they took; nothing is encoded."""
    began, passed = time.perf_counter(), 0
    for _ in islice(_shuffled(folder), SHUFFLED_ROWS):
        passed += 1
        seconds = time.perf_counter() - began
    return passed, seconds


def data_loader(folder: Path, workers: int) -> Passed:
    from torch.utils.data import DataLoader
    from transformers import AutoTokenizer

    collate = partial(collated, AutoTokenizer.from_pretrained(folder))
    loader = DataLoader(_shuffled(folder), batch_size=BATCH_ROWS, collate_fn=collate, num_workers=workers)
    return count(loader, BATCHED_ROWS)


def collated(tokenizer: Any, rows: list[dict[str, Any]]) -> Arrays:
    """A batch padded to its longest rows."""
    sources, targets = (
        tokenizer(
            [row[column] for row in rows],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="np",
        )
        for column in ("prompt", "response")
    )
    labels = targets["input_ids"]
    labels[targets["attention_mask"] == 0] = -100
    return sources["input_ids"], sources["attention_mask"], labels, np.array([row["row"] for row in rows])


def no_workers(folder: Path) -> Passed:
    return data_loader(folder, 0)


def two_workers(folder: Path) -> Passed:
    return data_loader(folder, 2)


BATCHES: dict[str, tuple[Callable[[Any], Any], Callable[[Path], Passed]]] = {
    "smolchat-fast": (ours_imported, ours),
    "DataLoader, no workers": (peers_imported, no_workers),
    "DataLoader, 2 workers": (peers_imported, two_workers),
}


def run(rows: int) -> str:
    """Measure all on files of this many rows and return the report.

    Raises:
        RuntimeError: a row came twice or not at all, two contenders disagree about the tokens of a row, or
            a stream that was taken up went another way.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "text"
        size, origin = _write(folder, rows)
        ids = _encoded(folder)
        measured = {name: measure(prepare, work, folder) for name, (prepare, work) in BATCHES.items()}
        best = measured["smolchat-fast"]
        _check(measured, rows)
        theirs = measure(peers_imported, shuffled_rows, folder).result
        from_ids = measure(ours_imported, ours, ids)
        late = {
            kind: measure(ours_imported, take_up, (path, found.result.late), most=1)
            for kind, path, found in (("text", folder, best), ("ids", ids, from_ids))
        }
    for kind, found in (("text", best), ("ids", from_ids)):
        if late[kind].result[1] != found.result.digest:
            raise RuntimeError(f"stream: taken up from {kind}, the next batches are others")
    shuffled = [
        ["datasets, text", f"{theirs[0] / theirs[1]:,.0f}", "1.0x"],
        [
            "smolchat-fast, ids of `encode` in padded batches",
            f"{rows / from_ids.result.seconds:,.0f}",
            f"{rows / from_ids.result.seconds / (theirs[0] / theirs[1]):.1f}x",
        ],
    ]
    return "\n".join(
        [
            f"stream: {rows:,} rows, {size / 1e6:.0f} MB of {origin}; the peers pass {BATCHED_ROWS:,} of them, "
            f"{SHUFFLED_ROWS:,} where they only shuffle",
            machine(["smolchat-fast", "datasets", "torch", "transformers"]),
            "",
            table(["rows in random order", "rows/s", "faster"], shuffled),
            "",
            table(
                ["encoded and padded", "rows/s", "padding", "peak MB", "ours faster"],
                [_line(name, found, best) for name, found in measured.items()],
            ),
            "",
            f"Taken up after {LATE:.0%} of an epoch, the first batch comes after {late['text'].result[0]:.2f} s from "
            f"text, {late['ids'].result[0]:.2f} s from ids; the next {COMPARED:,} batches are the same.",
        ]
    )


def _line(name: str, found: Measured, best: Measured) -> list[str]:
    passed = found.result
    speed, ours = (len(p.rows) / p.seconds for p in (passed, best.result))
    return [name, f"{speed:,.0f}", f"{passed.padding:.1%}", f"{found.peak_mb:,.0f}", f"{ours / speed:.1f}x"]


def _write(folder: Path, rows: int) -> tuple[int, str]:
    """Files of rows with their numbers, and a tokenizer; returns the bytes of text, and where it is from."""
    from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer, save

    folder.mkdir()
    pairs, origin = corpus.long_pairs(rows)
    prompts, responses = (pa.array(column, pa.string()) for column in zip(*pairs, strict=True))
    if len(pairs) < rows:
        origin += f" ({len(pairs):,} different ones, over and over)"
    size = 0
    for number in range(FILES):
        first, end = number * rows // FILES, (number + 1) * rows // FILES
        at = pa.array(np.arange(first, end))
        # There may be more rows than different ones.
        chosen = pa.array(np.arange(first, end) % len(pairs))
        part = pa.table({"prompt": prompts.take(chosen), "response": responses.take(chosen), "row": at})
        size += part.select(["prompt", "response"]).nbytes
        pq.write_table(part, folder / f"rows-{number}.parquet", compression="zstd", row_group_size=10_000)
    save(build_tokenizer([text for pair in pairs[:20_000] for text in pair], TokenizerOptions()), folder)
    return size, origin


def _encoded(folder: Path) -> Path:
    """The same rows as ids, beside the same tokenizer."""
    import shutil

    from smolchat_fast.tokenizer import encode_files

    ids = folder.with_name("ids")
    ids.mkdir()
    shutil.copyfile(folder / "tokenizer.json", ids / "tokenizer.json")
    rows = sorted(folder.glob("rows-*.parquet"))
    encode_files(rows, ids / "rows-0.parquet", tokenizer=folder)
    return ids


def _check(measured: dict[str, Measured], rows: int) -> None:
    best = measured["smolchat-fast"].result
    if not np.array_equal(np.sort(best.rows), np.arange(rows)):
        raise RuntimeError("stream: a row came twice, or not at all")
    tokens = np.empty(rows, np.int64)
    tokens[best.rows] = best.tokens
    for name, found in measured.items():
        other = np.flatnonzero(tokens[found.result.rows] != found.result.tokens)
        if len(other):
            row = found.result.rows[other[0]]
            raise RuntimeError(f"stream: row {row} has {found.result.tokens[other[0]]} tokens with {name}")
