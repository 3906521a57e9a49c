"""Cleaning: ours with every rule on, and the same rules in plain Python with `re`.

The Python side has every rule in its simple form, one expression after the other, without what makes
ours safe: it does not look for code, addresses or numbers first. So rows that hold Latin letters are left
out of the comparison of results; of the rest nearly all must have the same characters, and most the same
marks, where ours decides by what stands around; all rows are timed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq

from . import corpus
from .measure import machine, measure, table

HAN = "\u4e00-\u9fff"
WIDE = HAN + "，。！？：；（）“”、《》…—"
WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()}
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
TEMPLATES = re.compile(r"^###\s*\w+:\s*|</?s>|<eo[ahms]>|<\|[a-z_]+\|>|<?noinput>?", re.MULTILINE)
TAGS = re.compile(r"</?(?:p|br|div|span|b|i|a|ul|li|ol|h\d|strong|em|img|table|tr|td)\b[^>]*>")
MARKS = [
    (re.compile(rf"(?<=[{WIDE}]){re.escape(mark)}|{re.escape(mark)}(?=[{WIDE}])"), chinese)
    for mark, chinese in zip(",!?:;", "，！？：；", strict=True)
] + [(re.compile(rf"(?<=[{HAN}])\.(?!\w|\.)"), "。")]
# Two brackets become Chinese together, if one of them stands beside Chinese.
BRACKETS = re.compile(
    rf"(?:(?<=[{WIDE}])\(|\((?=[{WIDE}]))([^()\n]*)\)|\(([^()\n]*)(?:(?<=[{WIDE}])\)|\)(?=[{WIDE}]))"
)
REPEATS = re.compile(r"([，。！？；：、,!?;])\1+")
SPACES = [
    (re.compile(rf"(?<=[{WIDE}])[ \t]+(?=[{WIDE}])"), ""),
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
    (re.compile(r"(?<=\S)[ \t]{2,}"), " "),
]
BROKEN = re.compile("\ufffd|锟斤拷|烫烫烫")
REPETITION = re.compile(r"(.{4,20}?)\1{5,}", re.DOTALL)
ONLY_MARKS = re.compile(r"[\W_]*")


def as_column(path: Path) -> Any:
    return pq.read_table(path)


def as_strings(path: Path) -> list[str]:
    return pq.read_table(path)["text"].to_pylist()


def ours(rows: Any) -> Any:
    from smolchat_fast.clean import clean

    return clean(rows).table


def plain_python(rows: list[str]) -> list[str]:
    cleaned = (_clean(row) for row in rows)
    return [row for row in cleaned if row and not (BROKEN.search(row) or _says_nothing(row))]


def _clean(text: str) -> str:
    text = CONTROL.sub("", text)
    text = TEMPLATES.sub("", text)
    text = html.unescape(TAGS.sub("", text))
    text = text.translate(WIDTH).replace("\u3000", " ")
    for mark, chinese in MARKS:
        text = mark.sub(chinese, text)
    text = BRACKETS.sub(lambda found: f"（{found[1] or found[2] or ''}）", text)
    text = REPEATS.sub(r"\1", text)
    for spaces, with_ in SPACES:
        text = spaces.sub(with_, text)
    return text.strip()


def _letters(row: str) -> str:
    return re.sub(r"[\W_]+", "", row)


def _says_nothing(text: str) -> bool:
    return bool(ONLY_MARKS.fullmatch(text) or REPETITION.search(text))


CONTENDERS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], Any]]] = {
    "smolchat-fast": (as_column, ours),
    "plain Python, re": (as_strings, plain_python),
}


def run(megabytes: float) -> str:
    """Measure both on this much text and return the report.

    Raises:
        RuntimeError: of the rows without Latin letters, over 5 % differ by more than marks and spaces.
    """
    texts, origin = corpus.texts(10**9)
    total, chosen = 0, []
    for text in texts:
        if total > megabytes * 1e6:
            break
        total += len(text.encode())
        chosen.append(text)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.parquet"
        corpus.write(chosen, path)
        measured = {name: measure(prepare, work, path) for name, (prepare, work) in CONTENDERS.items()}
    # Each gives rows in the form in which it takes them: a table, or strings.
    rows = {name: found.result for name, found in measured.items()}
    rows["smolchat-fast"] = rows["smolchat-fast"]["text"].to_pylist()
    results = {name: {row for row in found if row.isprintable()} for name, found in rows.items()}
    ours_alone = {row for row in results["smolchat-fast"] if not re.search("[A-Za-z]", row)}
    theirs = results["plain Python, re"]
    equal = len(ours_alone & theirs) / max(1, len(ours_alone))
    theirs_letters = set(map(_letters, theirs))
    same_letters = sum(_letters(row) in theirs_letters for row in ours_alone) / max(1, len(ours_alone))
    if same_letters < 0.95:
        raise RuntimeError(
            f"clean: only {same_letters:.2%} of the rows without Latin letters kept the same text"
        )
    best = measured["smolchat-fast"]
    lines = [
        [
            name,
            f"{total / 1e6 / found.wall_s:,.1f}",
            f"{found.wall_s:.2f}",
            f"{found.cpu_s:.2f}",
            f"{found.peak_mb:,.0f}",
            f"{found.wall_s / best.wall_s:.1f}x",
        ]
        for name, found in measured.items()
    ]
    title = f"clean: {len(chosen):,} rows, {total / 1e6:.1f} MB of {origin}, from Arrow to Arrow and from strings to strings; "
    title += f"of the rows of Chinese alone {equal:.1%} came out the same, {same_letters:.1%} but for marks and spaces"
    header = ["", "MB/s", "wall s", "CPU s", "peak MB", "wall"]
    return "\n".join([title, machine(["smolchat-fast"]), "", table(header, lines)])
