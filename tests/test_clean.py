"""Cleaning of rows, through the compiled core."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolchat_fast.clean import CleanOptions, clean, clean_files, clean_text
from smolchat_fast.errors import DataError

DIRTY = pa.table(
    {
        "id": [1, 2, 3, 4, 5, 6],
        "prompt": ["你 好吗?", "<p>介绍</p>北京", "在吗", "说", "笑一个", "什么是Ｐｙｔｈｏｎ？"],
        "response": [
            "很好！！！！",
            "北京是首都,很大.",
            " <br> ",
            "好的。",
            "。。。",
            "Python 是一种语言(1991)。",
        ],
    }
)


def test_rows_are_cleaned_or_dropped_with_a_reason() -> None:
    cleaned = clean(DIRTY)
    assert cleaned.table.to_pylist() == [
        {"id": 1, "prompt": "你好吗？", "response": "很好！"},
        {"id": 2, "prompt": "介绍\n北京", "response": "北京是首都，很大。"},
        {"id": 6, "prompt": "什么是Python？", "response": "Python 是一种语言（1991）。"},
    ]
    assert cleaned.removed.select(["id", "reason"]).to_pylist() == [
        {"id": 3, "reason": "empty"},
        {"id": 4, "reason": "too_short"},
        {"id": 5, "reason": "punctuation_only"},
    ]
    assert cleaned.removed["response"].to_pylist()[0] == " <br> ", "removed rows are kept as they were"


def test_the_report_counts_each_rule_and_shows_samples() -> None:
    report = clean(DIRTY).report
    assert (report.rows_in, report.rows_out, report.rows_changed) == (6, 3, 5)
    assert report.dropped == {"empty": 1, "punctuation_only": 1, "too_short": 1}
    html = report.rule("html")
    assert (html.rows_changed, html.samples[0].row, html.samples[0].column) == (2, 2, "prompt")
    assert (html.samples[0].before, html.samples[0].after) == ("<p>介绍</p>北京", "介绍\n北京")
    assert report.rule("width").chars_removed == 0
    text = str(report)
    assert "6 rows: 3 kept, 3 dropped, 5 changed" in text
    assert "'<p>介绍</p>北京' -> '介绍\\n北京'" in text


def test_files_give_the_same_as_tables(tmp_path: Path) -> None:
    pq.write_table(DIRTY, tmp_path / "a.parquet")
    out, removed = tmp_path / "clean.parquet", tmp_path / "removed.parquet"
    report = clean_files([tmp_path / "a.parquet"] * 2, out, removed=removed)
    twice = clean(pa.concat_tables([DIRTY, DIRTY]))
    assert report == twice.report
    assert pq.read_table(out) == twice.table
    assert pq.read_table(removed) == twice.removed
    (tmp_path / "a.csv").write_text("question,answer\n你 好吗?,很好！！\n", "utf-8")
    clean_files([tmp_path / "a.csv"], tmp_path / "csv.parquet")
    assert pq.read_table(tmp_path / "csv.parquet").to_pylist() == [
        {"prompt": "你好吗？", "response": "很好！", "source": "a"}
    ]


def test_the_result_does_not_depend_on_threads_or_on_how_rows_are_batched() -> None:
    table = pa.concat_tables([DIRTY] * 2000)
    one = clean(table, threads=1)
    three = clean(table.combine_chunks(), threads=3)
    assert one.table == three.table
    assert one.report == three.report


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_kind_of_text_column_is_taken(kind: pa.DataType) -> None:
    table = pa.table({"text": pa.array(["你 好", None], kind)})
    cleaned = clean(table)
    assert cleaned.table.to_pylist() == [{"text": "你好"}]
    assert cleaned.removed.to_pylist() == [{"text": None, "reason": "empty"}]


def test_named_columns_alone_are_cleaned() -> None:
    cleaned = clean(DIRTY, CleanOptions(columns=("response",)))
    assert cleaned.table["prompt"].to_pylist()[0] == "你 好吗?"
    with pytest.raises(DataError, match=r'column "answer" not found \(columns: id, prompt, response\)'):
        clean(DIRTY, CleanOptions(columns=("answer",)))
    with pytest.raises(DataError, match='column "id" is Int64, not text'):
        clean(DIRTY, CleanOptions(columns=("id",)))
    with pytest.raises(DataError, match="no column to clean among id"):
        clean(DIRTY.select(["id"]))


def test_lengths_and_shares_drop_rows_as_asked() -> None:
    table = pa.table({"prompt": ["问题一", "a question"], "response": ["回答", "an answer"]})
    assert clean(table, CleanOptions(min_han_share=0.3)).report.dropped == {"few_han": 1}
    assert clean(table, CleanOptions(max_chars=5)).report.dropped == {"too_long": 1}
    assert clean(table, CleanOptions(min_prompt_chars=4)).report.dropped == {"too_short": 1}
    with pytest.raises(ValueError, match="option min_han_share = 2: must be in"):
        clean(table, CleanOptions(min_han_share=2.0))
    with pytest.raises(ValueError, match="option max_chars = 3"):
        clean(table, CleanOptions(min_chars=5, max_chars=3))


def test_text_that_says_the_same_over_and_over_is_dropped_but_not_as_a_rejected_answer() -> None:
    again = "天空是深蓝，太阳落山，" * 30
    assert clean(pa.table({"text": [again]})).report.dropped == {"repetition": 1}
    pair = pa.table({"prompt": ["写诗"], "chosen": ["床前明月光。"], "rejected": [again]})
    assert clean(pair).report.dropped == {}


def test_what_is_broken_once_it_is_clean_is_dropped_at_once() -> None:
    # One lost character in 1,300, most of them in tags: in 36 once these are gone.
    text = (
        "<a href='http://a.cn'>" * 60
        + "\ufffd北京是中国的首都。"
        + "</a>" * 60
        + "上海很大，广州很热，成都很舒服。"
    )
    options = CleanOptions(control=False)
    cleaned = clean(pa.table({"text": [text]}), options)
    assert cleaned.report.dropped == {"broken": 1}


def test_an_empty_table_stays_empty() -> None:
    cleaned = clean(DIRTY.slice(0, 0))
    assert (cleaned.table.num_rows, cleaned.report.rows_in) == (0, 0)
    assert cleaned.table.column_names == DIRTY.column_names


@given(st.text(max_size=200))
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    once = clean_text(text)
    assert clean_text(once) == once


def test_real_text_is_cleaned_once_and_for_all(shared_data: Path) -> None:
    for name in ("sft/medicalgpt_sharegpt_zh", "sft/gaokao_bench", "text/tidb_docs_zh", "text/laws_markdown"):
        table = pq.read_table(shared_data / f"{name}.parquet")
        cleaned = clean(table.slice(0, 3000)).table
        assert clean(cleaned).report.rows_changed == 0, name


def test_fenced_code_and_numbers_of_real_text_are_kept(shared_data: Path) -> None:
    texts = pq.read_table(shared_data / "text/tidb_docs_zh.parquet")["text"]
    off = CleanOptions(html=False, templates=False, control=False)
    for text in texts.to_pylist()[:200]:
        cleaned = clean_text(text, off)
        assert fenced(cleaned) == fenced(text)
        assert words(cleaned) == words(text)
        assert cleaned.strip().count("\n") == text.strip().count("\n")


def fenced(text: str) -> list[str]:
    return text.split("```")[1::2]


def words(text: str) -> list[str]:
    found = pc.split_pattern_regex(pa.scalar(text), r"[^0-9A-Za-z]+")
    return [word for word in found.as_py() if word]


def test_removed_rows_get_no_second_column_of_a_name(tmp_path: Path) -> None:
    table, path = clean(DIRTY).removed, tmp_path / "rows.parquet"
    assert "reason" in table.column_names
    with pytest.raises(DataError, match=r'"reason".*rename'):
        clean(table)
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r'rows.parquet: has a column "reason".*rename'):
        clean_files([path], tmp_path / "out.parquet", removed=tmp_path / "removed.parquet")
    assert clean_files([path], tmp_path / "out.parquet").rows_in == 3


def test_personal_data_are_masked_if_asked_for() -> None:
    options = CleanOptions(personal=True)
    text = "电话13812345678，证件11010519491231002X，邮箱a.b@example.com。"
    assert clean_text(text, options) == "电话【手机号】，证件【身份证号】，邮箱【邮箱】。"
    # Another check character, a longer number, a part of a word, a decorator.
    for text in ["证件110105194912310021。", "单号138123456789。", "型号x13812345678", "@property 和 a@b"]:
        assert clean_text(text, options) == text


def test_traditional_characters_are_simplified_if_asked_for_but_not_in_code() -> None:
    options = CleanOptions(simplified=True)
    assert clean_text("乾隆皇帝說頭髮乾了", options) == "乾隆皇帝说头发干了"
    assert clean_text("看 `說` 這個字", options) == "看 `說` 这个字"


@given(text=st.text("說话電腦a1@.x ，。138<>`\n", max_size=60))
def test_cleaning_twice_is_cleaning_once_with_every_rule_on(text: str) -> None:
    options = CleanOptions(simplified=True, personal=True)
    once = clean_text(text, options)
    assert clean_text(once, options) == once
