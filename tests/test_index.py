"""An index remembers what was kept, in memory and on disk; questions inside rows; which row stays."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError
from smolchat_fast.dedup import DedupOptions, Index, deduplicate, deduplicate_files, find_duplicates

texts = st.lists(st.text("今天气很好明下雨，3a ", max_size=12), max_size=20)
SURE = DedupOptions(ngram=2, threshold=0.6, hashes=512, distinct_numbers=False)


def write(path: Path, rows: list[str]) -> Path:
    pq.write_table(pa.table({"text": pa.array(rows, pa.string())}), path)
    return path


@settings(deadline=None, max_examples=25)
@given(months=st.lists(texts, max_size=4))
def test_rows_that_come_month_by_month_are_kept_as_if_they_came_at_once(months):
    index = Index(SURE)
    kept = [row for month in months for row in index.add(month).kept["text"].to_pylist()]
    assert kept == deduplicate([row for month in months for row in month], SURE).kept["text"].to_pylist()
    assert len(index) == len(kept)


def test_an_index_of_files_grows_from_run_to_run(tmp_path):
    first = write(tmp_path / "1.parquet", ["一加一等于几", "天为什么是蓝的", "一加一等于几？"])
    second = write(tmp_path / "2.parquet", ["天为什么是蓝的？", "水的化学式是什么"])
    report = deduplicate_files([first], tmp_path / "k1.parquet", grown=tmp_path / "1.index")
    assert (report.kept_rows, report.index_rows) == (2, 2)
    report = deduplicate_files(
        [second],
        tmp_path / "k2.parquet",
        removed=tmp_path / "gone.parquet",
        index=tmp_path / "1.index",
        grown=tmp_path / "2.index",
    )
    assert (report.kept_rows, report.against_rows, report.index_rows) == (1, 1, 3)
    gone = pq.read_table(tmp_path / "gone.parquet").to_pylist()
    assert [(row["row"], row["kept_row"], row["in_against"]) for row in gone] == [(0, 1, True)]
    # What a run wrote is read in memory, and the other way round.
    index = Index.load(tmp_path / "2.index")
    assert index.rows is not None
    assert index.rows["text"].to_pylist() == ["一加一等于几", "天为什么是蓝的", "水的化学式是什么"]
    index.save(tmp_path / "3.index")
    assert (tmp_path / "3.index").read_bytes() == (tmp_path / "2.index").read_bytes()
    assert Index.load(tmp_path / "3.index").check(["水的化学式是什么！"]).kept.num_rows == 0


def test_a_damaged_index_is_refused_wherever_it_is_damaged(tmp_path):
    index = Index()
    index.add([f"第{row}行文字，每一行都不一样{row * 7919}" for row in range(300)])
    index.save(tmp_path / "rows.index")
    whole = (tmp_path / "rows.index").read_bytes()
    harmless = 0
    for at in range(4, len(whole), max(1, len(whole) // 40)):
        broken = tmp_path / "broken.index"
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        found = _load(broken)
        if isinstance(found, Index):  # a byte that says nothing about the rows, as in the statistics
            assert found.rows is not None
            assert found.rows.to_pydict() == index.rows.to_pydict()  # type: ignore[union-attr]
            harmless += 1
        else:
            assert "broken.index" in str(found)
    assert harmless < 10
    (tmp_path / "cut.index").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.index"):
        Index.load(tmp_path / "cut.index")
    plain = write(tmp_path / "plain.parquet", ["一"])
    with pytest.raises(DataError, match=r"plain\.parquet: is no index of dedup"):
        deduplicate_files([plain], tmp_path / "out.parquet", index=plain)
    assert not (tmp_path / "out.parquet").exists()


def _load(path: Path) -> Index | DataError:
    try:
        return Index.load(path)
    except DataError as error:
        return error


def test_an_index_of_other_columns_is_refused(tmp_path):
    index = Index()
    index.add(["一行文字"])
    index.save(tmp_path / "text.index")
    pairs = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"prompt": ["问"], "response": ["答"]}), pairs)
    with pytest.raises(DataError, match="holds the columns text, but prompt, response are compared"):
        deduplicate_files([pairs], tmp_path / "out.parquet", index=tmp_path / "text.index")
    with pytest.raises(ValueError, match=r"text\.index holds text"):
        Index.load(tmp_path / "text.index", DedupOptions(columns=("prompt",)))
    with pytest.raises(ValueError, match="holds no rows"):
        Index().save(tmp_path / "empty.index")


def test_evaluation_questions_go_even_inside_longer_prompts(tmp_path):
    rows = pa.table(
        {
            "prompt": ["请回答：中国的首都是哪一座城市？先想一想。", "今天天气怎么样，适合出门吗？"],
            "response": ["北京。", "适合。"],
        }
    )
    exam = pa.table({"question": ["中国的首都是哪一座城市？"]})
    options = DedupOptions(columns=("prompt",), against_columns=("question",), contained=1.0)
    parted = deduplicate(rows, options, against=exam)
    assert parted.kept["response"].to_pylist() == ["适合。"]
    assert parted.removed.select(["row", "kept_row", "similarity", "in_against"]).to_pylist() == [
        {"row": 0, "kept_row": 0, "similarity": 1.0, "in_against": True}
    ]
    pq.write_table(rows, tmp_path / "rows.parquet")
    pq.write_table(exam, tmp_path / "exam.parquet")
    out = tmp_path / "out.parquet"
    report = deduplicate_files(
        [tmp_path / "rows.parquet"], out, options, against=(tmp_path / "exam.parquet",)
    )
    assert (report.kept_rows, report.against_rows) == (1, 1)
    assert pq.read_table(out).equals(parted.kept)


def test_the_longest_row_stays_if_asked_for():
    rows = ["今天天气很好我们去公园吧", "今天天气很好我们去公园吧好吗", "明天会下雨"]
    options = DedupOptions(ngram=3, threshold=0.7, keep="longest")
    assert find_duplicates(rows, options).kept.to_pylist() == [1, 2]
    assert find_duplicates(rows, DedupOptions(ngram=3, threshold=0.7)).kept.to_pylist() == [0, 2]


def ngrams(text: str, ngram: int) -> set[str]:
    return {text[i : i + ngram] for i in range(max(1, len(text) - ngram + 1))}


@settings(deadline=None, max_examples=60)
@given(
    questions=st.lists(st.text("天地人你好", max_size=12), max_size=5),
    around=st.lists(st.tuples(st.text("天地人", max_size=8), st.integers(0, 5), st.text("你好", max_size=8))),
    ngram=st.integers(1, 5),
    contained=st.floats(0.3, 1),
)
def test_what_a_row_contains_is_what_counting_finds(questions, around, ngram, contained):
    rows = [before + (questions[i] if i < len(questions) else "") + after for before, i, after in around]
    options = DedupOptions(
        ngram=ngram, threshold=1.0, contained=contained, normalize=False, distinct_numbers=False
    )
    found = find_duplicates(rows, options, against=questions).removed.to_pylist()
    expected = {}
    for row, text in enumerate(rows):
        for number, question in enumerate(questions):
            wanted = ngrams(question, ngram)
            share = len(wanted & ngrams(text, ngram)) / len(wanted)
            if share >= contained:
                expected[row] = (number, share)
                break
    assert {r["row"]: (r["kept_row"], r["similarity"]) for r in found if r["in_against"]} == expected
