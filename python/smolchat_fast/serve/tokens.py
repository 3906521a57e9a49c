"""The tokenizer as the server needs it: from several threads, and with typed text kept typed text."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Tokens:
    """Text to ids and back.

    Args:
        tokenizer: Any tokenizer of transformers.
        end_id: The token that ends a question.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, end_id: int) -> None:
        self._tokenizer, self.end_id = tokenizer, end_id
        self.vocabulary = len(tokenizer)
        # A fast tokenizer's settings are changed by its calls, so two threads at once may raise.
        self._lock = threading.Lock()
        separator = tokenizer.sep_token_id
        self.separator: tuple[int, ...] = (separator,) if isinstance(separator, int) else ()
        """What stands between the messages of a conversation."""
        if not self.separator:
            self.separator = tuple(self.encode("\n"))

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without an end token; `[EOS]` typed by a user is four letters in brackets."""
        with self._lock:
            ids = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return list(ids)

    def ended(self, ids: Sequence[int]) -> list[int]:
        """Ids as the encoder gets them."""
        return [*ids, self.end_id]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens."""
        with self._lock:
            text = self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return "".join(text)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for; those of an answer's tokens, joined, are its text in UTF-8."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        if isinstance(name, str) and (byte := BYTE.fullmatch(name)):
            return bytes([int(byte[1], 16)])
        return self.decode([token]).encode()

    def name(self, token: int) -> str:
        """How the vocabulary writes a token."""
        return str(self._tokenizer.convert_ids_to_tokens(token))
