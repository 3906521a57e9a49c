"""Count words exactly as jieba 0.42.1 does, on all cores.

>>> from smolchat_fast.words import count_words
>>> count_words(["今天下雨，我很高兴", "今天下雨"]).slice(0, 2).to_pylist()
[{'word': '下雨', 'count': 2}, {'word': '今天', 'count': 2}]
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arrow import as_table, first_null, is_text
from smolchat_fast.errors import DataError, refuse_one_string
from smolchat_fast.progress import Progress
from smolchat_fast.sections import NOWHERE, check_by_core
from smolchat_fast.stage import run_stage, to_json

COUNT_TYPES: dict[str, Any] = {"word": pa.string(), "count": pa.int64()}
"""Columns of a table of word counts."""
COUNTS = (".parquet", ".tsv")
"""Endings of tables of counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WordOptions:
    """How words are counted."""

    hmm: bool = True
    """Find words that the dictionary lacks with jieba's Markov model."""
    user_dict: Path | None = None
    """File with further words, lines `word [frequency] [tag]`, as jieba's `load_userdict` reads it."""
    columns: tuple[str, ...] = ()
    """Columns of a table that are counted; none: every text column but `source`."""
    memory_mb: int = 2_048
    """Memory for distinct words, in MiB; when it is full they go to disk and are summed at the end."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        check_by_core(_core.count_words_files, NOWHERE, NOWHERE, _options_json(self))

    def deciding(self) -> dict[str, Any]:
        """The options that decide the counts; a dictionary does by its content, so it counts among the inputs."""
        return {"hmm": self.hmm, "user_dict": self.user_dict is not None, "columns": self.columns}


@dataclass(frozen=True, kw_only=True, slots=True)
class WordReport:
    """What a count did."""

    rows: int
    bytes: int
    words: int
    distinct_words: int

    @property
    def rows_in(self) -> int:
        """Rows read."""
        return self.rows

    def __str__(self) -> str:
        size = f"{self.rows:,} rows, {self.bytes:,} bytes"
        return f"{size}: {self.words:,} words, {self.distinct_words:,} distinct"


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeReport:
    """What a merge of counts did."""

    tables: int
    words: int
    distinct_words: int

    def __str__(self) -> str:
        return f"{self.tables:,} tables: {self.words:,} words, {self.distinct_words:,} distinct"


@arguments
def count_words(
    data: Any,
    options: WordOptions = WordOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> pa.Table:
    """Count the words of a table, of a column or of a list of strings.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        options: How words are counted.
        threads: Worker threads; all cores by default.
        progress: Called with (phase, texts done, texts in all).
    Returns:
        Table `word: string, count: int64`, by count descending, then by word.
    Raises:
        DataError: a text is null, or the user dictionary cannot be used; names row and column.
        ValueError: a column is missing.
    """
    table = as_table(data)
    columns = [_without_nulls(table, name) for name in text_names(table, options.columns)]
    return _core.count_words(columns, _options_json(options), threads=threads, progress=progress)


def merge(tables: Sequence[Any]) -> pa.Table:
    """The counts of several parts of a corpus as those of the whole.

    Args:
        tables: Tables `word, count` of any library that speaks Arrow, as of `count_words`.
    Returns:
        Table `word: string, count: int64`, by count descending, then by word.
    Raises:
        DataError: a table lacks a column, or a value is null or negative.
    """
    return _core.merge_word_counts([as_counts(table) for table in tables])


class Segmenter:
    """Cuts texts into words as jieba does.

        >>> Segmenter().cut("他来到了网易杭研大厦")
        ['他', '来到', '了', '网易', '杭研', '大厦']

    Args:
        options: With or without Markov model, and a user dictionary.
    Raises:
        DataError: the user dictionary cannot be used; names file and line.
    """

    @arguments
    def __init__(self, options: WordOptions = WordOptions()) -> None:
        self._core, self._hmm = _core.Segmenter(options.user_dict), options.hmm

    def cut(self, text: str) -> list[str]:
        """The words of a text in order, as of `jieba.lcut`; joined they are the text."""
        return self._core.cut(text, self._hmm)


@arguments
def count_words_files(
    inputs: Sequence[Path],
    out: Path,
    options: WordOptions = WordOptions(),
    *,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> WordReport:
    """Count the words of row files into one table, by count descending.

    A count that was stopped goes on after the last file that is safe on disk; such a place is kept after
    each 512 MiB of text. Memory: `memory_mb` for distinct words, whatever the corpus, and some batches.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file `word: string, count: int64`; TSV with a header line if it is called so, where
            tab, line feed, carriage return and backslash are written `\\t`, `\\n`, `\\r`, `\\\\`.
        options: How words are counted.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Rows, bytes and words counted.
    Raises:
        DataError: a file is damaged, lacks a column or has a null; names file and row.
        StageError: `out` exists and was made otherwise.
    """

    result = f"counts{_suffix(out)}"

    def work(partial: list[Path]) -> dict[str, int]:
        parts = partial[0] / "parts"
        try:
            report = _core.count_words_files(
                list(inputs),
                partial[0] / result,
                parts,
                _options_json(options),
                threads=threads,
                progress=progress,
            )
        except BaseException:
            if not (parts / "done.json").exists():  # there is nothing to go on from
                shutil.rmtree(partial[0], ignore_errors=True)
            raise
        counted: dict[str, int] = json.loads(report)
        return counted

    read = [*inputs, *([options.user_dict] if options.user_dict else [])]
    finished = run_stage(
        "words",
        out,
        work,
        makes=COUNTS,
        inputs=read,
        options=options.deciding(),
        overwrite=overwrite,
        resumable=True,
        result=result,
    )
    return WordReport(**finished.report)


@arguments
def merge_files(
    inputs: Sequence[Path],
    out: Path,
    *,
    memory_mb: int = 2_048,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Add up counts of several parts of a corpus, for example of several machines.

    Args:
        inputs: Tables `word, count` of the command `count`, Parquet or TSV.
        out: The counts of the whole, Parquet or TSV, by count descending.
        memory_mb: Memory for distinct words, in MiB; when it is full they go to disk.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Tables and words.
    Raises:
        DataError: there is no file, a file is no such table, or a count is null or negative; names file and row.
        StageError: `out` exists and was made otherwise.
    """
    if not inputs:
        raise DataError("no input files; give tables of the command count")
    result = f"counts{_suffix(out)}"

    def work(partial: list[Path]) -> dict[str, int]:
        parts = partial[0] / "parts"
        report = _core.merge_word_count_files(
            list(inputs), partial[0] / result, parts, memory_mb, threads=threads, progress=progress
        )
        merged: dict[str, int] = json.loads(report)
        return merged

    finished = run_stage(
        "count merge", out, work, makes=COUNTS, inputs=inputs, overwrite=overwrite, result=result
    )
    return MergeReport(**finished.report)


