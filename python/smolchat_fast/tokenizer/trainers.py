"""What the trainers of other libraries learn, for those who want exactly theirs.

They give entries and merges or scores; the folder is ours: the same special and byte tokens at the same
ids, nothing normalised, so that every text comes back.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.tokenizer.options import FIRST_CHARACTER, SPECIALS, TokenizerOptions

SPACE = "\u2581"
"""How sentencepiece writes a space."""

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """What is learned from: texts, or words with their counts."""

    texts: Iterable[str] = ()
    counts: Iterable[tuple[str, int]] | None = None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Entries in the order of their ids, and merges by rank or scores."""

    entries: list[str]
    merges: list[tuple[str, str]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    split: bool
    """Whether tokens stay inside runs of one kind of character, as the core cuts them."""


def train_tokenizers(pieces: Pieces, options: TokenizerOptions, kind: str) -> Learned:
    """What the trainers of the `tokenizers` library learn from texts cut as the core cuts them.

    Raises:
        DataError: word counts were given, which these trainers cannot take.
    """
    if pieces.counts is not None:
        raise DataError(
            f"option kind = {options.kind}: learns from texts alone, not from word counts. Give row files, or "
            "take the kind bpe, merges, unigram or one of sentencepiece."
        )
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    from smolchat_fast import _core

    shared: dict[str, Any] = {"show_progress": False, "special_tokens": [*SPECIALS.values(), *BYTES]}
    shared["vocab_size"] = options.vocab_size - len(options.added_tokens)
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer: Any = trainers.BpeTrainer(
            min_frequency=options.min_count, max_token_length=options.max_chars, **shared
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(max_piece_length=options.max_chars, **shared)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_core.tokenizer_pattern()), "isolated")
    tokenizer.train_from_iterator(_limited(pieces.texts, options.train_mb), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    if kind == "bpe":
        vocabulary = sorted(model["vocab"], key=model["vocab"].__getitem__)
        merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
        entries, scores = vocabulary[FIRST_CHARACTER:], []
    else:
        known = set(shared["special_tokens"])
        scored = [(piece, score) for piece, score in model["vocab"] if piece not in known]
        entries, scores, merges = [piece for piece, _ in scored], [score for _, score in scored], []
    return Learned(entries=entries, merges=merges, scores=scores, split=True)


def train_sentencepiece(pieces: Pieces, options: TokenizerOptions, kind: str) -> Learned:
    """What sentencepiece learns from the lines of texts, or from word counts, nothing normalised.

    Raises:
        MissingExtraError: sentencepiece is not installed.
        ValueError: the text does not give so many entries.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtraError(
            "sentencepiece is not installed: pip install 'smolchat-fast[export]'"
        ) from error
    made = io.BytesIO()
    if pieces.counts is None:
        lines: Iterator[str] = chain.from_iterable(
            text.split("\n") for text in _limited(pieces.texts, options.train_mb)
        )
        source: dict[str, Any] = {"sentence_iterator": (line for line in lines if line)}
    else:
        # The iterator takes no counts; a line of sentencepiece's own TSV does, but only from a file.
        source = {"sentence_iterator": (f"{w}\t{n}" for w, n in pieces.counts if _is_plain(w))}
        source["input_format"] = "tsv"
    try:
        sentencepiece.SentencePieceTrainer.train(
            model_writer=made,
            model_type=kind,
            # Three of its special pieces and the byte pieces are counted too.
            vocab_size=options.vocab_size - len(options.added_tokens) - FIRST_CHARACTER + 3 + len(BYTES),
            character_coverage=options.coverage,
            max_sentencepiece_length=options.max_chars,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            max_sentence_length=1 << 20,
            minloglevel=2,
            **source,
        )
    except RuntimeError as error:
        reason = re.sub(r"^.*?\] ?", "", str(error).strip().splitlines()[-1])
        raise ValueError(
            f"option vocab_size = {options.vocab_size}: sentencepiece refuses: {reason}"
        ) from error
    model = sentencepiece.SentencePieceProcessor(model_proto=made.getvalue())
    scored = [
        (model.id_to_piece(i).replace(SPACE, " "), model.get_score(i))
        for i in range(model.get_piece_size())
        if not (model.is_control(i) or model.is_unknown(i) or model.is_byte(i))
    ]
    entries = [piece for piece, _ in scored]
    if kind == "unigram":
        return Learned(entries=entries, scores=[score for _, score in scored], split=False)
    return Learned(entries=entries, merges=merges_of(scored), split=False)


def merges_of(scored: Iterable[tuple[str, float]]) -> list[tuple[str, str]]:
    """Merges of a vocabulary whose pieces merge in the order of their scores, as in sentencepiece.

    Every way to make a piece of two others is a merge; those of a better piece come first.
    """
    scores = dict(scored)
    merges = [
        (-score, -scores[piece[:cut]] - scores[piece[cut:]], piece, cut)
        for piece, score in scores.items()
        for cut in range(1, len(piece))
        if piece[:cut] in scores and piece[cut:] in scores
    ]
    return [(piece[:cut], piece[cut:]) for _, _, piece, cut in sorted(merges)]


def _limited(texts: Iterable[str], train_mb: int) -> Iterator[str]:
    """The first texts, of `train_mb` MiB together."""
    left = train_mb << 20
    for text in texts:
        left -= len(text.encode())
        if left < 0:
            return
        yield text


def _is_plain(word: str) -> bool:
    """Words that a line of TSV can hold."""
    return word.strip() != "" and not any(c in word for c in "\t\n\r")


Trainer = Callable[[Pieces, TokenizerOptions], Learned]


def _with(train: Callable[[Pieces, TokenizerOptions, str], Learned], kind: str) -> Trainer:
    return lambda pieces, options: train(pieces, options, kind)


TRAINERS: dict[str, Trainer] = {
    f"{library}-{kind}": _with(train, kind)
    for library, train in (("tokenizers", train_tokenizers), ("sentencepiece", train_sentencepiece))
    for kind in ("bpe", "unigram")
}
"""The kinds that another library learns."""
