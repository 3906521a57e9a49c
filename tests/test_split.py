"""The same question never stands on two sides, and parts are as large as they were asked to be."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError
from smolchat_fast.split import SplitOptions, SplitReport, split, split_files


def rows(count: int) -> pa.Table:
    """Each prompt twice, the second time in other dress."""
    prompts = [f"第{n}个问题是什么" for n in range(count // 2)]
    dressed = [f" 第{n}个问题是什么？" for n in range(count // 2)]
    return pa.table({"prompt": prompts + dressed, "response": [str(n) for n in range(count)]})


@settings(deadline=None, max_examples=40)
@given(
    prompts=st.lists(st.text("天气Aa，。 1", max_size=4), min_size=5, max_size=40),
    seed=st.integers(0, 99),
    threads=st.integers(1, 3),
)
def test_rows_that_ask_the_same_stay_together_in_order(prompts: list[str], seed: int, threads: int) -> None:
    table = pa.table({"prompt": prompts, "row": range(len(prompts))})
    parted = split(table, SplitOptions(parts=("valid=0.3", "test=1%"), seed=seed), threads=threads)
    sides = {"train": parted.train} | parted.parts
    numbers = [number for side in sides.values() for number in side["row"].to_pylist()]
    assert sorted(numbers) == list(range(len(prompts)))
    assert all(side["row"].to_pylist() == sorted(side["row"].to_pylist()) for side in sides.values())
    for prompt in prompts:
        assert sum(prompt in side["prompt"].to_pylist() for side in sides.values()) == 1


def test_files_give_the_same_as_tables(tmp_path: Path) -> None:
    table = rows(20_000)
    pq.write_table(table.slice(0, 9_000), tmp_path / "a.parquet")
    pq.write_table(table.slice(9_000), tmp_path / "b.parquet")
    options = SplitOptions(parts=("valid=301", "test=0.02", "dev=100"))
    inputs = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    out = tmp_path / "made" / "train.parquet"
    report = split_files(inputs, out, options, threads=2)
    parted = split(table, options, threads=3)
    assert report == SplitReport(
        rows_in=20_000,
        train_rows=parted.train.num_rows,
        part_rows={name: part.num_rows for name, part in parted.parts.items()},
    )
    assert list(report.part_rows) == ["valid", "test", "dev"]
    # Prompts come in twos, so 301 rows cannot be made up of them.
    assert (report.part_rows["valid"], report.part_rows["dev"]) == (300, 100)
    assert 250 < report.part_rows["test"] < 550
    assert pq.read_table(out) == parted.train
    for name, part in parted.parts.items():
        assert pq.read_table(out.with_name(f"{name}.parquet")) == part
    assert "valid 300, test" in str(report)


def test_texts_and_columns_of_other_names_are_parted_too() -> None:
    texts = pa.table({"text": [f"第{n}段" for n in range(100)]})
    assert split(texts, SplitOptions(parts=("valid=10",))).parts["valid"].num_rows == 10
    twice = pa.table({"q": ["同一个问题"] * 4, "a": ["甲", "乙", "甲", "乙"]})
    by_question = split(twice, SplitOptions(parts=("valid=2",), columns=("q",)))
    assert by_question.parts["valid"].num_rows == 0
    by_both = split(twice, SplitOptions(parts=("valid=2",), columns=("q", "a")))
    assert len(set(by_both.parts["valid"]["a"].to_pylist())) == 1
    assert by_both.parts["valid"].num_rows == 2


def test_what_cannot_be_used_is_named(tmp_path: Path) -> None:
    table = rows(10)
    with pytest.raises(ValueError, match="option parts = valid=11: only 10 rows are left"):
        split(table, SplitOptions(parts=("valid=11",)))
    with pytest.raises(
        ValueError, match=r"option columns = \(\): name the columns that decide; there are id"
    ):
        split(pa.table({"id": ["1"]}))
    with pytest.raises(DataError, match='column "prompt" is null'):
        split(pa.table({"prompt": ["一", None]}))
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(ValueError, match=r"train\.parquet is the file of the training rows"):
        split_files(
            [tmp_path / "rows.parquet"], tmp_path / "train.parquet", SplitOptions(parts=("train=0.5",))
        )
    with pytest.raises(ValueError, match="option parts = valid=11"):
        split_files(
            [tmp_path / "rows.parquet"], tmp_path / "train.parquet", SplitOptions(parts=("valid=11",))
        )
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]
