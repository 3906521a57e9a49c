"""Build a lossless tokenizer for Chinese from texts or word counts.

    >>> from smolchat_fast.tokenizer import TokenizerOptions, build_tokenizer
    >>> tokenizer = build_tokenizer(["今天天气很好。", "今天下雨。"], TokenizerOptions(vocab_size=300))
    >>> tokenizer.encode("今天😀").tokens
    ['今天', '<0xF0>', '<0x9F>', '<0x98>', '<0x80>', '[EOS]']

Ids 0 to 6 are `[PAD] [EOS] [SEP] [BOS] [CLS] [MASK] [UNK]`; 256 byte tokens follow, which spell what has
no entry, so `[UNK]` is never made; then characters and longer entries, each of which some text reaches.
`[EOS]` is appended by the post-processor. Typed by a user it is text: this must be asked of the
`tokenizers` library for each object (`encode_special_tokens = True`); `build_tokenizer` and `load` do,
`AutoTokenizer` does because `save` writes `split_special_tokens`, and so does the encoder of the stream.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow.parquet as pq

from smolchat_fast import _core
from smolchat_fast.errors import MissingExtraError
from smolchat_fast.progress import Progress
from smolchat_fast.stage import run_stage
from smolchat_fast.words import text_columns

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPECIALS = {
    "pad_token": "[PAD]",
    "eos_token": "[EOS]",
    "sep_token": "[SEP]",
    "bos_token": "[BOS]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
    "unk_token": "[UNK]",
}
"""Special tokens by their role, in the order of their ids from 0 on."""

FIRST_BYTE, FIRST_CHARACTER = len(SPECIALS), len(SPECIALS) + 256
"""Ids of the first byte token and of the first token that is neither special nor a byte."""

SAMPLE_TEXTS = 4_000


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerOptions:
    """How a tokenizer is built."""

    kind: Literal["bpe", "merges", "unigram"] = "bpe"
    """How entries are chosen: frequent pairs again and again, frequent words, or probable pieces."""
    vocab_size: int = 29_298
    """Entries in all, special and byte tokens among them; fewer if the text gives no more."""
    coverage: float = 0.9995
    """Share of the text whose characters get an entry in any case. Rarer characters get one where that
    saves more tokens than another merge, and are spelt in bytes otherwise."""
    max_chars: int = 16
    """Characters of an entry at most."""
    min_count: int = 2
    """An entry must have been seen this often."""
    train_mb: int = 1_024
    """Text to learn from at most, in MiB; of more, some texts are taken, by a hash of each. Memory is
    about six times this."""
    columns: tuple[str, ...] = ()
    """Columns of a table that are read; none: every text column but `source`."""


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


def build_tokenizer(
    data: Any,
    options: TokenizerOptions = TokenizerOptions(),
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Tokenizer:
    """Build a tokenizer from texts or from word counts.

    Args:
        data: Word counts (a table `word, count`), or texts: a table or column of any library that speaks
            Arrow, or a list of strings. Entries never cross a word if they come from word counts; for
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
    asked = json.dumps(asdict(options))
    if list(getattr(data, "column_names", ())) == ["word", "count"]:
        text, _ = _core.build_tokenizer_from_words(data, asked, threads=threads, progress=progress)
    else:
        columns = text_columns(data, options.columns)
        text, _ = _core.build_tokenizer_from_texts(columns, asked, threads=threads, progress=progress)
    return _from_text(text)


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
        DataError: a file is damaged, lacks a column or has a null; names file and row.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """
    read = [counts] if counts and (options.kind == "merges" or not inputs) else list(inputs)

    def work(partial: list[Path]) -> dict[str, Any]:
        asked = json.dumps(asdict(options))
        text, entries = _core.build_tokenizer_from_files(read, asked, threads=threads, progress=progress)
        tokenizer = _from_text(text)
        save(tokenizer, partial[0])
        sample = list(islice(_texts(inputs, options.columns), SAMPLE_TEXTS))
        rate = report(tokenizer, sample)["characters_per_token"] if sample else None
        return {**json.loads(entries), "characters_per_token": rate}

    finished = run_stage("tokenizer", out, work, inputs=read, options=options, overwrite=overwrite)
    return TokenizerReport(**finished.report)


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the files that `AutoTokenizer.from_pretrained(folder)` reads, without remote code.

    Args:
        tokenizer: A tokenizer of `build_tokenizer`.
        folder: Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **SPECIALS,
        # What a user types is text, even where it reads like a special token.
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        # T5 takes no token types.
        "model_input_names": ["input_ids", "attention_mask"],
        "padding_side": "right",
    }
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    for name, content in (("tokenizer_config", config), ("special_tokens_map", SPECIALS)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, as `build_tokenizer` gave it.

    Raises:
        FileNotFoundError: the folder holds no `tokenizer.json`.
    """
    return _from_text((folder / "tokenizer.json").read_text("utf-8"))


def report(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """How well a tokenizer does on texts.

    Args:
        tokenizer: A tokenizer of `build_tokenizer` or `load`.
        texts: At least one text, best of rows that it was not built from.
    Returns:
        `tokens`, `characters`, `characters_per_token`; `unknown_share` and `byte_share` of the tokens;
        `round_trip_share` of the texts that come back unchanged; `unreachable`, the entries that their
        own text does not give.
    """
    ids = [encoding.ids for encoding in tokenizer.encode_batch(list(texts), add_special_tokens=False)]
    back = tokenizer.decode_batch(ids, skip_special_tokens=True)
    tokens, characters = sum(map(len, ids)), sum(map(len, texts))
    unknown = list(SPECIALS).index("unk_token")
    flat = [token for row in ids for token in row]
    return {
        "tokens": tokens,
        "characters": characters,
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "unknown_share": sum(token == unknown for token in flat) / max(tokens, 1),
        "byte_share": sum(FIRST_BYTE <= token < FIRST_CHARACTER for token in flat) / max(tokens, 1),
        "round_trip_share": sum(a == b for a, b in zip(back, texts, strict=True)) / max(len(texts), 1),
        "unreachable": _unreachable(tokenizer),
    }


def stream_text(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Text of ids as they come, never half a character.

    Args:
        tokenizer: A tokenizer of `build_tokenizer` or `load`.
        ids: Ids one by one; special tokens among them show nothing.
    Yields:
        Text that is complete; joined it is the decoded text. Bytes that are no UTF-8 become U+FFFD.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        if token < FIRST_BYTE:
            continue
        entry = tokenizer.id_to_token(token) or ""
        content = bytes([token - FIRST_BYTE]) if token < FIRST_CHARACTER else entry.encode()
        if text := decoder.decode(content):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text


def _unreachable(tokenizer: Tokenizer) -> list[str]:
    entries = [tokenizer.id_to_token(i) or "" for i in range(FIRST_CHARACTER, tokenizer.get_vocab_size())]
    encodings = tokenizer.encode_batch(entries, add_special_tokens=False)
    return [
        e
        for i, (e, got) in enumerate(zip(entries, encodings, strict=True), FIRST_CHARACTER)
        if got.ids != [i]
    ]


def _from_text(text: str) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("a tokenizer needs `pip install 'smolchat-fast[tokenizer]'`") from error
    tokenizer = Tokenizer.from_str(text)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _texts(inputs: Sequence[Path], columns: Sequence[str]) -> Iterator[str]:
    """The texts of row files, file by file; nothing of tables of word counts."""
    for path in inputs:
        for batch in pq.ParquetFile(path).iter_batches(1_000):
            if batch.schema.names != ["word", "count"]:
                for column in text_columns(batch, columns):
                    yield from (text for text in column.to_pylist() if text is not None)
