"""Ids to text, as they come."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from smolchat_fast.tokenizer.options import FIRST_BYTE, FIRST_CHARACTER

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def stream_text(tokenizer: Tokenizer, ids: Iterable[int]) -> Iterator[str]:
    """Text of ids as they come, never half a character.

    Args:
        tokenizer: A tokenizer of `build_tokenizer` or `load`.
        ids: Ids one by one; special tokens among them show nothing.
    Yields:
        Text that is complete; joined it is the decoded text. Bytes that are no UTF-8 become U+FFFD as Python
        replaces them, while `decode` marks each byte of their run, those of whole characters in it too.
    """
    special = {id for id, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in ids:
        if token in special:
            continue
        entry = tokenizer.id_to_token(token) or ""
        content = bytes([token - FIRST_BYTE]) if token < FIRST_CHARACTER else entry.encode()
        if text := decoder.decode(content):
            yield text
    if text := decoder.decode(b"", final=True):
        yield text
