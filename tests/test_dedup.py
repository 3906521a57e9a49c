"""Duplicates are found, named and written as `smolchat_fast.dedup` says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError, StageError
from smolchat_fast.dedup import (
    DedupOptions,
    DedupReport,
    deduplicate,
    deduplicate_files,
    find_duplicates,
)

texts = st.lists(st.text("今天气很好明下雨，3a ", max_size=20), max_size=30)


def jaccard(one: str, other: str, ngram: int) -> float:
    def ngrams(text: str) -> set[str]:
        return {text[i : i + ngram] for i in range(max(1, len(text) - ngram + 1))}

    first, second = ngrams(one), ngrams(other)
    return len(first & second) / len(first | second)


@settings(deadline=None, max_examples=60)
@given(
    rows=texts,
    ngram=st.integers(1, 5),
    threshold=st.sampled_from([0.4, 0.7, 0.8, 1.0]),
    threads=st.sampled_from([1, 2, 3]),
)
def test_every_row_is_kept_or_names_the_first_kept_row_like_it(rows, ngram, threshold, threads):
    options = DedupOptions(
        ngram=ngram, threshold=threshold, hashes=1024, normalize=False, distinct_numbers=False
    )
    found = find_duplicates(rows, options, threads=threads)
    kept: list[int] = []
    removed = []
    for row, text in enumerate(rows):
        alike = next((k for k in kept if jaccard(text, rows[k], ngram) >= threshold), None)
        if alike is None:
            kept.append(row)
        else:
            removed.append((row, alike, jaccard(text, rows[alike], ngram)))
    assert found.kept.to_pylist() == kept
    assert [(r["row"], r["kept_row"], r["similarity"]) for r in found.removed.to_pylist()] == removed


@settings(deadline=None, max_examples=30)
@given(rows=texts)
def test_kept_rows_hold_no_duplicates_any_more(rows):
    kept = deduplicate(rows, DedupOptions(ngram=2, threshold=0.6, hashes=256)).kept
    assert deduplicate(kept, DedupOptions(ngram=2, threshold=0.6, hashes=256)).removed.num_rows == 0


def test_small_case_by_hand():
    rows = [
        "北京是中国的首都。",
        "上海是最大的城市。",
        "北京是中国的首都",
        "北京是中国的首都吗？",
        "",
        "",
        "？",
        "！",
    ]
    found = find_duplicates(rows, DedupOptions(threshold=0.75))
    assert found.kept.type == pa.int64()
    assert found.kept.to_pylist() == [0, 1, 4, 6, 7]
    assert found.removed.to_pylist() == [
        {"row": 2, "kept_row": 0, "similarity": 1.0, "in_against": False},
        {"row": 3, "kept_row": 0, "similarity": 0.8, "in_against": False},
        {"row": 5, "kept_row": 4, "similarity": 1.0, "in_against": False},
    ]


def test_signs_that_carry_meaning_make_other_rows():
    rows = ["3+5等于几", "3-5等于几", "3.5等于几", "35等于几", "什么是C", "什么是C++", "什么是C#"]
    assert find_duplicates(rows).kept.to_pylist() == list(range(len(rows)))


def test_rows_like_a_row_of_against_go_and_name_it():
    data = pa.table({"prompt": ["中国的首都是哪里", "水的化学式是什么", "一年有几个月"], "id": [7, 8, 9]})
    against = pa.table({"prompt": ["一周有几天呢", "水的化学式是什么？"]})
    parted = deduplicate(data, DedupOptions(columns=("prompt",)), against=against)
    assert parted.kept.to_pydict() == {"prompt": ["中国的首都是哪里", "一年有几个月"], "id": [7, 9]}
    assert parted.removed.to_pylist() == [
        {"prompt": "水的化学式是什么", "id": 8}
        | {"row": 1, "kept_row": 1, "similarity": 1.0, "in_against": True}
    ]


def test_usual_columns_are_compared_together():
    data = pa.table({"prompt": ["你好", "你好", "你好"], "response": ["您好", "嗨", "您好"], "id": [1, 2, 3]})
    assert deduplicate(data).kept["id"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    "type_", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]
)
def test_any_kind_of_text_column_is_taken_chunk_by_chunk(type_):
    column = pa.chunked_array([["一行文字", "另一行"], [], ["一行文字"]], pa.string()).cast(type_)
    assert find_duplicates(column).kept.to_pylist() == [0, 1]


def test_frames_are_taken_as_they_are():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["一行文字", "另一行", "一行文字"]})
    assert deduplicate(frame).kept["text"].to_pylist() == ["一行文字", "另一行"]
    assert find_duplicates(frame["text"]).kept.to_pylist() == [0, 1]


def test_a_dataset_is_taken_with_the_rows_that_were_chosen():
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"text": ["另一行", "一行文字", "另一行", "一行文字"]}).select(
        [1, 2, 3]
    )
    assert deduplicate(rows).kept["text"].to_pylist() == ["一行文字", "另一行"]


def test_no_rows_are_no_problem():
    assert find_duplicates([]).kept.to_pylist() == []
    assert deduplicate(pa.table({"text": pa.array([], pa.string())})).removed.num_rows == 0


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (["一", None], {}, 'row 2: column "text" is null; drop such rows first'),
        (pa.table({"text": [1, 2]}), {}, 'column "text" is Int64, not text'),
        (["一"], {"columns": ("name",)}, 'column "name" not found (columns: text); name another one'),
        (pa.table({"name": ["一"]}), {}, "option columns = (): name the columns to compare; there are name"),
        (["一"], {"threshold": 1.5}, "option threshold = 1.5: must be in (0, 1]"),
        (["一"], {"ngram": 0}, "option ngram = 0: must be in 1 to 64"),
        (
            ["一"],
            {"hashes": 8, "threshold": 0.2},
            "option hashes = 8: misses duplicates at threshold 0.2; take at least 28",
        ),
    ],
)
def test_what_cannot_be_used_is_named(data, options, message):
    with pytest.raises(ValueError) as error:
        find_duplicates(data, DedupOptions(**options))
    assert str(error.value) == message


def write(path: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_files_say_what_went_and_why(tmp_path):
    first = write(tmp_path / "a.parquet", text=["一加一等于几", "天为什么是蓝的"])
    second = write(tmp_path / "b.parquet", text=["天为什么是蓝的？", "考试题目在这里"])
    exam = write(tmp_path / "exam.parquet", text=["考试题目在这里"])
    out, removed = tmp_path / "kept.parquet", tmp_path / "removed.parquet"
    report = deduplicate_files([first, second], out, removed=removed, against=(exam,))
    assert report == DedupReport(rows_in=4, kept_rows=2, same_rows=2, similar_rows=0, against_rows=1)
    assert pq.read_table(out)["text"].to_pylist() == ["一加一等于几", "天为什么是蓝的"]
    gone = pq.read_table(removed).to_pylist()
    assert [(g["row"], g["kept_row"], g["in_against"]) for g in gone] == [(2, 1, False), (3, 0, True)]
    elsewhere = exam.rename(tmp_path / "questions.parquet")
    made = out.stat().st_mtime_ns
    assert deduplicate_files([first, second], out, removed=removed, against=(elsewhere,)) == report
    assert out.stat().st_mtime_ns == made
    exam = elsewhere
    with pytest.raises(StageError, match="threshold"):
        deduplicate_files([first, second], out, DedupOptions(threshold=0.9), removed=removed, against=(exam,))


def test_a_null_in_a_file_names_file_and_row_and_leaves_nothing(tmp_path):
    path = write(tmp_path / "a.parquet", text=["一", None])
    with pytest.raises(DataError, match=r'a\.parquet, row 2: column "text" is null'):
        deduplicate_files([path], tmp_path / "out.parquet")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.parquet"]


def test_files_and_memory_give_the_same_rows(tmp_path, shared_data):
    path = shared_data / "sft" / "baseline_zh_extra.parquet"
    out = tmp_path / "kept.parquet"
    report = deduplicate_files([path], out, threads=2)
    parted = deduplicate(pq.read_table(path), threads=3)
    assert pq.read_table(out).equals(parted.kept)
    assert 0 < parted.removed.num_rows == report.rows_in - report.kept_rows


def test_exercises_that_differ_in_numbers_survive(shared_data):
    table = pq.read_table(shared_data / "sft" / "ape210k_math.parquet")
    prompts = table["prompt"].to_pylist()

    def numbers(row: int) -> list[int]:
        return [int(digits) for digits in re.findall(r"\d+", prompts[row])]

    def destroyed(distinct_numbers: bool) -> int:
        lenient = DedupOptions(ngram=3, threshold=0.6, hashes=128, distinct_numbers=distinct_numbers)
        removed = find_duplicates(table["prompt"], lenient).removed.to_pylist()
        return sum(numbers(r["row"]) != numbers(r["kept_row"]) for r in removed)

    assert destroyed(distinct_numbers=False) > 20
    assert destroyed(distinct_numbers=True) == 0
    same = len(set(zip(prompts, table["response"].to_pylist(), strict=True)))
    assert deduplicate(table).kept.num_rows > 0.995 * same


@pytest.mark.parametrize(
    ("name", "whole"), [("c3_train", 0.75), ("wiki_reading_cmrc_drcd", 0.6), ("law_reading_cail2019", 0.6)]
)
def test_questions_about_one_passage_are_told_apart_by_the_question(name, whole, shared_data):
    table = pq.read_table(shared_data / "sft" / f"{name}.parquet")
    assert deduplicate(table).kept.num_rows < whole * table.num_rows
    kept = deduplicate(table, DedupOptions(distinct_questions="last_line")).kept
    assert kept.num_rows > 0.999 * table.num_rows


def test_import_is_quick_and_needs_no_torch():
    code = "import sys, smolchat_fast.dedup; print('torch' in sys.modules)"
    python = [sys.executable, "-X", "importtime", "-c", code]
    shown = subprocess.run(python, capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"
    whole = next(line for line in shown.stderr.splitlines() if line.endswith(" smolchat_fast.dedup"))
    assert int(whole.split("|")[1]) < 1_000_000, "microseconds"
