"""Tokenizers lose nothing, waste no entry, and are the same in every library that loads them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smolchat_fast import DataError, StageError
from smolchat_fast.tokenizer import (
    FIRST_BYTE,
    FIRST_CHARACTER,
    SPECIALS,
    TokenizerOptions,
    build_tokenizer,
    build_tokenizer_files,
    load,
    report,
    save,
    stream_text,
)
from smolchat_fast.words import count_words, count_words_files

tokenizers = pytest.importorskip("tokenizers")

KINDS = ["bpe", "merges", "unigram"]
SMALL = {"vocab_size": 700, "coverage": 1.0}


def corpus(rows: int = 600) -> list[str]:
    """Sentences over few words, with punctuation, numbers, English and repeated syllables."""
    choose = random.Random(5)
    parts = [
        "今天",
        "天气",
        "很好",
        "我们",
        "北京大学",
        "北京",
        "大学生",
        "哈哈哈哈",
        "学习",
        "的",
        "是",
        "人工智能",
        "DNA",
    ]
    marks = ["，", "。", "！\n", "？", " ", "2024年", " the data", "（", "）", "：", "3.5%"]
    return ["".join(choose.choice(parts + marks) for _ in range(choose.randint(1, 30))) for _ in range(rows)]


@pytest.fixture(scope="module", params=KINDS)
def built(request):
    return build_tokenizer(corpus(), TokenizerOptions(kind=request.param, **SMALL))


@pytest.fixture(scope="module")
def auto(built, tmp_path_factory):
    """The same through `AutoTokenizer`, from a folder that holds a T5 model's configuration too."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("tokenizer")
    save(built, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": 700}))
    return transformers.AutoTokenizer.from_pretrained(folder)


HARD = st.sampled_from(
    [
        "[EOS]",
        "[PAD]",
        "<0x41>",
        "[UNK]",
        "今天",
        "哈",
        "▁",
        "  ",
        "\r\n",
        "\t",
        "😀",
        "👨‍👩‍👧",
        "𠮷",
        "�",
        "1",
        "a",
        " ",
    ]
)


@settings(max_examples=150, deadline=None)
@given(text=st.one_of(st.text(max_size=60), st.lists(HARD, max_size=12).map("".join)))
@example(text="")
@example(text="  leading and  doubled spaces , don't !  ")
def test_any_text_comes_back_and_ends_once(text, built, auto):
    ids = auto(text)["input_ids"]
    assert ids == built.encode(text).ids
    assert auto.decode(ids, skip_special_tokens=True) == text
    assert built.decode(ids) == text
    assert "".join(stream_text(built, ids)) == text
    # Special tokens in a text are text; [UNK] is never made.
    assert ids[-1] == 1
    assert all(i >= len(SPECIALS) for i in ids[:-1])


def test_every_character_of_unicode_comes_back(built):
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = ["".join(points[start : start + 512]) for start in range(0, len(points), 512)]
    ids = [encoding.ids for encoding in built.encode_batch_fast(texts)]
    assert built.decode_batch(ids) == texts
    assert all(i >= len(SPECIALS) for row in ids for i in row[:-1])


def test_special_tokens_have_their_ids_and_roles(built, auto):
    for index, (role, token) in enumerate(SPECIALS.items()):
        assert built.token_to_id(token) == index
        assert getattr(auto, f"{role}_id") == index
    assert [built.id_to_token(7 + byte) for byte in (0, 255)] == ["<0x00>", "<0xFF>"]
    assert set(auto(["今天", "今天天气很好"], padding=True)) == {"input_ids", "attention_mask"}


def test_a_special_token_is_an_id_when_asked_for(auto):
    assert auto("[SEP]", split_special_tokens=False)["input_ids"] == [2, 1]


def test_every_entry_is_reached_by_its_own_text(built):
    told = report(built, corpus(100))
    assert told["unreachable"] == []
    assert (told["unknown_share"], told["round_trip_share"]) == (0, 1)
    assert told["characters_per_token"] > 1.2
    assert built.get_vocab_size() > FIRST_CHARACTER + 30


def test_no_entry_mixes_words_with_punctuation_or_digits(built):
    for index in range(FIRST_CHARACTER, built.get_vocab_size()):
        entry = built.id_to_token(index)
        assert len(entry) == 1 or not set(entry) & set("0123456789")
        assert not any("一" <= c <= "龥" for c in entry) or all("一" <= c <= "龥" for c in entry)


@pytest.mark.parametrize("kind", KINDS)
def test_threads_and_the_order_of_texts_do_not_matter(kind):
    options = TokenizerOptions(kind=kind, **SMALL)
    texts = corpus(300)
    one = build_tokenizer(texts, options, threads=1).to_str()
    assert build_tokenizer(texts[::-1], options, threads=3).to_str() == one


@pytest.mark.parametrize("kind", KINDS)
def test_another_process_builds_the_same(kind):
    code = (
        "import test_tokenizer as t; from smolchat_fast.tokenizer import *;"
        f"print(build_tokenizer(t.corpus(300), TokenizerOptions(kind={kind!r}, **t.SMALL)).to_str())"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path(__file__).parent
    )
    assert run.returncode == 0, run.stderr
    here = build_tokenizer(corpus(300), TokenizerOptions(kind=kind, **SMALL))
    assert json.loads(run.stdout) == json.loads(here.to_str())


@settings(max_examples=40, deadline=None)
@given(
    counts=st.dictionaries(
        st.text("甲乙丙丁", min_size=1, max_size=6), st.integers(1, 50), min_size=1, max_size=60
    ),
    vocab_size=st.integers(265, 330),
)
def test_words_that_share_and_repeat_parts_are_all_reached(counts, vocab_size):
    table = pa.table({"word": list(counts), "count": pa.array(counts.values(), pa.int64())})
    built = build_tokenizer(table, TokenizerOptions(kind="merges", vocab_size=vocab_size, min_count=1))
    assert report(built, list(counts))["unreachable"] == []
    assert built.get_vocab_size() <= vocab_size


@settings(max_examples=40, deadline=None)
@given(
    words=st.lists(st.text("甲乙丙丁", min_size=1, max_size=9), min_size=1, max_size=40),
    extra=st.integers(1, 25),
)
def test_byte_pairs_are_those_of_the_tokenizers_library(words, extra):
    """Where its trainer has no choice between pairs of equal count, the merges are the same."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    alphabet = sorted(set("".join(words)))
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=len(alphabet) + extra, min_frequency=2, show_progress=False, initial_alphabet=alphabet
    )
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split("\n", "removed")
    model.train_from_iterator(words, trainer)
    expected = [tuple(pair) for pair in json.loads(model.to_str())["model"]["merges"]]
    options = TokenizerOptions(vocab_size=FIRST_CHARACTER + len(alphabet) + extra, coverage=1.0)
    got = [tuple(pair) for pair in json.loads(build_tokenizer(words, options).to_str())["model"]["merges"]]
    for step, (ours, theirs) in enumerate(zip(got, expected, strict=False)):
        if ours != theirs:
            assert pair_counts(words, got[:step])[ours] == pair_counts(words, got[:step])[theirs]
            break
    else:
        assert len(got) >= len(expected)


def pair_counts(words: list[str], merges: list[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """How often each pair stands side by side after some merges, straight from the definition."""
    counts: dict[tuple[str, str], int] = {}
    for word in words:
        parts = list(word)
        for left, right in merges:
            at = 0
            while at < len(parts) - 1:
                if (parts[at], parts[at + 1]) == (left, right):
                    parts[at : at + 2] = [left + right]
                at += 1
        for pair in pairwise(parts):
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def test_a_small_vocabulary_is_characters_and_the_rest_is_spelt_in_bytes():
    texts = ["甲" * 9, "乙" * 5, "丙丙", "丁"]
    built = build_tokenizer(texts, TokenizerOptions(vocab_size=FIRST_CHARACTER + 3, coverage=1.0))
    assert [built.id_to_token(i) for i in range(FIRST_CHARACTER, built.get_vocab_size())] == [
        "甲",
        "乙",
        "丙",
    ]
    assert report(built, texts)["round_trip_share"] == 1


@pytest.mark.parametrize("kind", ["bpe", "tokenizers-bpe"])
def test_of_more_text_than_asked_for_a_part_is_taken_by_its_hash(kind, tmp_path):
    """Each text is one character, again and again, so the entries tell which texts were taken."""
    characters = [chr(0x4E00 + i) for i in range(1_600)]
    texts = pa.table({"text": [character * 900 for character in characters]})
    assert sum(len(text.encode()) for text in texts["text"].to_pylist()) > 4 << 20
    pq.write_table(texts, tmp_path / "rows.parquet")
    options = TokenizerOptions(kind=kind, train_mb=1, vocab_size=FIRST_CHARACTER + 1_600, coverage=1.0)
    small = build_tokenizer(texts, options)
    taken = {c for c in characters if small.token_to_id(c) is not None}
    assert 0.2 < len(taken) / len(characters) < 0.3
    assert build_tokenizer(texts.sort_by([("text", "descending")]), options).to_str() == small.to_str()
    build_tokenizer_files([tmp_path / "rows.parquet"], tmp_path / "out", options)
    assert load(tmp_path / "out").to_str() == small.to_str()
    assert report(small, ["".join(characters)])["round_trip_share"] == 1


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.parquet"
    texts = corpus(400)
    pq.write_table(pa.table({"prompt": texts[::2], "response": texts[1::2], "source": ["x"] * 200}), path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_files_give_the_tokenizer_of_their_texts(kind, rows, tmp_path):
    options = TokenizerOptions(kind=kind, **SMALL)
    counts, out = tmp_path / "counts.parquet", tmp_path / "tokenizer"
    count_words_files([rows], counts)
    told = build_tokenizer_files([rows], out, options, counts=counts)
    assert load(out).to_str() == build_tokenizer(corpus(400), options).to_str()
    assert told.characters_per_token is not None
    assert told.vocab_size == FIRST_CHARACTER + told.characters + told.longer
    assert build_tokenizer_files([rows], out, options, counts=counts) == told
    with pytest.raises(StageError, match="vocab_size"):
        build_tokenizer_files([rows], out, TokenizerOptions(kind=kind, vocab_size=400), counts=counts)


def test_counts_alone_do_and_entries_stay_inside_words(rows, tmp_path):
    counts = tmp_path / "counts.parquet"
    count_words_files([rows], counts)
    options = TokenizerOptions(vocab_size=2_000)
    told = build_tokenizer_files([counts], tmp_path / "a", options)
    assert told.characters_per_token is None
    assert build_tokenizer_files([], tmp_path / "b", options, counts=counts) == told
    words = set(count_words(pq.read_table(rows))["word"].to_pylist())
    built = load(tmp_path / "a")
    entries = [built.id_to_token(i) for i in range(FIRST_CHARACTER, built.get_vocab_size())]
    assert all(any(entry in word for word in words) for entry in entries)


def test_counts_by_position_may_be_tsv_with_quotes(rows, tmp_path):
    counts = tmp_path / "counts.tsv"
    texts = ['他说："好"', "今天天气很好"]
    pq.write_table(count_words(texts), tmp_path / "same.parquet")
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in texts), "utf-8")
    count_words_files([tmp_path / "texts.jsonl"], counts)
    told = build_tokenizer_files([counts], tmp_path / "a", TokenizerOptions(min_count=1))
    assert told.characters_per_token is None
    assert (
        load(tmp_path / "a").to_str()
        == build_tokenizer(count_words(texts), TokenizerOptions(min_count=1)).to_str()
    )


def test_the_told_rate_depends_on_neither_format_nor_order(tmp_path):
    """Prompts and answers are of different density here, and so are the first rows and the last ones."""
    prompts = [f"今天{i}天气很好" if i < 6_000 else f"{i}{i}" for i in range(9_000)]
    whole = pa.table({"prompt": prompts, "response": [f"我们在北京大学学习{i % 7}" for i in range(9_000)]})
    first, last, lines = tmp_path / "a.parquet", tmp_path / "b.parquet", tmp_path / "rows.jsonl"
    pq.write_table(whole.slice(0, 4_000), first)
    pq.write_table(whole.slice(4_000), last)
    lines.write_text("\n".join(json.dumps(row) for row in whole.to_pylist()), "utf-8")
    rates = []
    for i, inputs in enumerate([[first, last], [last, first], [lines]]):
        told = build_tokenizer_files(inputs, tmp_path / f"tokenizer-{i}", TokenizerOptions(vocab_size=400))
        rates.append(told.characters_per_token)
    assert len(set(rates)) == 1
    built, texts = (
        load(tmp_path / "tokenizer-0"),
        [*whole["prompt"].to_pylist(), *whole["response"].to_pylist()],
    )
    assert rates[0] == pytest.approx(report(built, texts)["characters_per_token"], rel=0.02)


def test_bad_input_is_named_and_leaves_nothing(rows, tmp_path):
    with pytest.raises(ValueError, match=r"vocab_size = 263: must be over 263"):
        build_tokenizer(["好"], TokenizerOptions(vocab_size=263))
    with pytest.raises(ValueError, match=r"coverage = 1.5"):
        build_tokenizer(["好"], TokenizerOptions(coverage=1.5))
    with pytest.raises(DataError, match=r"rows.parquet: .*`count` makes it"):
        build_tokenizer_files([rows], tmp_path / "out", TokenizerOptions(kind="merges"))
    with pytest.raises(FileNotFoundError):
        load(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]


def test_half_a_character_is_never_shown_and_broken_bytes_are_marked():
    built = build_tokenizer(["好"], TokenizerOptions(vocab_size=300))
    ids = built.encode("好😀好", add_special_tokens=False).ids
    assert list(stream_text(built, ids)) == ["好", "😀", "好"]
    assert list(stream_text(built, ids[:3])) == ["好", "�"]
    stray = [*built.encode("😀", add_special_tokens=False).ids, FIRST_BYTE + 0xF0, FIRST_BYTE + 0x9F]
    assert "".join(stream_text(built, stray)) == "😀�"
    assert built.decode(stray) == "�" * 6


@pytest.mark.slow
def test_held_out_rows_give_at_least_one_and_seven_tenths_characters_a_token(shared_data):
    train: list[str] = []
    held: list[str] = []
    for file in sorted((shared_data / "sft").glob("*.parquet")):
        for column in pq.read_table(file, columns=["prompt", "response"]).columns:
            texts = column.to_pylist()
            held += texts[::500]
            train += [text for i, text in enumerate(texts) if i % 6 == 1]
    told = report(build_tokenizer(train), held)
    assert told["characters_per_token"] > 1.68
    assert (told["round_trip_share"], told["unreachable"], told["unknown_share"]) == (1, [], 0)
    assert told["byte_share"] < 0.005
