"""From messages to a prompt, and the model that answers it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from smolchat_fast.serve.answer import Answer
from smolchat_fast.serve.options import DecodeOptions, Decoding

if TYPE_CHECKING:
    from smolchat_fast.serve.engine import Engine

Role = Literal["system", "user", "assistant"]


class PromptTooLongError(ValueError):
    """The last question alone has more tokens than the model takes."""

    def __init__(self, tokens: int, limit: int) -> None:
        super().__init__(f"the question has {tokens:,} tokens, this model takes {limit:,}. Shorten it.")


class Encoder(Protocol):
    """What a prompt needs of a tokenizer."""

    separator: tuple[int, ...]

    end_id: int
    vocabulary: int

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without an end token."""
        ...

    def ended(self, ids: Sequence[int]) -> list[int]:
        """Ids as the encoder gets them."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids."""
        ...

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token stands for."""
        ...

    def name(self, token: int) -> str:
        """How the vocabulary writes a token."""
        ...


@dataclass(frozen=True, slots=True)
class Message:
    """What one side said."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model gets of a conversation."""

    ids: list[int]
    dropped: int
    """Earlier questions and answers that it does not get."""


def build_prompt(
    messages: Sequence[Message], tokens: Encoder, options: DecodeOptions, *, cut: bool = False
) -> Prompt:
    """Fold a conversation into one source text.

    A model trained on single turns gets the last question alone. With `history_turns` it gets the
    system texts, so many earlier questions and answers, and the question, a separator in between;
    what does not fit is dropped from the oldest on.

    Args:
        messages: In order; the last one is the question.
        tokens: The model's tokenizer.
        options: `history_turns`, `system` and `max_input_tokens` are used.
        cut: Drop the beginning of a question that is too long, instead of refusing it.
    Raises:
        PromptTooLongError: the question and the system texts alone are too long.
        ValueError: the last message is not the user's.
    """
    if not messages or messages[-1].role != "user":
        raise ValueError("the last message must be the user's question")
    lead = [tokens.encode(options.system)] if options.system else []
    talk = [message for message in messages if message.role != "system"]
    if options.history_turns:
        lead += [tokens.encode(m.content) for m in messages if m.role == "system"]
    recent = talk[max(0, len(talk) - 1 - 2 * options.history_turns) :]
    parts = [tokens.encode(message.content) for message in recent]

    def folded() -> list[int]:
        ids: list[int] = []
        for part in [*lead, *parts]:
            ids += [*tokens.separator, *part] if ids else part
        return tokens.ended(ids)

    while len(ids := folded()) > options.max_input_tokens and len(parts) > 1:
        del parts[: min(2, len(parts) - 1)]  # a question with its answer
    if len(ids) > options.max_input_tokens and cut:
        ids = ids[-options.max_input_tokens :]
    if len(ids) > options.max_input_tokens:
        raise PromptTooLongError(len(ids), options.max_input_tokens)
    return Prompt(ids, len(talk) - len(parts))


class Chatbot:
    """A model, its engine and the options it answers with: what the terminal and the server share.

    Args:
        name: What clients call it.
        engine: Computes the answers; closed with the chatbot.
        tokens: The model's tokenizer.
        options: How conversations become prompts.
        decoding: How answers are made unless a request says otherwise.
        precision: What the engine computes in and with, as it is reported.
        fingerprint: Changes with the weights, the precision and the version.
    """

    def __init__(
        self,
        name: str,
        engine: Engine[Any],
        tokens: Encoder,
        options: DecodeOptions,
        decoding: Decoding,
        *,
        precision: str = "",
        fingerprint: str = "",
    ) -> None:
        self.name, self.engine, self.tokens = name, engine, tokens
        self.options, self.decoding = options, decoding
        self.precision, self.fingerprint = precision, fingerprint
        self.created = int(time.time())

    def prompt(self, messages: Sequence[Message], *, cut: bool = False) -> Prompt:
        """See `build_prompt`. Takes milliseconds for long texts: not for an event loop."""
        return build_prompt(messages, self.tokens, self.options, cut=cut)

    def ask(self, prompt: Prompt, decoding: Decoding | None = None, client: str = "") -> Answer:
        """Queue a prompt; see `Engine.submit`."""
        return self.engine.submit(prompt.ids, decoding or self.decoding, client)
