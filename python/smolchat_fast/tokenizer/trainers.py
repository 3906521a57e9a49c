"""What the trainers of other libraries learn, for those who want exactly theirs.

They give entries and merges or scores; the folder is ours: the same special and byte tokens at the same
ids, nothing normalised, so that every text comes back.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from smolchat_fast import _core
from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.tokenizer.options import FIRST_CHARACTER, SPECIALS, TokenizerOptions
from smolchat_fast.tokenizer.texts import texts_of
from smolchat_fast.words import is_counts

SPACE = "\u2581"
"""How sentencepiece writes a space."""

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Entries in the order of their ids, and merges by rank or scores."""

    entries: list[str]
    merges: list[tuple[str, str]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    split: bool
    """Whether tokens stay inside runs of one kind of character, as the core cuts them."""


def train_tokenizers(data: pa.Table, options: TokenizerOptions, kind: str) -> Learned:
    """What the trainers of the `tokenizers` library learn from texts cut as the core cuts them.

    Args:
        data: Texts.
        options: How the tokenizer is built; texts are cut at the characters that get no entry.
        kind: `bpe` or `unigram`.
    Raises:
        DataError: word counts were given, which these trainers cannot take.
        MissingExtraError: tokenizers is not installed.
        ValueError: the library refuses.
    """
    if is_counts(data):
        raise DataError(
            f"option kind = {options.kind}: learns from texts alone, not from word counts. Give row files, or "
            "take the kind bpe, merges, unigram or one of sentencepiece."
        )
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
    except ImportError as error:
        raise MissingExtraError("a tokenizer needs `pip install 'smolchat-fast[tokenizer]'`") from error
    size = options.vocab_size - len(options.added_tokens)
    fixed = [*SPECIALS.values(), *BYTES]
    shared: dict[str, Any] = {"vocab_size": size, "show_progress": False, "special_tokens": fixed}
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        trainer: Any = trainers.BpeTrainer(
            min_frequency=options.min_count, max_token_length=options.max_chars, **shared
        )
    else:
        tokenizer = Tokenizer(models.Unigram())
        trainer = trainers.UnigramTrainer(max_piece_length=options.max_chars, **shared)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_core.tokenizer_pattern()), "isolated")
    # Where characters alone fill its vocabulary, the unigram trainer takes any number of entries more.
    most = size - FIRST_CHARACTER - (kind == "unigram")
    parts = of_frequent_characters(lambda: texts_of(data), options.coverage, most)
    try:
        tokenizer.train_from_iterator(parts, trainer)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"option kind = {options.kind}: the trainer refuses: {error}") from error
    model = json.loads(tokenizer.to_str())["model"]
    if kind == "bpe":
        entries = sorted(model["vocab"], key=model["vocab"].__getitem__)[FIRST_CHARACTER:]
        merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in model["merges"]]
        return Learned(entries=entries, merges=merges, split=True)
    scored = settled([(piece, score) for piece, score in model["vocab"] if piece not in set(fixed)])
    return Learned(entries=[p for p, _ in scored], scores=[s for _, s in scored], split=True)


def of_frequent_characters(texts: Callable[[], Iterable[str]], coverage: float, most: int) -> Iterator[str]:
    """Texts, cut at the characters that are not among the most frequent ones.

    Args:
        texts: Gives the texts, twice.
        coverage: Share of the text that the frequent characters make up.
        most: How many these are at most.
    """
    counts: Counter[str] = Counter()
    for text in texts():
        counts.update(text)
    ordered = sorted(counts, key=lambda character: (-counts[character], character))
    missing, frequent = coverage * counts.total(), 0
    while frequent < min(most, len(ordered)) and missing > 0:
        missing -= counts[ordered[frequent]]
        frequent += 1
    rare = re.escape("".join(ordered[frequent:]))
    cut = re.compile(f"[{rare}]+") if rare else None
    for text in texts():
        yield from (part for part in cut.split(text) if part) if cut else (text,)


def settled(scored: Iterable[tuple[str, float]]) -> list[tuple[str, float]]:
    """A unigram vocabulary of the `tokenizers` library without what changes from run to run.

    Its sums differ in the last digits. And characters that it dropped and put back have the lowest score,
    and so many ten-thousandths more, in an order of chance: all of them get the lowest one here.
    """
    scored = list(scored)
    lowest = min((score for _, score in scored), default=0.0)

    def put_back(piece: str, score: float) -> bool:
        steps = (score - lowest) * 1e4
        return len(piece) == 1 and steps < len(scored) and abs(steps - round(steps)) < 1e-6

    plain = [(p, round(lowest if put_back(p, score) else score, 6)) for p, score in scored]
    return sorted(plain, key=lambda entry: (-entry[1], entry[0]))


def train_sentencepiece(data: pa.Table, options: TokenizerOptions, kind: str) -> Learned:
    """What sentencepiece learns, nothing normalised.

    Args:
        data: Texts, which are learned line by line, or word counts.
        options: How the tokenizer is built.
        kind: `bpe` or `unigram`.
    Raises:
        MissingExtraError: sentencepiece is not installed.
        ValueError: the text does not give so many entries, or needs more.
    """
    try:
        import sentencepiece
    except ImportError as error:
        raise MissingExtraError(
            "sentencepiece is not installed: pip install 'smolchat-fast[export]'"
        ) from error
    made = io.BytesIO()
    source: dict[str, Any] = {}
    if is_counts(data):
        # The iterator takes no counts; a line of sentencepiece's own TSV does.
        words = zip(data["word"].to_pylist(), data["count"].to_pylist(), strict=True)
        lines = (f"{word}\t{count}" for word, count in words if _is_plain(str(word)))
        source["input_format"] = "tsv"
    else:
        lines = (line for text in texts_of(data) for line in text.split("\n") if line)
    # Three of its special pieces and the byte pieces are counted too.
    others = len(options.added_tokens) + FIRST_CHARACTER - 3 - len(BYTES)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=made,
            model_type=kind,
            vocab_size=options.vocab_size - others,
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
        told = f"{reason} (It counts {others} entries less.)" if reason else "there is no text to learn from"
        raise ValueError(
            f"option vocab_size = {options.vocab_size}: sentencepiece refuses: {told}"
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


def _is_plain(word: str) -> bool:
    """Words that a line of TSV can hold."""
    return word.strip() != "" and not any(c in word for c in "\t\n\r")


Trainer = Callable[[pa.Table, TokenizerOptions], Learned]


def _with(train: Callable[[pa.Table, TokenizerOptions, str], Learned], kind: str) -> Trainer:
    return lambda data, options: train(data, options, kind)


TRAINERS: dict[str, Trainer] = {
    f"{library}-{kind}": _with(train, kind)
    for library, train in (("tokenizers", train_tokenizers), ("sentencepiece", train_sentencepiece))
    for kind in ("bpe", "unigram")
}
"""The kinds that another library learns."""
