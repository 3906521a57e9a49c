"""Trainers of other libraries, comparison and export: what stands around a tokenizer."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast import DataError
from smolchat_fast.tokenizer import (
    FIRST_CHARACTER,
    SPECIALS,
    TokenizerOptions,
    build_tokenizer,
    build_tokenizer_files,
    compare_files,
    export_files,
    load,
    report,
    save,
    stream_text,
)
from smolchat_fast.tokenizer.export import sentencepiece_model
from smolchat_fast.words import count_words, count_words_files
from test_tokenizer import corpus

pytest.importorskip("tokenizers")

HARD = ["", "今天😀 很好", "  两个  空格 ", "\r\n\t", "▁", "[EOS]<0x41>", "𠮷野家 don't", "�"]


def trained(kind: str, texts: object, **options: object):
    if kind.startswith("sentencepiece"):
        pytest.importorskip("sentencepiece")
    return build_tokenizer(texts, TokenizerOptions(kind=kind, vocab_size=420, coverage=1.0, **options))


OTHERS = ["tokenizers-bpe", "tokenizers-unigram", "sentencepiece-bpe", "sentencepiece-unigram"]


@pytest.mark.parametrize("kind", OTHERS)
def test_the_trainers_of_others_give_lossless_tokenizers_with_our_ids(kind):
    built = trained(kind, corpus())
    for text in [*corpus(50), *HARD]:
        ids = built.encode(text).ids
        assert built.decode(ids) == text
        assert "".join(stream_text(built, ids)) == text
        assert ids[-1] == 1
        assert all(i >= len(SPECIALS) for i in ids[:-1])
    assert [built.token_to_id(token) for token in SPECIALS.values()] == list(range(7))
    assert report(built, corpus(100))["characters_per_token"] > 1.2


@pytest.mark.parametrize("kind", ["sentencepiece-bpe", "sentencepiece-unigram"])
def test_ids_are_those_of_sentencepiece(kind):
    """A model that sentencepiece learned, through our folder and back, cuts as sentencepiece cuts."""
    sentencepiece = pytest.importorskip("sentencepiece")
    built = trained(kind, corpus())
    theirs = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(built))
    for text in corpus(200):
        assert theirs.encode(text) == built.encode(text, add_special_tokens=False).ids


def test_word_counts_do_for_sentencepiece_and_are_refused_by_tokenizers():
    counts = count_words(corpus())
    built = build_tokenizer(counts, TokenizerOptions(kind="sentencepiece-bpe", vocab_size=330))
    assert built.decode(built.encode("今天天气很好").ids) == "今天天气很好"
    with pytest.raises(DataError, match=r"tokenizers-bpe: learns from texts alone"):
        trained("tokenizers-bpe", counts)


@pytest.mark.parametrize(
    ("data", "vocab_size", "reason"),
    [
        (corpus(), 5_000, "Vocabulary size too high"),
        (corpus(), 270, "smaller than required_chars"),
        ([""], 400, "there is no text"),
    ],
)
def test_a_vocabulary_that_the_text_does_not_give_is_refused(data, vocab_size, reason):
    pytest.importorskip("sentencepiece")
    with pytest.raises(ValueError, match=rf"vocab_size = {vocab_size}: sentencepiece refuses: .*{reason}"):
        build_tokenizer(data, TokenizerOptions(kind="sentencepiece-bpe", vocab_size=vocab_size))


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("option", [{"vocab_size": 5}, {"coverage": 1.5}, {"train_mb": 0}, {"max_chars": 0}])
def test_the_trainers_of_others_refuse_the_same_options(kind, option):
    (name, value), *_ = option.items()
    with pytest.raises(ValueError, match=f"option {name} = {value}: must be"):
        build_tokenizer(corpus(), TokenizerOptions(kind=kind, **option))


@pytest.mark.parametrize("kind", ["tokenizers-bpe", "tokenizers-unigram"])
@pytest.mark.parametrize("options", [{"vocab_size": 280}, {"vocab_size": 420, "coverage": 0.5}])
def test_rare_characters_get_no_entry_and_come_back_all_the_same(kind, options):
    texts = corpus()
    built = build_tokenizer(texts, TokenizerOptions(kind=kind, **options))
    assert FIRST_CHARACTER < built.get_vocab_size() <= options["vocab_size"]
    told = report(built, texts)
    assert told["round_trip_share"] == 1
    assert told["byte_share"] > 0.1
    assert built.token_to_id("天") is not None
    assert built.token_to_id("%") is None


@pytest.mark.parametrize("kind", OTHERS)
def test_the_trainers_of_others_refuse_a_null_and_name_it(kind, tmp_path):
    table = pa.table({"prompt": ["好", "好"], "response": ["好", None]})
    with pytest.raises(DataError, match=r'^row 2: column "response" is null'):
        build_tokenizer(table, TokenizerOptions(kind=kind))
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r'rows.parquet, row 2: column "response" is null'):
        build_tokenizer_files([tmp_path / "rows.parquet"], tmp_path / "out", TokenizerOptions(kind=kind))


@pytest.mark.parametrize("kind", OTHERS)
def test_the_trainers_of_others_give_the_same_again_whatever_the_threads(kind):
    assert len({trained(kind, corpus()).to_str() for _ in range(3)}) == 1
    options = TokenizerOptions(kind=kind, vocab_size=420, coverage=1.0)
    assert build_tokenizer(corpus(), options, threads=1).to_str() == trained(kind, corpus()).to_str()


@pytest.mark.parametrize("kind", OTHERS)
def test_ctrl_c_ends_the_trainers_of_others_within_a_second(kind):
    """On text that takes each of them many seconds."""
    if kind.startswith("sentencepiece"):
        pytest.importorskip("sentencepiece")
    choose = random.Random(1)
    common = [chr(0x4E00 + i) for i in range(3_000)]
    texts = ["".join(choose.choices(common, k=200)) for _ in range(15_000)]
    calls = 0

    def stop(phase: str, done: int, total: int) -> None:
        """Told twenty times a second while it learns."""
        nonlocal calls
        if phase == "learn":
            calls += 1
            if calls == 1:
                threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

    with pytest.raises(KeyboardInterrupt):
        build_tokenizer(texts, TokenizerOptions(kind=kind), progress=stop)
    assert 0 < calls < 20


@pytest.mark.parametrize("kind", ["bpe", "tokenizers-bpe"])
def test_added_tokens_are_the_last_ids_and_text_unless_asked_for(kind, tmp_path):
    options = {"added_tokens": ("[USER]", "<|end|>")}
    built = trained(kind, corpus(), **options)
    assert built.get_vocab_size() <= 420
    last = built.get_vocab_size() - 1
    assert [built.token_to_id("[USER]"), built.token_to_id("<|end|>")] == [last - 1, last]
    typed = built.encode("[USER]今天<|end|>", add_special_tokens=False).ids
    assert last not in typed
    assert last - 1 not in typed
    assert built.decode(typed) == "[USER]今天<|end|>"
    assert list(stream_text(built, [last, *built.encode("好", add_special_tokens=False).ids])) == ["好"]
    save(built, tmp_path)
    auto = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(tmp_path)
    assert auto("[USER]")["input_ids"][:-1] == built.encode("[USER]", add_special_tokens=False).ids
    assert auto("[USER]", split_special_tokens=False)["input_ids"] == [last - 1, 1]
    for bad in ("", "[EOS]", "<0x41>"):
        with pytest.raises(ValueError, match="added_tokens"):
            trained(kind, ["好"], added_tokens=(bad,))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> list[Path]:
    there = tmp_path_factory.mktemp("tokenizers")
    for kind, size in (("bpe", 420), ("merges", 330)):
        save(build_tokenizer(corpus(), TokenizerOptions(kind=kind, vocab_size=size)), there / kind)
    return [there / "bpe", there / "merges"]


def test_tokenizers_stand_side_by_side_by_source(folders, tmp_path):
    path = tmp_path / "rows.parquet"
    texts = corpus(200)
    sources = ["short" if i % 2 else "long" for i in range(100)]
    pq.write_table(pa.table({"prompt": texts[:100], "response": texts[100:], "source": sources}), path)
    told = compare_files([path], tmp_path / "report", tokenizers=tuple(folders))
    assert list(told.tokenizers) == ["bpe", "merges"]
    assert told.texts == 200
    assert told.by_source.keys() == {"long", "short"}
    rates = [told.tokenizers[name]["characters_per_token"] for name in ("bpe", "merges")]
    assert rates[0] > rates[1] > 1
    for name, rate in zip(("bpe", "merges"), rates, strict=True):
        lowest, highest = sorted(told.by_source[source][name] for source in ("long", "short"))
        assert lowest <= rate <= highest
    assert "round trip" in (tmp_path / "report" / "report.txt").read_text("utf-8")
    assert (tmp_path / "report" / "histogram.png").read_bytes().startswith(b"\x89PNG")
    assert compare_files([path], tmp_path / "report", tokenizers=tuple(folders)) == told
    listed = json.loads((tmp_path / "report" / "report.json").read_text("utf-8"))
    assert listed == asdict(told)
    rarest = listed["tokenizers"]["bpe"]["rarest"][0]
    assert repr(rarest) in (tmp_path / "report" / "report.txt").read_text("utf-8")


def test_a_tokenizer_may_be_named_by_a_dot_but_not_twice(folders, tmp_path, monkeypatch):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "今天"}\n', "utf-8")
    monkeypatch.chdir(folders[0])
    assert list(compare_files([rows], tmp_path / "a", tokenizers=(Path(),)).tokenizers) == ["bpe"]
    assert list(compare_files([rows], tmp_path / "b", tokenizers=(Path(), Path("../merges"))).tokenizers) == [
        "bpe",
        "merges",
    ]
    with pytest.raises(ValueError, match=r"option tokenizers: \.\./bpe: named twice"):
        compare_files([rows], tmp_path / "c", tokenizers=(Path(), Path("../bpe")))
    with pytest.raises(ValueError, match="option tokenizers: none is named"):
        compare_files([rows], tmp_path / "c", tokenizers=())


def test_a_report_of_nothing_is_refused(folders, tmp_path):
    rows, out = tmp_path / "rows.parquet", tmp_path / "report"
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), rows)
    with pytest.raises(ValueError, match="no input files"):
        compare_files([], out, tokenizers=tuple(folders))
    with pytest.raises(DataError, match=r"rows.parquet: no rows"):
        compare_files([rows], out, tokenizers=tuple(folders))
    with pytest.raises(ValueError, match="option max_texts = 0: must be at least 1"):
        compare_files([rows], out, tokenizers=tuple(folders), max_texts=0)
    pq.write_table(
        pa.table({"prompt": [None, "today"], "response": ["好", "好"], "source": ["a", "b"]}), rows
    )
    with pytest.raises(DataError, match=r'rows.parquet, row 1: column "prompt" is null'):
        compare_files([rows], out, tokenizers=tuple(folders))
    assert not out.exists()


def test_texts_that_are_all_empty_are_reported_by_a_tokenizer_that_ends_none(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE({"好": 0}, []))
    (tmp_path / "plain").mkdir()
    model.save(str(tmp_path / "plain" / "tokenizer.json"))
    pq.write_table(pa.table({"text": ["", ""]}), tmp_path / "rows.parquet")
    told = compare_files([tmp_path / "rows.parquet"], tmp_path / "out", tokenizers=(tmp_path / "plain",))
    assert told.texts == 2
    assert (tmp_path / "out" / "histogram.png").stat().st_size > 0


def test_a_report_names_what_is_long_rare_and_never_used(folders):
    told = report(load(folders[0]), ["今天天气很好", "今天"])
    assert told["longest"][0] in corpus_text()
    assert set(told["rarest"]) <= {"今天", "天气", "很好", "今天天气", "今天天气很好", "天", "气", "很", "好"}
    assert told["unused"] > 50
    assert told["mb_per_s"] > 0


def corpus_text() -> str:
    return "\n".join(corpus())


def test_tokenizers_of_others_can_be_reported_too(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, show_progress=False, initial_alphabet=sorted(alphabet)
    )
    model.train_from_iterator(corpus(), trainer)
    told = report(model, corpus(50))
    assert told["round_trip_share"] == 1
    assert told["unreachable"] == []


@pytest.mark.parametrize("kind", ["bpe", "merges", "unigram"])
def test_a_sentencepiece_model_loads_and_loses_nothing(kind, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    built = build_tokenizer(corpus(), TokenizerOptions(kind=kind, vocab_size=420, coverage=1.0))
    save(built, tmp_path / "tokenizer")
    rows = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": corpus(300)}), rows)
    out = tmp_path / "smol.model"
    told = export_files(tmp_path / "tokenizer", out, check=(rows,))
    model = sentencepiece.SentencePieceProcessor(model_file=str(out))
    assert model.get_piece_size() == built.get_vocab_size() == told.pieces
    assert [model.pad_id(), model.eos_id(), model.bos_id(), model.unk_id()] == [0, 1, 3, 6]
    for text in HARD:
        # sentencepiece writes the space as U+2581 and cannot tell the two apart.
        assert model.decode(model.encode(text)) == text.replace("▁", " ")
        assert 6 not in model.encode(text)
    assert told.round_trip == 1
    assert told.same_ids is not None
    assert told.same_ids > 0.9
    assert told.same_tokens == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("kind", ["bpe", "merges", "unigram", "sentencepiece-bpe", "sentencepiece-unigram"])
def test_a_sentencepiece_model_without_an_entry_for_the_space_loses_nothing_either(kind):
    """Counts have no blank words for sentencepiece, and the texts here none at all."""
    sentencepiece = pytest.importorskip("sentencepiece")
    plain = [text.replace(" ", "") for text in corpus()]
    data = count_words(corpus()) if kind.startswith("sentencepiece") else plain
    built = build_tokenizer(data, TokenizerOptions(kind=kind, vocab_size=310, coverage=1.0))
    assert built.token_to_id(" ") is None
    model = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(built))
    for text in [*corpus(100), *HARD]:
        assert model.decode(model.encode(text)) == text


def test_a_gguf_file_holds_the_same_vocabulary(folders, tmp_path):
    gguf = pytest.importorskip("gguf")
    export_files(folders[0], tmp_path / "smol.gguf")
    fields = gguf.GGUFReader(tmp_path / "smol.gguf").fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    built = load(folders[0])
    assert len(tokens) == len(kinds) == built.get_vocab_size()
    assert [t.replace("▁", " ") for t in tokens] == [
        (built.id_to_token(i) or "").replace("▁", " ") for i in range(len(tokens))
    ]
    assert kinds[:8] == [3, 3, 3, 3, 3, 3, 2, 6]
    with pytest.raises(ValueError, match=r"must end in .model"):
        export_files(folders[0], tmp_path / "smol.bin")


def test_a_gguf_file_has_a_piece_for_the_space(tmp_path):
    gguf = pytest.importorskip("gguf")
    save(build_tokenizer(["今天天气很好"] * 9, TokenizerOptions(vocab_size=300)), tmp_path / "no-space")
    export_files(tmp_path / "no-space", tmp_path / "smol.gguf")
    fields = gguf.GGUFReader(tmp_path / "smol.gguf").fields
    place = fields["tokenizer.ggml.tokens"].contents().index("▁")
    assert load(tmp_path / "no-space").id_to_token(place) == "<0x20>"
    assert fields["tokenizer.ggml.token_type"].contents()[place] == 1


def test_a_merge_list_needs_the_counts_in_either_form(tmp_path):
    rows = tmp_path / "rows.jsonl"
    lines = [json.dumps({"prompt": text, "response": "好"}, ensure_ascii=False) for text in corpus(200)]
    rows.write_text("\n".join(lines), "utf-8")
    built = []
    for name in ("counts.parquet", "counts.tsv"):
        count_words_files([rows], tmp_path / name)
        out = tmp_path / f"from-{name}"
        told = build_tokenizer_files([rows], out, TokenizerOptions(kind="merges"), counts=tmp_path / name)
        assert told.characters_per_token is not None
        built.append(load(out).to_str())
    assert built[0] == built[1]


def smolchat(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smolchat_fast", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_commands_build_try_encode_and_export_a_tokenizer(tmp_path):
    rows, made, counts = tmp_path / "rows.parquet", tmp_path / "tokenizer", tmp_path / "counts.tsv"
    pq.write_table(pa.table({"text": corpus()}), rows)
    for run in (
        smolchat("count", rows, "--out", counts),
        smolchat("tokenizer", counts, "--out", tmp_path / "words"),
        smolchat("tokenizer", rows, "--out", made, "--vocab-size", 420),
        smolchat(
            "tokenizer",
            "report",
            rows,
            "--tokenizers",
            made,
            tmp_path / "words",
            "--out",
            tmp_path / "report",
        ),
        smolchat("encode", rows, "--tokenizer", made, "--out", tmp_path / "ids.parquet"),
        smolchat("tokenizer", "export", made, "--out", tmp_path / "smol.model", "--check", rows),
    ):
        assert run.returncode == 0, run.stderr
    assert "come back unchanged" in run.stdout
    assert (tmp_path / "report" / "report.json").is_file()
    ids = pq.read_table(tmp_path / "ids.parquet")["text"].to_pylist()
    assert load(made).decode_batch(ids) == corpus()
    refused = smolchat(
        "tokenizer", rows, "--out", tmp_path / "no", "--kind", "tokenizers-bpe", "--vocab-size", 5
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith("error: option vocab_size = 5: must be over 263")


@pytest.mark.parametrize("kind", ["bpe", "unigram", "merges"])
@pytest.mark.parametrize("content", ["", '{"text": ""}\n'])
def test_nothing_to_learn_from_is_told(tmp_path, kind, content):
    rows = tmp_path / "rows.jsonl"
    rows.write_text(content, "utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl"):
        build_tokenizer_files([rows], tmp_path / "tokenizer", TokenizerOptions(kind=kind))
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_an_export_that_cannot_be_checked_is_refused(tmp_path):
    rows, counts = tmp_path / "rows.jsonl", tmp_path / "counts.parquet"
    rows.write_text('{"text": "今天天气很好"}\n', "utf-8")
    count_words_files([rows], counts)
    build_tokenizer_files([rows], tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="check: nothing here can try a GGUF file"):
        export_files(tmp_path / "tokenizer", tmp_path / "x.gguf", check=(rows,))
    with pytest.raises(DataError, match=r"check: no text in .*counts\.parquet"):
        export_files(tmp_path / "tokenizer", tmp_path / "x.model", check=(counts,))
    assert not list(tmp_path.glob("x*"))