@arguments
def read_counts(path: Path) -> pa.Table | None:
    """The table `word, count` of a file, Parquet or TSV; None if it holds something else.

    Raises:
        DataError: the file cannot be read.
    """
    return _core.read_word_counts(path)


def is_counts(table: pa.Table) -> bool:
    """Whether this is a table of word counts and not of texts: it has these two columns alone, in any order."""
    return sorted(table.column_names) == sorted(COUNT_TYPES)


def as_counts(data: Any) -> pa.Table:
    """The table `word: string, count: int64` of any library's table, whatever its types of strings and integers.

    Raises:
        DataError: a column is missing, or holds something else.
    """
    table = as_table(data)
    try:
        return table.select(list(COUNT_TYPES)).cast(pa.schema(COUNT_TYPES))
    except (KeyError, pa.ArrowException) as error:
        found = ", ".join(f"{field.name}: {field.type}" for field in table.schema)
        raise DataError(f"not a table word: string, count: int64 ({found})") from error


def _suffix(out: Path) -> str:
    return ".tsv" if out.suffix.lower() == ".tsv" else ".parquet"


def text_columns(data: Any, names: Sequence[str] = ()) -> list[pa.ChunkedArray[Any]]:
    """The text of anything that `as_table` takes, without a copy.

    Args:
        data: A table, a column or a sequence of strings.
        names: Columns of a table; none: every text column but `source`.
    Raises:
        TypeError: `data` is something else.
        ValueError: a column is missing.
    """
    table = as_table(data)
    return [table.column(name) for name in text_names(table, names)]


def text_names(table: pa.Table, names: Sequence[str] = ()) -> list[str]:
    """The columns of these names, or without any every text column but `source`.

    Raises:
        ValueError: a column is missing, or the names are one string.
    """
    refuse_one_string("columns", names)
    names = names or [f.name for f in table.schema if is_text(f.type) and f.name != "source"]
    missing = [name for name in names if name not in table.column_names]
    if missing or not names:
        found = ", ".join(table.column_names)
        raise ValueError(f"option columns = {list(missing or names)}: no such text column (columns: {found})")
    return list(names)


def _without_nulls(table: pa.Table, name: str) -> pa.ChunkedArray[Any]:
    column = table.column(name)
    if (row := first_null(column)) is not None:
        raise DataError(f"row {row + 1}: column {name!r} is null; drop such rows first")
    return column


def _options_json(options: WordOptions) -> str:
    return json.dumps(to_json(asdict(options)))
