"""Word counts are those of Python jieba 0.42.1, whatever the text, the threads and the parts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError, StageError
from smolchat_fast.words import (
    Segmenter,
    WordOptions,
    count_words,
    count_words_files,
    merge,
    merge_files,
    read_counts,
)

jieba = pytest.importorskip("jieba")
jieba.setLogLevel(60)

SENTENCE = "他来到了网易杭研大厦，小明硕士毕业于中国科学院计算所，后在日本京都大学深造。"

# What the dictionary holds, what it lacks, what breaks blocks, what the model and the splitter see.
PARTS = st.sampled_from(
    [
        *SENTENCE,
        *(
            "中国",
            "科学院",
            "T恤",
            "AT&T",
            "C++",
            "c#",
            "requirements.txt",
            "3.14.15",
            "1.2%",
            "a-1_b",
            "K歌",
        ),
        *(
            "𠮷",
            "䶮",
            "鿕",
            "鿖",
            "㐀",
            "γ射线",
            "ａ１",
            "・",
            "々",
            "〇",
            "😀",
            "é",
            "\r\n",
            "\r",
            "\n",
            " ",
            "　",
            "\x1c",
        ),
    ]
)
TEXTS = st.one_of(st.lists(PARTS, max_size=40).map("".join), st.text(max_size=40))


def test_the_reference_is_the_version_that_is_meant():
    assert jieba.__version__ == "0.42.1"


@settings(max_examples=400, deadline=None)
@given(text=TEXTS, hmm=st.booleans())
@example(text="".join(map(chr, range(0x4E00, 0x9FD8))), hmm=True)
@example(text="阿里云ECS.s6-c1m2.xlarge 50.5%%，e-mail:a_b@c.d", hmm=True)
def test_words_are_those_of_jieba(text, hmm):
    assert Segmenter(WordOptions(hmm=hmm)).cut(text) == jieba.lcut(text, HMM=hmm)


@pytest.mark.parametrize("hmm", [True, False])
def test_counts_of_real_rows_are_those_of_jieba(hmm, shared_data):
    texts = []
    for file in sorted((shared_data / "sft").glob("*.parquet")):
        texts += pq.read_table(file, columns=["response"]).column(0).slice(7, 60).to_pylist()
    expected = Counter(word for text in texts for word in jieba.cut(text, HMM=hmm))
    table = count_words(texts, WordOptions(hmm=hmm))
    assert dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)) == expected


@pytest.fixture(scope="module")
def with_user_dict(tmp_path_factory):
    """Words with and without frequency and tag, one with a space, some taken out, a byte order mark."""
    path = tmp_path_factory.mktemp("user") / "words.txt"
    lines = [
        "石墨烯电池",
        "网易杭研 3 nt",
        "杭研 0",
        "今天 0",
        "云 计算 5",
        "γ粒子",
        "大连理工大学 nz",
        "毕业于",
        "",
        "C++14 9 n",
        "mp3 0",
        "3.14 0",
        "\v播放器 0",
    ]
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8")
    reference = jieba.Tokenizer()
    reference.load_userdict(str(path))
    yield reference, {hmm: Segmenter(WordOptions(hmm=hmm, user_dict=path)) for hmm in (True, False)}
    jieba.finalseg.Force_Split_Words.clear()


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            [
                *SENTENCE,
                "石墨烯电池",
                "网易杭研",
                "今天",
                "云 计算",
                "γ粒子",
                "大连理工大学",
                "C++14",
                " ",
                "mp3",
                "播放器",
                "3.14",
            ]
        )
    ).map("".join),
    hmm=st.booleans(),
)
def test_a_user_dictionary_acts_as_in_jieba(text, hmm, with_user_dict):
    reference, ours = with_user_dict
    assert ours[hmm].cut(text) == reference.lcut(text, HMM=hmm)


@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, max_size=30), cut=st.integers(0, 30), threads=st.sampled_from([1, 2, 3]))
def test_parts_merge_to_the_whole_and_threads_do_not_matter(texts, cut, threads):
    whole = count_words(texts, threads=1)
    parts = [count_words(texts[:cut], threads=threads), count_words(texts[cut:], threads=threads)]
    assert merge(parts) == whole
    assert count_words(texts, threads=threads) == whole


def test_rows_are_ordered_by_count_and_then_by_word():
    rows = count_words(["丙 甲 乙 甲"]).to_pylist()
    assert [(row["word"], row["count"]) for row in rows] == [(" ", 3), ("甲", 2), ("丙", 1), ("乙", 1)]


def test_every_text_column_but_source_is_counted_unless_columns_are_named():
    table = pa.table({"prompt": ["你好"], "response": ["谢谢"], "source": ["来源"], "id": [1]})
    assert count_words(table)["word"].to_pylist() == ["你好", "谢谢"]
    assert count_words(table, WordOptions(columns=("source",)))["word"].to_pylist() == ["来源"]
    assert count_words(table["prompt"])["word"].to_pylist() == ["你好"]
    with pytest.raises(ValueError, match=r"answer.*prompt, response"):
        count_words(table, WordOptions(columns=("answer",)))


def test_files_give_the_counts_of_their_rows_and_are_skipped_when_done(tmp_path):
    table = pa.table(
        {"prompt": ["今天天气很好"] * 9_000, "response": ["下雨"] * 9_000, "source": ["x"] * 9_000}
    )
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path in paths:
        pq.write_table(table, path)
    out = tmp_path / "counts.parquet"
    told = count_words_files(paths, out)
    assert pq.read_table(out) == count_words(pa.concat_tables([table, table]))
    assert (told.rows, told.bytes, told.words) == (18_000, 18_000 * 24, 18_000 * 4)
    assert count_words_files(paths, out) == told
    with pytest.raises(StageError, match="hmm"):
        count_words_files(paths, out, WordOptions(hmm=False))


def test_bad_input_is_named_and_leaves_nothing(tmp_path):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["好", None]}), path)
    with pytest.raises(DataError, match=r"rows.parquet, row 2"):
        count_words_files([path], tmp_path / "out.parquet")
    with pytest.raises(DataError, match="answer"):
        count_words_files([path], tmp_path / "out.parquet", WordOptions(columns=("answer",)))
    with pytest.raises(FileNotFoundError, match="gone"):
        Segmenter(WordOptions(user_dict=tmp_path / "gone.txt"))
    (tmp_path / "bad.txt").write_bytes("好\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"bad.txt, line 1: is not UTF-8"):
        Segmenter(WordOptions(user_dict=tmp_path / "bad.txt"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.txt", "rows.parquet"]


def test_a_table_with_a_negative_count_is_refused():
    with pytest.raises(DataError, match=r"row 1: .*negative"):
        merge([pa.table({"word": ["好"], "count": [-1]})])


def test_rows_of_any_format_are_counted_and_the_table_may_be_tsv(tmp_path):
    texts = ["今天\t天气很好", "a\\b\r", "下雨了。"]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts), "utf-8")
    (tmp_path / "rows.txt").write_text("今天天气很好\n下雨了。\n", "utf-8")
    expected = count_words(texts)
    for name in ("counts.parquet", "counts.tsv"):
        told = count_words_files([tmp_path / "rows.jsonl"], tmp_path / name)
        assert told.rows == 3
        assert read_counts(tmp_path / name) == expected
    assert read_counts(tmp_path / "rows.jsonl") is None
    lines = (tmp_path / "counts.tsv").read_text("utf-8").split("\n")
    assert lines[0] == "word\tcount"
    assert {"\\t\t1", "\\\\\t1", "\\r\t1"} <= set(lines)
    count_words_files([tmp_path / "rows.txt"], tmp_path / "text.tsv")
    assert read_counts(tmp_path / "text.tsv") == count_words(["今天天气很好", "下雨了。"])


def test_counts_of_parts_merge_as_files_and_as_a_command(tmp_path):
    texts = [[f"今天{'天气' * (i % 5)}a{i}" for i in range(start, start + 400)] for start in (0, 300, 600)]
    parts = []
    for i, part in enumerate(texts):
        pq.write_table(pa.table({"text": part}), tmp_path / f"{i}.parquet")
        parts.append(tmp_path / f"counts-{i}.{'tsv' if i else 'parquet'}")
        count_words_files([tmp_path / f"{i}.parquet"], parts[-1])
    told = merge_files(parts, tmp_path / "all.parquet")
    expected = count_words([text for part in texts for text in part])
    assert read_counts(tmp_path / "all.parquet") == expected
    assert told.distinct_words == expected.num_rows
    command = [sys.executable, "-m", "smolchat_fast", "count", "merge", *map(str, parts)]
    run = subprocess.run(
        [*command, "--out", str(tmp_path / "all.tsv"), "--quiet"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert read_counts(tmp_path / "all.tsv") == expected
    with pytest.raises(DataError, match=r"0.parquet: column \"word\" not found"):
        merge_files([tmp_path / "0.parquet"], tmp_path / "x.parquet")
    (tmp_path / "bad.tsv").write_text("word\tcount\n好\tmany\n", "utf-8")
    with pytest.raises(DataError, match=r"bad.tsv, line 2: expected word, tab, count"):
        merge_files([tmp_path / "bad.tsv"], tmp_path / "x.parquet")
    assert not list(tmp_path.glob("*.partial"))


def test_little_memory_gives_the_same_counts(tmp_path):
    texts = [f"w{i:x}z{i * 7919 % 65537:x} 今天" for i in range(60_000)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "rows.parquet")
    count_words_files([tmp_path / "rows.parquet"], tmp_path / "much.parquet")
    count_words_files([tmp_path / "rows.parquet"], tmp_path / "little.parquet", WordOptions(memory_mb=1))
    assert read_counts(tmp_path / "little.parquet") == read_counts(tmp_path / "much.parquet")
    with pytest.raises(ValueError, match=r"memory_mb = 0"):
        count_words_files([tmp_path / "rows.parquet"], tmp_path / "x.parquet", WordOptions(memory_mb=0))


def test_a_null_is_told_with_row_and_column() -> None:
    rows = pa.table({"prompt": ["你好", "再见"], "response": pa.array(["好", None])})
    with pytest.raises(DataError, match="row 2: column 'response' is null; drop such rows"):
        count_words(rows)
    assert count_words(rows, WordOptions(columns=("prompt",))).num_rows == 2


def test_other_memory_or_the_same_dictionary_elsewhere_is_no_other_count(tmp_path):
    rows, out = tmp_path / "rows.parquet", tmp_path / "counts.parquet"
    pq.write_table(pa.table({"text": ["台中正确应该不会被切开"]}), rows)
    dictionaries = [tmp_path / name for name in ("one.txt", "two.txt")]
    for path in dictionaries:
        path.write_text("正确应该 9\n", "utf-8")
    count_words_files([rows], out, WordOptions(user_dict=dictionaries[0]))
    made = out.stat().st_mtime_ns
    count_words_files([rows], out, WordOptions(user_dict=dictionaries[1], memory_mb=1))
    assert out.stat().st_mtime_ns == made
    dictionaries[1].write_text("应该不会 9\n", "utf-8")
    with pytest.raises(StageError, match=r"differs in: inputs \(one.txt, two.txt\)"):
        count_words_files([rows], out, WordOptions(user_dict=dictionaries[1]))
    with pytest.raises(StageError, match=r"user_dict \(True -> False\)"):
        count_words_files([rows, dictionaries[0]], out)


def test_a_merge_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="no input files"):
        merge_files([], tmp_path / "x.parquet")
    assert not list(tmp_path.iterdir())
