"""What a caller hands over, as an Arrow table: the one rule of all functions that take `data`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

UNNAMED = re.compile(r"__index_level_\d+__")
"""What pyarrow calls a level of an index without a name."""


def as_table(data: Any, column: str = "text") -> pa.Table:
    """An Arrow table of whatever holds rows, without a copy.

    Args:
        data: A table or a column of any library that speaks Arrow (pyarrow, polars, pandas, DuckDB), a
            dataset of `datasets`, or a sequence of `str`. The index of a pandas frame is a column if it has a name.
        column: Name of the only column where `data` is a column or a sequence.
    Raises:
        TypeError: `data` is none of these.
    """
    if isinstance(data, (str, bytes)):
        raise _unfit("one string")
    if isinstance(data, pa.Table):
        return data
    # A Dataset of `datasets`, which may have rows chosen by an index; an iterable one has no length.
    if hasattr(data, "with_format") and hasattr(data, "__len__") and not isinstance(data, Mapping):
        return data.with_format("arrow")[:]
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return _without_unnamed_index(pa.table(data))
        except (TypeError, ValueError, pa.ArrowInvalid):
            return pa.Table.from_arrays([pa.chunked_array(data)], [column])
    if hasattr(data, "__arrow_c_array__"):
        values = pa.array(data)
        is_table = pa.types.is_struct(values.type)
        return pa.Table.from_struct_array(values) if is_table else pa.table({column: values})
    if isinstance(data, Sequence) or hasattr(data, "__array__"):
        try:
            return pa.table({column: pa.array(data, pa.large_string())})
        except (TypeError, pa.ArrowInvalid) as error:
            raise _unfit(f"a {type(data).__name__} of something else ({error})") from error
    raise _unfit(type(data).__name__)


def _unfit(found: str) -> TypeError:
    return TypeError(f"expected a sequence of strings or an Arrow column or table, got {found}")


def _without_unnamed_index(table: pa.Table) -> pa.Table:
    """A frame of pandas hands its index over with its columns; one that has no name says only where rows were."""
    index = (table.schema.pandas_metadata or {}).get("index_columns", ())
    return table.drop_columns([name for name in index if isinstance(name, str) and UNNAMED.fullmatch(name)])


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, in whatever form: plain, large, views, or a dictionary of any of these."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def first_null(column: pa.Array[Any] | pa.ChunkedArray[Any]) -> int | None:
    """The first row of a column that is null, counted from 0."""
    return column.is_null().index(True).as_py() if column.null_count else None


def as_takeable(table: pa.Table) -> pa.Table:
    """The same with plain text in place of views, as polars has them: pyarrow cannot choose rows of these."""
    fields = [field.with_type(_without_views(field.type)) for field in table.schema]
    metadata: Any = table.schema.metadata
    return table.cast(pa.schema(fields, metadata))


def _without_views(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
