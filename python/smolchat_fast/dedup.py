"""Drop rows whose text is the same or nearly the same as that of an earlier row.

Two rows are duplicates if the Jaccard similarity of their sets of character n-grams is at least
`threshold`. A row is removed if it is a duplicate of an earlier row that is kept. The first such row
is named, or the first with the very same text if there is one. Banded MinHash (Broder 1997,
https://doi.org/10.1109/SEQUEN.1997.666900) proposes pairs, and each is compared on the n-grams
themselves: no row is removed by chance, and at least 998 of 1000 pairs at the threshold itself are
found, more above it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arrow import as_table, as_takeable
from smolchat_fast.progress import Progress
from smolchat_fast.stage import run_stage, to_json

REASONS = ("row", "kept_row", "similarity", "in_against")
"""Columns that say why a row goes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupOptions:
    """How rows are compared."""

    ngram: int = 5
    """Characters per shingle, 1 to 64. A shorter text is one shingle."""
    threshold: float = 0.8
    """Lowest Jaccard similarity of two duplicates, in (0, 1]."""
    hashes: int = 48
    """MinHash values per row. More cost time and memory and give fewer false candidates."""
    normalize: bool = True
    """Compare letters and digits in one width and case, without spaces and sentence punctuation."""
    distinct_numbers: bool = True
    """Rows whose numbers differ are never duplicates."""
    distinct_questions: Literal["no", "first_line", "last_line"] = "no"
    """Line of the first column that holds the question of a longer text. Rows whose questions are no
    duplicates by themselves are never duplicates, unless all of their text is the same."""
    columns: tuple[str, ...] = ()
    """Columns that are compared together; none: prompt and response, or text."""
    keep: Literal["first", "longest"] = "first"
    """Which row of those that are alike stays."""
    against_columns: tuple[str, ...] = ()
    """Columns of `against`; none: those that are compared."""
    contained: float = 0.0
    """Rows that hold this share of the n-grams of a row of `against` go too, however much longer they are;
    0: only whole rows are compared."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        find_duplicates([], self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Groups:
    """Which rows stay and which go."""

    kept: pa.Int64Array
    """Row numbers [K], ascending, counted from 0."""
    removed: pa.Table
    """The N - K others, ascending: `row`, the first kept row it is a duplicate of (`kept_row`), the
    `similarity` of the two, and `in_against`: true if `kept_row` counts the rows of `against`. Of a row
    that goes because it contains one of `against`, `similarity` is the share that it contains."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Deduplicated:
    """The rows of a table, parted."""

    kept: pa.Table
    """The rows that stay, as they were."""
    removed: pa.Table
    """The rows that go, with the columns of `Groups.removed` behind their own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DedupReport:
    """What the removal of duplicates did."""

    rows_in: int
    kept_rows: int
    same_rows: int
    """Removed rows with the same n-grams as a kept row."""
    similar_rows: int
    """Removed rows that were only similar to a kept row."""
    against_rows: int
    """Those of both whose kept row is one of `against` or of the index."""
    index_rows: int = 0
    """Rows of the index that was written."""

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.kept_rows

    def __str__(self) -> str:
        text = f"{self.rows_in:,} rows: {self.kept_rows:,} kept, "
        text += f"{self.same_rows:,} the same as an earlier row, {self.similar_rows:,} nearly the same"
        return text + (f" ({self.against_rows:,} of them as a row of against)" if self.against_rows else "")


@arguments
def find_duplicates(
    texts: Any,
    options: DedupOptions = DedupOptions(),
    *,
    against: Any = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Groups:
    """Find the rows whose text is the same or nearly the same as that of an earlier row.

    Args:
        texts: N strings: a sequence of `str`, or any Arrow column (pyarrow, polars, pandas, DuckDB),
            which is not copied. Of a table, `options.columns` are compared.
        options: How rows are compared.
        against: More texts that count as earlier rows and are all kept.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all), at most ten times a second.
    Returns:
        Row numbers that stay, and the others with the reason.
    Raises:
        DataError: a text is null or no text; names column and row.
        ValueError: an option is out of range.

    >>> find_duplicates(["今天天气很好。", "明天会下雨。", "今天天气很好！"]).kept.to_pylist()
    [0, 1]
    """
    return _find(as_table(texts), options, against, threads, progress)


@arguments
def deduplicate(
    data: Any,
    options: DedupOptions = DedupOptions(),
    *,
    against: Any = None,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Deduplicated:
    """Part the rows of a table into those that stay and those that repeat an earlier one.

    Args:
        data: Any Arrow table or column (pyarrow, polars, pandas, DuckDB, datasets), or a sequence of `str`.
        options: How rows are compared; `columns` says which columns are.
        against: A second table, for example evaluation questions: rows that are duplicates of one of
            its rows go too.
        threads: Worker threads; all cores by default. The result does not depend on it.
        progress: Called with (phase, rows done, rows in all), at most ten times a second.
    Returns:
        Both parts as pyarrow tables, in the order of `data`.
    Raises:
        DataError: a compared column is missing, no text, or null in a row; names column and row.
        ValueError: an option is out of range, or `data` has a column named as one of the reasons.

    >>> parted = deduplicate(pa.table({"text": ["你好呀", "再见啦", "你好呀"]}))
    >>> parted.removed.to_pylist()
    [{'text': '你好呀', 'row': 2, 'kept_row': 0, 'similarity': 1.0, 'in_against': False}]
    """
    table = as_takeable(as_table(data))
    for name in REASONS:
        if name in table.column_names:
            raise ValueError(f"data has a column {name!r}, which the removed rows get too; rename it")
    groups = _find(table, options, against, threads, progress)
    removed = table.take(groups.removed["row"])
    for name in REASONS:
        removed = removed.append_column(name, groups.removed[name])
    return Deduplicated(kept=table.take(groups.kept), removed=removed)


@arguments
def deduplicate_files(
    inputs: Sequence[Path],
    out: Path,
    options: DedupOptions = DedupOptions(),
    *,
    removed: Path | None = None,
    against: tuple[Path, ...] = (),
    index: Path | None = None,
    grown: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DedupReport:
    """Drop the rows of files that are the same or nearly the same as an earlier row, and say why.

    The inputs are read three times: for signatures, for the texts of possible pairs, and to write.
    Memory: 64 bytes a row at the default options, and 5 bytes a character of the rows that share a
    MinHash band with another row.

    Args:
        inputs: Row files with the same columns.
        out: Parquet file of the rows that stay.
        options: How rows are compared.
        removed: Parquet file of the rows that go, with the kept row (counted from 0 through all
            inputs) and the similarity; not written by default.
        against: Row files, for example of evaluation questions: rows that are duplicates of one of
            their rows go too.
        index: Index of rows that earlier runs kept, made with `grown`: duplicates of them go too.
        grown: File for the index of those rows and of the rows that stay now; the next run reads it.
        threads: Worker threads; all cores by default. The result does not depend on it.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, rows done, rows in all).
    Returns:
        Rows read, kept and removed.
    Raises:
        DataError: a file or the index is damaged, lacks a column, or has a null in it; names file and row.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """

    also = [path for path in (removed, grown) if path]

    def work(partial: list[Path]) -> dict[str, int]:
        outputs = dict(zip(also, partial[1:], strict=True))
        return json.loads(
            _core.deduplicate_files(
                list(inputs),
                partial[0],
                json.dumps(asdict(options)),
                removed=outputs[removed] if removed else None,
                against=list(against),
                index=index,
                grown=outputs[grown] if grown else None,
                threads=threads,
                progress=progress,
            )
        )

    finished = run_stage(
        "dedup",
        out,
        work,
        inputs=[*inputs, *against, *([index] if index else [])],
        options=to_json(options)
        | {
            # Their content counts among the inputs; this says which of them are which.
            "against": len(against),
            "index": index is not None,
        },
        also=also,
        overwrite=overwrite,
    )
    return DedupReport(**finished.report)


class Index:
    """Rows that were kept so far: what comes later is checked against all of them.

    >>> index = Index(DedupOptions(columns=("text",)))
    >>> index.add(["今天天气很好。", "明天会下雨。"]).kept.num_rows
    2
    >>> index.add(["今天天气很好！", "后天是晴天。"]).kept["text"].to_pylist()
    ['后天是晴天。']
    >>> len(index)
    3
    """

    @arguments
    def __init__(self, options: DedupOptions = DedupOptions()) -> None:
        """Holds no row yet; the columns of the first rows that come are those of the index."""
        self.options = options
        self.rows: pa.Table | None = None
        """The compared columns of the kept rows."""

    def __len__(self) -> int:
        return self.rows.num_rows if self.rows is not None else 0

    def check(
        self, data: Any, *, threads: int | None = None, progress: Progress | None = None
    ) -> Deduplicated:
        """Part rows into those that are new and those that repeat a row of the index or an earlier one.

        Args:
            data: As for `deduplicate`.
            threads: Worker threads; all cores by default.
            progress: Called with (phase, rows done, rows in all).
        Returns:
            Both parts; `in_against` is true where `kept_row` counts the rows of the index.
        Raises:
            DataError, ValueError: as `deduplicate`.
        """
        return deduplicate(data, self.options, against=self.rows, threads=threads, progress=progress)

    def add(self, data: Any, *, threads: int | None = None, progress: Progress | None = None) -> Deduplicated:
        """The same, and the new rows become part of the index."""
        table = as_table(data)
        parted = self.check(table, threads=threads, progress=progress)
        names = self.options.columns or (
            tuple(self.rows.column_names) if self.rows is not None else _core.compared_columns(table)
        )
        new = _as_strings(parted.kept.select(list(names)))
        self.rows = new if self.rows is None else pa.concat_tables([self.rows, new])
        return parted

    @arguments
    def save(self, path: Path) -> None:
        """Write the index; `deduplicate_files(index=path)` reads it too.

        Raises:
            ValueError: it holds no rows.
            OSError: for example a full disk; nothing is left behind then.
        """
        if self.rows is None:
            raise ValueError("the index holds no rows; add some before saving it")
        _core.save_index(self.rows, self.rows.column_names, path)

    @classmethod
    @arguments
    def load(cls, path: Path, options: DedupOptions = DedupOptions()) -> Index:
        """Read an index that `save` or `deduplicate_files(grown=path)` wrote.

        Args:
            path: The file.
            options: How rows are compared; any but other columns.
        Raises:
            DataError: this is no index, or a damaged one.
            ValueError: it holds other columns than the options name.
        """
        columns, rows = _core.load_index(path)
        if options.columns and list(options.columns) != columns:
            raise ValueError(f"option columns = {options.columns}: {path} holds {', '.join(columns)}")
        index = cls(replace(options, columns=tuple(columns)))
        index.rows = _as_strings(rows)
        return index


def _as_strings(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([(name, pa.string()) for name in table.column_names]))


def _find(
    table: pa.Table, options: DedupOptions, against: Any, threads: int | None, progress: Progress | None
) -> Groups:
    kept, removed = _core.find_duplicates(
        table,
        json.dumps(asdict(options)),
        against=None if against is None else as_table(against),
        threads=threads,
        progress=progress,
    )
    return Groups(kept=kept, removed=pa.Table.from_batches([removed]))
