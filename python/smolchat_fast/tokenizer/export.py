"""A tokenizer as other programs read it: a sentencepiece model, or the vocabulary part of a GGUF file.

Both know no cut before the pieces and join two neighbours wherever that makes a piece, while the merge list
of `tokenizer.json` names the two parts of each merge. So the text always comes back but for U+2581, which
sentencepiece uses for the space, and nearly all ids are the same; how many is measured on texts when the
file is written, and told.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.stage import run_stage
from smolchat_fast.tokenizer.folder import load
from smolchat_fast.tokenizer.options import FIRST_BYTE, FIRST_CHARACTER, SPECIALS
from smolchat_fast.tokenizer.texts import sample_of_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SPACE = "\u2581"
ENDINGS = (".model", ".gguf")

# Types of pieces, the same numbers in sentencepiece and in GGUF.
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was written, and how it compares with the tokenizer."""

    pieces: int
    texts: int
    """Texts that were tried."""
    same_ids: float | None
    """Share of the texts with the same ids; None where no texts were given or nothing can try them."""
    same_tokens: float | None
    """Tokens of the export for one of the tokenizer."""
    round_trip: float | None
    """Share of the texts that come back unchanged."""

    def __str__(self) -> str:
        if self.same_ids is None or self.round_trip is None:
            return f"{self.pieces:,} pieces"
        return (
            f"{self.pieces:,} pieces; of {self.texts:,} texts {self.same_ids:.2%} have the same ids and "
            f"{self.round_trip:.2%} come back unchanged"
        )


@dataclass(frozen=True)
class Piece:
    """An entry as sentencepiece knows it."""

    text: str
    score: float
    kind: int


def pieces_of(tokenizer: Tokenizer) -> tuple[list[Piece], Literal["bpe", "unigram"]]:
    """The entries by id, with scores and types.

    A piece of a merge list has minus the rank of its first merge for a score: the one that is merged
    earlier is the better one.

    Raises:
        DataError: the tokenizer was not made by this package.
    """
    described = json.loads(tokenizer.to_str())
    model = described["model"]
    if [tokenizer.id_to_token(i) for i in range(FIRST_CHARACTER)] != _fixed():
        raise DataError("not a tokenizer of this package: its special and byte tokens are others")
    if model["type"] == "BPE":
        ranks: dict[str, int] = {}
        for rank, (left, right) in enumerate(model["merges"]):
            ranks.setdefault(left + right, rank)
        entries = sorted(model["vocab"], key=model["vocab"].__getitem__)
        # Characters are there from the start; their score decides nothing.
        scored = [(entry, -float(ranks.get(entry, 0))) for entry in entries]
        kind: Literal["bpe", "unigram"] = "bpe"
    else:
        scored, kind = [(entry, score) for entry, score in model["vocab"]], "unigram"
    pieces = []
    for index, (entry, score) in enumerate(scored):
        if index < FIRST_BYTE:
            kind_of = UNKNOWN if entry == SPECIALS["unk_token"] else CONTROL
            pieces.append(Piece(entry, 0.0, kind_of))
        elif index < FIRST_CHARACTER:
            pieces.append(Piece(entry, 0.0, BYTE))
        elif SPACE in entry:
            # It cannot be told from a space there; its place among the ids stays taken.
            pieces.append(Piece(f"[{index}]", 0.0, CONTROL))
        else:
            pieces.append(Piece(entry.replace(" ", SPACE), score, NORMAL))
    added = tokenizer.get_added_tokens_decoder()
    pieces += [Piece(added[i].content, 0.0, CONTROL) for i in sorted(added) if i >= len(pieces)]
    return pieces, kind


def sentencepiece_model(tokenizer: Tokenizer) -> bytes:
    """The content of a sentencepiece `.model` file with the same ids.

    Raises:
        DataError: the tokenizer was not made by this package.
        MissingExtraError: sentencepiece or protobuf is not installed.
    """
    try:
        from sentencepiece import sentencepiece_model_pb2 as proto
    except ImportError as error:
        raise MissingExtraError(
            "a sentencepiece model needs `pip install 'smolchat-fast[export]'`"
        ) from error
    pieces, kind = pieces_of(tokenizer)
    model: Any = proto.ModelProto()  # type: ignore[attr-defined]
    for piece in pieces:
        model.pieces.add(piece=piece.text, score=piece.score, type=piece.kind)
    trainer = model.trainer_spec
    trainer.model_type = trainer.BPE if kind == "bpe" else trainer.UNIGRAM
    trainer.vocab_size = len(pieces)
    trainer.byte_fallback = True
    for index, (role, token) in enumerate(SPECIALS.items()):
        if (name := role.removesuffix("_token")) in {"pad", "eos", "bos", "unk"}:
            setattr(trainer, f"{name}_piece", token)
            setattr(trainer, f"{name}_id", index)
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    # A space that no piece stands for must stay one: its bytes would come back as those of U+2581.
    normalizer.escape_whitespaces = _has_space(pieces)
    return model.SerializeToString()


