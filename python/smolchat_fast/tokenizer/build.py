"""Texts or word counts to a tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.arrow import as_table
from smolchat_fast.errors import DataError
from smolchat_fast.progress import Progress
from smolchat_fast.stage import FOLDER, run_stage
from smolchat_fast.tokenizer.apart import learn
from smolchat_fast.tokenizer.folder import from_text, save
from smolchat_fast.tokenizer.options import TokenizerOptions
from smolchat_fast.tokenizer.report import report
from smolchat_fast.tokenizer.texts import limited, rows_of_files, sample_of_files, text_part
from smolchat_fast.tokenizer.trainers import TRAINERS
from smolchat_fast.words import as_counts, is_counts, read_counts

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer


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
        data: Word counts (a table of the columns `word` and `count` alone), or texts: any Arrow table or
            column (pyarrow, polars, pandas, DuckDB), or a sequence of `str`. Entries never cross a word if
            they come from word counts; for the kind `merges` the words of texts are counted first.
        options: How the tokenizer is built.
        threads: Worker threads; all cores by default.
        progress: Called with (phase, done, in all).
    Returns:
        The tokenizer, which encodes special tokens in a text as text.
    Raises:
        DataError: a text is null.
        ValueError: an option is out of range, or a column is missing.
    """
    table = as_table(data)
    if options.kind in TRAINERS:
        return _build_elsewhere(_tables_of(table, options), options, threads, progress)[0]
    asked = json.dumps(asdict(options))
    if is_counts(table):
        text, _ = _core.build_tokenizer_from_words(
            as_counts(table), asked, threads=threads, progress=progress
        )
    else:
        columns = text_part(table, options.columns).columns
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
            tables = _tables_of_files(read, options)
            tokenizer, entries = _build_elsewhere(tables, options, threads, progress)
        else:
            asked = json.dumps(asdict(options))
            text, entries = _core.build_tokenizer_from_files(read, asked, threads=threads, progress=progress)
            if not json.loads(entries)["distinct_pieces"]:
                raise DataError(f"{', '.join(map(str, read))}: no text, so there is nothing to learn from")
            tokenizer = from_text(text)
        save(tokenizer, partial[0])
        sample = sample_of_files(inputs, options.columns)
        rate = report(tokenizer, sample)["characters_per_token"] if sample else None
        return {**json.loads(entries), "characters_per_token": rate}

    everything = list(dict.fromkeys([*read, *inputs]))  # the sample is of the inputs
    finished = run_stage(
        "tokenizer", out, work, makes=FOLDER, inputs=everything, options=options, overwrite=overwrite
    )
    return TokenizerReport(**finished.report)


def _build_elsewhere(
    tables: Iterable[pa.Table], options: TokenizerOptions, threads: int | None, progress: Progress | None
) -> tuple[Tokenizer, str]:
    """What another library learns, in our folder's form: the same special and byte tokens and ids."""
    # The core checks the ranges of options, those of a kind that it does not know included.
    _core.build_tokenizer_from_texts([], json.dumps(asdict(replace(options, kind="bpe"))), threads=threads)
    learned = learn(tables, options, threads=threads, progress=progress)
    text, entries = _core.assemble_tokenizer(json.dumps(asdict(learned)), list(options.added_tokens))
    return from_text(text), entries


def _tables_of(table: pa.Table, options: TokenizerOptions) -> Iterable[pa.Table]:
    """The word counts or texts of a table."""
    if is_counts(table):
        return [_core.merge_word_counts([as_counts(table)])]
    texts = text_part(table, options.columns)
    return limited(lambda: [texts], options.train_mb)


def _tables_of_files(paths: Sequence[Path], options: TokenizerOptions) -> Iterable[pa.Table]:
    """The word counts of all files, or the texts of all."""
    counts = [read_counts(path) for path in paths]
    tables = [table for table in counts if table is not None]
    if not tables:
        return limited(
            lambda: (texts for _, texts in rows_of_files(paths, options.columns)), options.train_mb
        )
    for path, table in zip(paths, counts, strict=True):
        if table is None:
            raise DataError(f"{path}: holds rows of text, and others of the inputs word counts")
    return [_core.merge_word_counts(tables)]
