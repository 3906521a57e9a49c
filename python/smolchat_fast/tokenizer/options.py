"""How a tokenizer is built, and the tokens and ids that are fixed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Literal

from smolchat_fast import _core
from smolchat_fast.sections import check_by_core

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

Kind = Literal[
    "bpe",
    "merges",
    "unigram",
    "tokenizers-bpe",
    "tokenizers-unigram",
    "sentencepiece-bpe",
    "sentencepiece-unigram",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizerOptions:
    """How a tokenizer is built."""

    kind: Kind = "bpe"
    """How entries are chosen: frequent pairs again and again, frequent words, or probable pieces. The others
    are what the trainers of the `tokenizers` and sentencepiece libraries learn, in the same folder."""
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
    added_tokens: tuple[str, ...] = ()
    """Special tokens of your own, the last ids of the vocabulary; what a user types stays text."""
    columns: tuple[str, ...] = ()
    """Columns of a table that are read; none: every text column but `source`."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        own = replace(self, kind="bpe")  # the rules are the same for what other libraries learn
        check_by_core(_core.build_tokenizer_from_files, json.dumps(asdict(own)))