@arguments
def write_gguf(tokenizer: Tokenizer, path: Path) -> None:
    """Write the vocabulary as the metadata of a GGUF file without tensors, as llama.cpp reads it.

    Raises:
        DataError: the tokenizer was not made by this package, or is a unigram one, whose byte tokens
            llama.cpp does not use: it would lose rare characters.
        MissingExtraError: gguf is not installed.
    """
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise MissingExtraError("a GGUF file needs `pip install 'smolchat-fast[export]'`") from error
    pieces, kind = pieces_of(tokenizer)
    if kind == "unigram":
        raise DataError(
            "a unigram vocabulary loses rare characters in llama.cpp, which then uses no byte tokens. Build "
            "one of the kind bpe."
        )
    if not _has_space(pieces):
        # llama.cpp writes a space as U+2581 and turns only whole pieces back, never bytes.
        pieces[FIRST_BYTE + ord(" ")] = Piece(SPACE, 0.0, NORMAL)
    writer = GGUFWriter(path, "t5")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([piece.text.encode() for piece in pieces])
    writer.add_token_scores([piece.score for piece in pieces])
    writer.add_token_types([piece.kind for piece in pieces])
    ids = {role: index for index, role in enumerate(SPECIALS)}
    writer.add_pad_token_id(ids["pad_token"])
    writer.add_eos_token_id(ids["eos_token"])
    writer.add_bos_token_id(ids["bos_token"])
    writer.add_unk_token_id(ids["unk_token"])
    writer.add_add_space_prefix(False)
    writer.add_remove_extra_whitespaces(False)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@arguments
def export_files(
    folder: Path,
    out: Path,
    *,
    check: tuple[Path, ...] = (),
    overwrite: bool = False,
) -> ExportReport:
    """Write a tokenizer for other programs, and compare its ids with ours on texts.

    Args:
        folder: Tokenizer folder.
        out: `NAME.model` for sentencepiece, `NAME.gguf` for a GGUF file with the vocabulary alone.
        check: Row files with texts to compare on; up to 4,000 rows are taken, by a hash of each.
        overwrite: Replace an output that was made otherwise.
    Returns:
        Pieces, and for sentencepiece the share of texts with the same ids.
    Raises:
        DataError: the folder holds no tokenizer of this package, or `check` no text.
        ValueError: `out` is called neither `.model` nor `.gguf`, or `check` is given for the latter.
        StageError: `out` exists and was made otherwise.
    """
    if out.suffix not in ENDINGS:
        raise ValueError(f"option out = {out}: must end in .model (sentencepiece) or .gguf")
    if check and out.suffix == ".gguf":
        raise ValueError("option check: nothing here can try a GGUF file on texts; leave it out")

    def work(partial: list[Path]) -> dict[str, Any]:
        tokenizer = load(folder)
        told = {"pieces": tokenizer.get_vocab_size(), "texts": 0}
        if out.suffix == ".gguf":
            write_gguf(tokenizer, partial[0])
            return {**told, "same_ids": None, "same_tokens": None, "round_trip": None}
        texts = sample_of_files(check)
        if check and not texts:
            raise DataError(f"option check: no text in {', '.join(map(str, check))}; name row files")
        partial[0].write_bytes(model := sentencepiece_model(tokenizer))
        return told | compare(tokenizer, model, texts)

    inputs = [folder / "tokenizer.json", *check]
    finished = run_stage("tokenizer export", out, work, makes=ENDINGS, inputs=inputs, overwrite=overwrite)
    return ExportReport(**finished.report)


def compare(tokenizer: Tokenizer, model: bytes, texts: Sequence[str]) -> dict[str, Any]:
    """What `ExportReport` tells of a sentencepiece model."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    if not texts:
        return {"texts": 0, "same_ids": None, "same_tokens": None, "round_trip": None}
    ours = [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]
    theirs = processor.encode(list(texts))
    back = processor.decode(theirs)
    n = len(texts)
    return {
        "texts": n,
        "same_ids": sum(a == b for a, b in zip(ours, theirs, strict=True)) / n,
        "same_tokens": sum(map(len, theirs)) / max(sum(map(len, ours)), 1),
        "round_trip": sum(a == b for a, b in zip(back, texts, strict=True)) / n,
    }


def _has_space(pieces: Sequence[Piece]) -> bool:
    """Whether a space alone is a piece; if not, it is spelt in bytes."""
    return any(piece.text == SPACE for piece in pieces)


def _fixed() -> list[str]:
    return [*SPECIALS.values(), *(f"<0x{byte:02X}>" for byte in range(256))]
