"""Texts or word counts to a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError
from smolchat_fast.progress import Progress
from smolchat_fast.stage import FOLDER, run_stage
from smolchat_fast.tokenizer.folder import from_text, save
from smolchat_fast.tokenizer.options import TokenizerOptions
from smolchat_fast.tokenizer.report import report
from smolchat_fast.tokenizer.texts import is_counts, texts_of, texts_of_files
from smolchat_fast.tokenizer.trainers import TRAINERS, Learned, Pieces
from smolchat_fast.words import read_counts, text_columns

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAMPLE_TEXTS = 4_000
"""Texts of the input that the characters a token are told of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerReport:
    """What was built."""

    vocab_size: int
    """Entries in all."""
    characters: int
    """Entries that are one character."""
    longer: int
    """Entries that are longer."""
    distinct_pieces: int
    """Different pieces of text, or words, that it was learned from."""
    characters_per_token: float | None
    """Over a sample of the input; None if only word counts were given."""

    def __str__(self) -> str:
        rate = self.characters_per_token
        shown = "" if rate is None else f", {rate:.2f} characters a token"
        return f"{self.vocab_size:,} entries ({self.characters:,} characters, {self.longer:,} longer){shown}"


@arguments
def build_tokenizer(
    data: Any,
    options: TokenizerOptions = TokenizerOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Tokenizer:
    """Build a tokenizer from texts or from word counts.

    Args:
        data: Word counts (a table `word, count`), or texts: any Arrow table or column, or a sequence of
            `str`. Entries never cross a word if they come from word counts; for
            the kind `merges` the words of texts are counted first.
        options: How the tokenizer is built.
        threads: Worker threads; all cores by default.
        progress: Called with (phase, done, in all).
    Returns:
        The tokenizer, which encodes special tokens in a text as text.
    Raises:
        DataError: a text is null.
        ValueError: an option is out of range, or a column is missing.
    """
    if options.kind in TRAINERS:
        return _assemble(TRAINERS[options.kind](_pieces_of(data, options), options), options)[0]
    asked = json.dumps(asdict(options))
    if is_counts(data):
        text, _ = _core.build_tokenizer_from_words(data, asked, threads=threads, progress=progress)
    else:
        columns = text_columns(data, options.columns)
        text, _ = _core.build_tokenizer_from_texts(columns, asked, threads=threads, progress=progress)
    return from_text(text)


@arguments
def build_tokenizer_files(
    inputs: Sequence[Path],
    out: Path,
    options: TokenizerOptions = TokenizerOptions(),
    *,
    counts: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TokenizerReport:
    """Build a tokenizer from row files or from word counts.

    Memory: about six times `train_mb`, or the table of counts.

    Args:
        inputs: Row files with the same columns, or tables `word, count` of the command `count`.
        out: Folder that `AutoTokenizer.from_pretrained` reads.
        options: How the tokenizer is built.
        counts: Table `word, count` for the kind `merges`, or for all kinds if there are no inputs.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, done, in all).
    Returns:
        Entries by kind, and characters a token.
    Raises:
        DataError: a file is damaged, lacks a column or has a null, or there is no text; names file and row.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """
    read = [counts] if counts and (options.kind == "merges" or not inputs) else list(inputs)
    if not read:
        raise ValueError("no input files; give row files, or a table of word counts with --counts")

    def work(partial: list[Path]) -> dict[str, Any]:
        if options.kind in TRAINERS:
            learned = TRAINERS[options.kind](_pieces_of_files(read, options), options)
            tokenizer, entries = _assemble(learned, options)
        else:
            asked = json.dumps(asdict(options))
            text, entries = _core.build_tokenizer_from_files(read, asked, threads=threads, progress=progress)
            tokenizer = from_text(text)
        told = json.loads(entries)
        if not told["distinct_pieces"]:
            raise DataError(f"{', '.join(map(str, read))}: no text, so there is nothing to learn from")
        save(tokenizer, partial[0])
        sample = list(islice(texts_of_files(inputs, options.columns), SAMPLE_TEXTS))
        rate = report(tokenizer, sample)["characters_per_token"] if sample else None
        return {**told, "characters_per_token": rate}

    everything = list(dict.fromkeys([*read, *inputs]))  # the sample is of the inputs
    finished = run_stage(
        "tokenizer", out, work, makes=FOLDER, inputs=everything, options=options, overwrite=overwrite
    )
    return TokenizerReport(**finished.report)


def _assemble(learned: Learned, options: TokenizerOptions) -> tuple[Tokenizer, str]:
    """What another library has learned, in our folder's form: the same special and byte tokens and ids."""
    text, entries = _core.assemble_tokenizer(json.dumps(asdict(learned)), list(options.added_tokens))
    return from_text(text), entries


def _pieces_of(data: Any, options: TokenizerOptions) -> Pieces:
    if is_counts(data):
        return Pieces(counts=zip(*(data.column(n).to_pylist() for n in ("word", "count")), strict=True))
    return Pieces(texts=texts_of(data, options.columns))


def _pieces_of_files(paths: Sequence[Path], options: TokenizerOptions) -> Pieces:
    tables = [table for path in paths if (table := read_counts(path)) is not None]
    if tables:
        return _pieces_of(_core.merge_word_counts(tables), options)
    return Pieces(texts=texts_of_files(paths, options.columns))
