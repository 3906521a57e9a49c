"""Paths may be text or patterns, and what cannot be is refused by name, before anything is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smolchat_fast import cli
from smolchat_fast.clean import CleanOptions, clean, clean_text
from smolchat_fast.dedup import deduplicate_files
from smolchat_fast.split import split_files
from smolchat_fast.tokenizer import (
    TokenizerOptions,
    build_tokenizer,
    build_tokenizer_files,
    encode_files,
    load,
)
from smolchat_fast.words import WordOptions, count_words, count_words_files, read_counts


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("one", "two"):
        Path(f"{name}.jsonl").write_text(json.dumps({"text": f"今天天气很好 {name}"}) + "\n", "utf-8")
    return tmp_path


def test_every_path_may_be_text(rows: Path) -> None:
    Path("words.txt").write_text("天气很好 9\n", "utf-8")
    told = count_words_files(["one.jsonl"], "counts.parquet", WordOptions(user_dict="words.txt"))
    assert told.rows == 1
    assert "天气很好" in read_counts("counts.parquet")["word"].to_pylist()
    build_tokenizer_files(["one.jsonl"], "tokenizer")
    assert load("tokenizer").get_vocab_size() > 263
    assert encode_files(["one.jsonl"], "ids.parquet", tokenizer="tokenizer").rows == 1
    report = deduplicate_files(["one.jsonl"], "kept.parquet", against=("two.jsonl",), removed="gone.parquet")
    assert report.rows_in == 1
    assert Path("gone.parquet").exists()


def test_patterns_name_files_for_commands_and_functions(
    rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert count_words_files([rows / "*.jsonl"], rows / "library.parquet").rows == 2
    with pytest.raises(SystemExit) as ended:
        cli.main(["count", "[ot]*.jsonl", "--out", "command.parquet", "--quiet"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("2 rows")
    with pytest.raises(FileNotFoundError, match="no file fits this pattern"):
        count_words_files(["*.csv"], "x.parquet")


def test_a_file_whose_name_reads_like_a_pattern_is_that_file(rows: Path) -> None:
    Path("one.jsonl").rename("[ab].jsonl")
    assert count_words_files(["[ab].jsonl"], "x.parquet").rows == 1


def test_a_file_named_twice_counts_twice(rows: Path) -> None:
    assert count_words_files(["one.jsonl", "one.jsonl"], "x.parquet").rows == 2


@pytest.mark.parametrize(
    ("inputs", "told"), [("one.jsonl", "put it into a list"), ([3], "expected a path, got int")]
)
def test_what_is_no_list_of_paths_is_refused(rows: Path, inputs: object, told: str) -> None:
    with pytest.raises(TypeError, match=rf"inputs: .*{told}"):
        split_files(inputs, "x.parquet")  # type: ignore[arg-type]


def test_numbers_and_choices_that_cannot_be_are_named() -> None:
    refused = [
        (lambda: count_words(["好"], threads=-1), "threads = -1: must be at least 1"),
        (lambda: clean(["好"], threads=-1), "threads = -1: must be at least 1"),
        (lambda: count_words(["好"], WordOptions(memory_mb=-5)), "memory_mb = -5: must be at least 0"),
        (lambda: clean_text("好", CleanOptions(min_chars=-2)), "min_chars = -2: must be at least 0"),
        (
            lambda: build_tokenizer(["好"], TokenizerOptions(vocab_size=-1)),
            "vocab_size = -1: must be at least 0",
        ),
        (
            lambda: build_tokenizer(["好"], TokenizerOptions(kind="foo")),  # type: ignore[arg-type]
            "kind = foo: must be one of bpe, merges, unigram, tokenizers-bpe, tokenizers-unigram, ",
        ),
    ]
    for call, told in refused:
        with pytest.raises(ValueError, match=f"option {told}"):
            call()


@pytest.mark.parametrize("flag", ["--threads", "--vocab-size"])
def test_a_negative_number_ends_a_command_with_one_clear_error(
    flag: str, rows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["tokenizer", "one.jsonl", "--out", "x", flag, "-1"])
    assert ended.value.code == 2
    assert f"option {flag[2:].replace('-', '_')} = -1: must be at least" in capsys.readouterr().err
