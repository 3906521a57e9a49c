"""Tables of other libraries are taken as they are, and give what pyarrow gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast import DataError
from smolchat_fast.clean import clean, clean_files
from smolchat_fast.dedup import Index, deduplicate, deduplicate_files
from smolchat_fast.split import SplitOptions, split
from smolchat_fast.stats import stats
from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer
from smolchat_fast.words import count_words, count_words_files, merge

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


def dictionary() -> Any:
    return pa.table({name: pa.array(texts).dictionary_encode() for name, texts in ROWS.items()})


def categorical() -> Any:
    pl = pytest.importorskip("polars")
    return pl.DataFrame(ROWS, schema_overrides={"response": pl.Categorical})


def category() -> Any:
    return pytest.importorskip("pandas").DataFrame(ROWS).astype({"response": "category"})


PRODUCERS = [polars, pandas, duckdb, datasets, dictionary, categorical, category]


@pytest.mark.parametrize("make", PRODUCERS, ids=lambda make: make.__name__)
def test_every_stage_takes_it(make: Callable[[], Any]) -> None:
    data, expected = make(), pa.table(ROWS)
    assert clean(data).table.to_pylist() == clean(expected).table.to_pylist()
    assert deduplicate(make()).kept.to_pylist() == deduplicate(expected).kept.to_pylist()
    assert stats(make()) == stats(expected)
    half = SplitOptions(parts=("valid=1",))
    assert split(make(), half).train.to_pylist() == split(expected, half).train.to_pylist()
    assert count_words(make()) == count_words(expected)
    assert Index().add(make()).kept.num_rows == Index().add(expected).kept.num_rows


@pytest.mark.parametrize("make", [dictionary, category], ids=lambda make: make.__name__)
def test_files_with_text_in_dictionaries_are_read_as_text(make: Callable[[], Any], tmp_path: Path) -> None:
    dictionaries, plain = tmp_path / "dictionaries.parquet", tmp_path / "plain.parquet"
    pq.write_table(pa.table(make()), dictionaries)
    pq.write_table(pa.table(ROWS), plain)
    made = {}
    for path in (dictionaries, plain):
        outs = [tmp_path / f"{path.stem}-{stage}.parquet" for stage in ("words", "clean", "dedup")]
        count_words_files([path], outs[0])
        clean_files([path], outs[1])
        deduplicate_files([path], outs[2])
        made[path] = [pq.read_table(out).to_pylist() for out in outs]
    assert made[dictionaries] == made[plain]


@pytest.mark.parametrize(
    "make",
    [
        list,
        tuple,
        pa.array,
        lambda texts: pa.chunked_array([texts[:1], texts[1:]]),
        lambda texts: pa.array(texts, pa.string_view()),
        lambda texts: pytest.importorskip("polars").Series(texts),
        lambda texts: pytest.importorskip("pandas").Series(texts),
        lambda texts: pytest.importorskip("numpy").array(texts, object),
    ],
    ids=["list", "tuple", "array", "chunked", "view", "polars", "pandas", "numpy"],
)
def test_every_stage_takes_strings_and_columns_as_a_column_text(make: Callable[[list[str]], Any]) -> None:
    texts = ROWS["prompt"]
    data, expected = make(texts), pa.table({"text": texts})
    assert clean(data).table.to_pylist() == clean(expected).table.to_pylist()
    assert deduplicate(data).kept.to_pylist() == deduplicate(expected).kept.to_pylist()
    assert stats(data) == stats(expected)
    half = SplitOptions(parts=("valid=1",))
    assert split(data, half).train.to_pylist() == split(expected, half).train.to_pylist()
    assert count_words(data) == count_words(expected)


def test_an_index_of_pandas_is_a_column_if_it_has_a_name() -> None:
    frame = pytest.importorskip("pandas").DataFrame(ROWS).set_axis([5, 2, 9])  # as of chosen rows
    chosen = clean(frame).table
    assert chosen.column_names == ["prompt", "response"]
    assert chosen.to_pandas()["prompt"].tolist() == ["你好吗？", "再见", "你好吗"]
    assert split(frame).train.column_names == ["prompt", "response"]
    assert clean(frame.rename_axis("number")).table["number"].to_pylist() == [5, 2, 9]
    both = frame.assign(number=[5, 6, 7]).set_index("number", append=True)
    assert clean(both).table.column_names == ["prompt", "response", "number"]


def iterable() -> Any:
    return pytest.importorskip("datasets").Dataset.from_dict(ROWS).to_iterable_dataset()


@pytest.mark.parametrize("stage", [clean, deduplicate, split, stats, count_words])
@pytest.mark.parametrize("make", [lambda: [1, 2], lambda: [{"prompt": "你好"}], iterable])
def test_rows_that_are_no_strings_are_refused(stage: Callable[[Any], Any], make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match=r"expected a sequence of strings or an Arrow column or table, got"):
        stage(make())


@pytest.mark.parametrize(
    "make",
    [
        lambda counts: pytest.importorskip("polars").from_arrow(counts),
        lambda counts: counts.to_pandas(),
        lambda counts: counts.select(["count", "word"]),
        lambda counts: counts.cast(pa.schema({"word": pa.large_string(), "count": pa.int32()})),
    ],
    ids=["polars", "pandas", "other order", "other types"],
)
def test_word_counts_of_any_library_are_word_counts(make: Callable[[pa.Table], Any]) -> None:
    pytest.importorskip("tokenizers")
    counts = count_words(["今天下雨", "今天很好", "明天下雨"])
    assert merge([make(counts), counts]) == merge([counts, counts])
    options = TokenizerOptions(kind="merges", min_count=2)
    assert build_tokenizer(make(counts), options).to_str() == build_tokenizer(counts, options).to_str()


@pytest.mark.parametrize("table", [{"word": ["好"], "count": ["viel"]}, {"word": ["好"], "n": [1]}])
def test_what_counts_no_words_is_refused(table: dict[str, list[Any]]) -> None:
    with pytest.raises(DataError, match=r"not a table word: string, count: int64 \(word: string, "):
        merge([pa.table(table)])


@pytest.mark.parametrize("stage", [clean, deduplicate, split, stats, count_words])
@pytest.mark.parametrize("data", ["一句话", b"bytes", 7])
def test_what_holds_no_rows_is_refused(stage: Callable[[Any], Any], data: Any) -> None:
    with pytest.raises(TypeError, match="expected a sequence of strings or an Arrow column or table"):
        stage(data)
