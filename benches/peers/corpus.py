"""Rows to run on: real Chinese questions and answers where they are, made-up ones elsewhere."""

from __future__ import annotations

import os
import random
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(os.environ.get("SMOLCHAT_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
MIN_CHARS, MAX_CHARS = 50, 400
MADE_UP_ROWS = 100_000
"""Different rows of made-up text where many are asked for; they come again after that."""


def texts(rows: int, seed: int = 1) -> tuple[list[str], str]:
    """Different texts of 50 to 400 characters, and where they come from."""
    files = sorted((DATA / "sft").glob("*.parquet"))
    if not files:
        return made_up(rows, seed), "made-up text"
    found = list(
        dict.fromkeys(f"{prompt}\n{response}"[:MAX_CHARS] for prompt, response in _read_pairs(files))
    )
    found = [text for text in found if len(text) >= MIN_CHARS]
    random.Random(seed).shuffle(found)
    return found[:rows], "questions and answers of SMOLCHAT_DATA/sft"


def whole_texts(mb: float, seed: int = 1) -> tuple[list[str], str]:
    """Different texts of any length, of so many megabytes if there are as many, and where they come from."""
    files = sorted(path for folder in ("sft", "text") for path in (DATA / folder).glob("*.parquet"))
    if not files:
        return made_up(int(mb * 1e6 / 400), seed), "made-up text"
    found: dict[str, None] = {}
    for path in files:
        rows = pq.read_table(path)
        columns = [
            column.to_pylist()
            for name, column in zip(rows.column_names, rows.columns, strict=True)
            if name != "source"
        ]
        found.update(dict.fromkeys("\n".join(parts) for parts in zip(*columns, strict=True)))
    everything = list(found)
    random.Random(seed).shuffle(everything)
    sizes = accumulate(len(text.encode()) for text in everything)
    return [text for text, size in zip(everything, sizes, strict=True) if size <= mb * 1e6], (
        "texts of SMOLCHAT_DATA/sft and text"
    )


def pairs(rows: int, seed: int = 1) -> tuple[list[tuple[str, str]], str]:
    """Different questions with their answers, and where they come from; elsewhere those of the demo."""
    files = sorted((DATA / "sft").glob("*.parquet"))
    if not files:
        found, origin = demo_pairs(seed)
        return found[:rows], origin
    return _shuffled_pairs(files, seed)[:rows], "questions and answers of SMOLCHAT_DATA/sft"


def short_pairs(rows: int, most_chars: int, seed: int = 1) -> tuple[list[tuple[str, str]], str]:
    """The same, of at most so many characters, question and answer together."""
    found, origin = pairs(sys.maxsize, seed)
    return [pair for pair in found if len(pair[0]) + len(pair[1]) <= most_chars][:rows], origin


def long_pairs(rows: int) -> tuple[list[tuple[str, str]], str]:
    """Different pairs of at least 50 characters, at most so many, and where they come from."""
    files = sorted((DATA / "sft").glob("*.parquet"))
    if not files:
        texts = made_up(min(rows, MADE_UP_ROWS), 1)
        return [(text[: len(text) // 2], text[len(text) // 2 :]) for text in texts], "made-up text"
    found = [pair for pair in _shuffled_pairs(files, 1) if len(pair[0]) + len(pair[1]) >= MIN_CHARS]
    return found[:rows], "questions and answers of SMOLCHAT_DATA/sft"


def demo_pairs(seed: int = 1) -> tuple[list[tuple[str, str]], str]:
    """The rows that the demo is pre-trained on."""
    from smolchat_fast.pipeline import run_recipe
    from smolchat_fast.recipe import read_recipe

    with tempfile.TemporaryDirectory() as folder:
        run_recipe(read_recipe(Path("demo")), Path(folder), until="data")
        return _shuffled_pairs([Path(folder) / "data/pretrain/train.parquet"], seed), "rows of the demo"


def _shuffled_pairs(files: list[Path], seed: int) -> list[tuple[str, str]]:
    found = [pair for pair in dict.fromkeys(_read_pairs(files)) if all(pair)]
    random.Random(seed).shuffle(found)
    return found


def _read_pairs(files: list[Path]) -> Iterator[tuple[str, str]]:
    """Prompts and responses of all rows, in their order."""
    for path in files:
        table = pq.read_table(path, columns=["prompt", "response"]).to_pydict()
        yield from zip(table["prompt"], table["response"], strict=True)


def made_up(rows: int, seed: int) -> list[str]:
    """Sentences of words that are drawn by a Zipf law."""
    rng = random.Random(seed)
    characters = [chr(code) for code in rng.sample(range(0x4E00, 0x9FA5), 3000)]
    by_rank = [1 / (rank + 2.7) for rank in range(20_000)]
    words = ["".join(rng.choices(characters, by_rank[:3000], k=rng.choice([1, 2, 2, 2, 3]))) for _ in by_rank]
    drawn = iter(rng.choices(words, by_rank, k=rows * 130))

    def text(length: int) -> str:
        parts: list[str] = []
        while sum(map(len, parts)) < length:
            parts.append(next(drawn) + rng.choice(["", "", "", "", "", "，", "。"]))
        return "".join(parts)[:MAX_CHARS]

    return [text(rng.randint(MIN_CHARS, 250)) for _ in range(rows)]


def with_near_copies(rows: int, seed: int = 1) -> tuple[list[str], str]:
    """Texts of which one in ten is a near copy of another: characters edited, clauses swapped, or exact."""
    originals, origin = texts(rows * 9 // 10, seed)
    rng = random.Random(seed + 1)
    copies = [_near_copy(rng.choice(originals), rng) for _ in range(round(len(originals) / 9))]
    everything = originals + copies
    rng.shuffle(everything)
    return everything, origin


def _near_copy(text: str, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.25:
        return text
    if kind < 0.4:
        clauses = text.split("，")
        at = rng.randrange(len(clauses))
        return "，".join(clauses[at:] + clauses[:at])
    chars = list(text)
    for _ in range(max(1, round(len(chars) * rng.choice([0.005, 0.01, 0.02, 0.04])))):
        at = rng.randrange(len(chars))
        chars[at : at + rng.randint(0, 1)] = rng.choice(["", rng.choice(text)])
    return "".join(chars)


def write(rows: list[str], path: Path) -> None:
    """Write rows as a Parquet file with the column `text`."""
    pq.write_table(pa.table({"text": pa.array(rows, pa.string())}), path)
