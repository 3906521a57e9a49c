"""What a caller hands over, as an Arrow table: the one rule of all functions that take `data`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa


def as_table(data: Any, column: str = "text") -> pa.Table:
    """An Arrow table of whatever holds rows, without a copy.

    Args:
        data: A table or a column of any library that speaks Arrow (pyarrow, polars, pandas, DuckDB), a
            dataset of `datasets`, or a sequence of `str`.
        column: Name of the only column where `data` is a column or a sequence.
    Raises:
        TypeError: `data` is none of these.
    """
    if isinstance(data, (str, bytes)):
        raise TypeError("expected a sequence of strings or an Arrow column or table, got one string")
    if hasattr(data, "with_format"):  # a Dataset of `datasets`, which may have rows chosen by an index
        return data.with_format("arrow")[:]
    if hasattr(data, "__arrow_c_stream__"):
        try:
            return pa.table(data)
        except (TypeError, ValueError, pa.ArrowInvalid):
            return pa.Table.from_arrays([pa.chunked_array(data)], [column])
    if hasattr(data, "__arrow_c_array__"):
        values = pa.array(data)
        is_table = pa.types.is_struct(values.type)
        return pa.Table.from_struct_array(values) if is_table else pa.table({column: values})
    if isinstance(data, Sequence) or hasattr(data, "__array__"):
        return pa.table({column: pa.array(data, pa.large_string())})
    raise TypeError(f"expected a sequence of strings or an Arrow column or table, got {type(data).__name__}")


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds text, in whatever form: plain, large, views, or a dictionary of any of these."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def as_takeable(table: pa.Table) -> pa.Table:
    """The same with plain text in place of views, as polars has them: pyarrow cannot choose rows of these."""
    fields = [field.with_type(_without_views(field.type)) for field in table.schema]
    metadata: Any = table.schema.metadata
    return table.cast(pa.schema(fields, metadata))


def _without_views(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, _without_views(kind.value_type), kind.ordered)
    return {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}.get(kind, kind)
