"""How raw files are read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from smolchat_fast import _core
from smolchat_fast.sections import NOWHERE, check_by_core


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceOptions:
    """How raw files are read. What is left open is found out from the beginning of each file."""

    shape: Literal["auto", "pairs", "preference", "text"] = "auto"
    """Kind of the rows: question and answer, preference, or plain text."""
    format: Literal["auto", "json", "csv", "wiki", "text", "parquet"] = "auto"
    """Format of the files."""
    prompt_columns: tuple[str, ...] = ()
    """Fields joined to the prompt, in this order."""
    response_column: str | None = None
    """Field that holds the response."""
    chosen_column: str | None = None
    """Field that holds the preferred answer."""
    rejected_column: str | None = None
    """Field that holds the other answer."""
    text_column: str | None = None
    """Field that holds plain text."""
    separator: str | None = None
    """Character between the fields of a CSV file; `tab` for a tab."""
    encoding: str | None = None
    """Encoding of the files, for example `gb18030`."""
    source: str | None = None
    """What the column `source` says; the name of the file by default."""
    text_unit: Literal["line", "paragraph", "file"] = "line"
    """What becomes one row of a plain text file."""
    wiki_prompts: tuple[str, ...] = (
        "请介绍一下{title}。",
        "{title}是什么？",
        "你知道{title}吗？",
        "说说{title}。",
        "我想了解{title}。",
    )
    """Questions made of the title of an article, `{title}` standing for it; chosen by its hash."""
    wiki_max_chars: int = 512
    """Longest answer made of an article, in characters; cut where a sentence ends."""
    max_bad_share: float = 0.01
    """Share of the records that may be bad."""
    strict: bool = False
    """Stop at the first bad record."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        check_by_core(_core.read_files, NOWHERE, json.dumps(asdict(self)))
