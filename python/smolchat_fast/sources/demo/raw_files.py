"""Writes rows as raw files and notes on which line each record stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

BROKEN = "broken_row"


@dataclass(eq=False)
class Record:
    """One record of a raw file, with what a reader and a cleaner should make of it."""

    prompt: str
    response: str
    label: str
    kind: str | None = None
    """Kind of dirt or reason of removal; None for a clean row."""
    clean: tuple[str, str] | None = None
    """The clean prompt and response of a row that is to be kept."""
    original: Record | None = field(default=None, repr=False)
    """The record that this one repeats."""
    file: str = ""
    line: int = 0
    """First line of the record, from 1."""


def json_line(values: dict[str, str], record: Record) -> bytes:
    """One JSON object; a broken one is cut off or holds a byte that is not UTF-8."""
    text = json.dumps(values, ensure_ascii=False).encode()
    if record.kind != BROKEN:
        return text
    cut = len(text) * 2 // 3
    return text[:cut] + b"\xff" + text[cut:] if len(record.prompt) % 2 else _whole_characters(text[:cut])


def _whole_characters(text: bytes) -> bytes:
    return text.decode(errors="ignore").encode()


def qa_line(record: Record, number: int) -> bytes:
    """`{"prompt", "response"}`."""
    return json_line({"prompt": record.prompt, "response": record.response}, record)


def instruction_line(record: Record, number: int) -> bytes:
    """`{"instruction", "input", "output"}`, the input empty."""
    return json_line({"instruction": record.prompt, "input": "", "output": record.response}, record)


def csv_field(text: str) -> str:
    """A field, quoted if it must be."""
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"') else text


CSV_HEADER = "department,title,ask,answer"


def forum_line(record: Record, number: int) -> bytes:
    """A CSV line in GB18030; a broken one has too few columns or a byte that GB18030 does not have."""
    fields = [record.label, record.prompt, record.prompt, record.response]
    if record.kind != BROKEN:
        return ",".join(map(csv_field, fields)).encode("gb18030")
    if len(record.prompt) % 2:
        return ",".join(map(csv_field, fields[:2])).encode("gb18030")
    return ",".join(map(csv_field, fields[:3])).encode("gb18030") + b",\xff\xff" + fields[3].encode("gb18030")


def article_block(record: Record, number: int) -> bytes:
    """A WikiExtractor document: title line, empty line, text."""
    address = f"https://example.org/wiki?curid={number}"
    head = f'<doc id="{number}" url="{address}" title="{record.prompt}">'
    return f"{head}\n{record.prompt}\n\n{record.response}\n\n</doc>".encode()


def write_records(
    path: Path, name: str, records: list[Record], write: Callable[[Record, int], bytes], header: str = ""
) -> None:
    """Writes records in order, a line or a block each, and sets their `file` and `line`."""
    line = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as out:
        if header:
            out.write(header.encode("gb18030") + b"\n")
            line += 1
        for number, record in enumerate(records, start=1):
            record.file, record.line = name, line
            block = write(record, number)
            out.write(block + b"\n")
            line += block.count(b"\n") + 1
