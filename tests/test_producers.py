"""Tables of other libraries are taken as they are, and give what pyarrow gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from smolchat_fast.clean import clean
from smolchat_fast.dedup import deduplicate
from smolchat_fast.split import SplitOptions, split
from smolchat_fast.stats import stats

ROWS = {"prompt": ["你好 吗?", "再见", "你好吗"], "response": ["很好", "再见！！", "很好"]}


def polars() -> Any:
    return pytest.importorskip("polars").DataFrame(ROWS)


def pandas() -> Any:
    return pytest.importorskip("pandas").DataFrame(ROWS)


def duckdb() -> Any:
    rows = pa.table(ROWS)
    return pytest.importorskip("duckdb").from_arrow(rows)


def datasets() -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict(ROWS).with_format("arrow")[:]


@pytest.mark.parametrize("make", [polars, pandas, duckdb, datasets], ids=lambda make: make.__name__)
def test_every_stage_takes_it(make: Callable[[], Any]) -> None:
    data, expected = make(), pa.table(ROWS)
    assert clean(data).table.to_pylist() == clean(expected).table.to_pylist()
    assert deduplicate(make()).kept.to_pylist() == deduplicate(expected).kept.to_pylist()
    assert stats(make()) == stats(expected)
    half = SplitOptions(parts=("valid=1",))
    assert split(make(), half).train.to_pylist() == split(expected, half).train.to_pylist()
