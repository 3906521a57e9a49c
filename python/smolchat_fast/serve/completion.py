"""Answers in OpenAI's words: chat and plain completions, whole and streamed."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from smolchat_fast.serve.answer import Answer, Piece, Scored
from smolchat_fast.serve.events import event
from smolchat_fast.serve.reading import turns
from smolchat_fast.serve.session import Chatbot

PING = b": ping\n\n"
PING_S = 15.0
"""Seconds of silence after which a proxy in between might think that nobody is there."""
GATHER_S = 0.02
"""Seconds between two writes to a stream: nobody reads faster, and 16 readers cost a small machine much."""


@dataclass(frozen=True)
class Echo:
    """What `echo` puts before an answer: the prompt, and the scores of its part that the decoder was fed."""

    text: str
    encoder: Sequence[int] = ()


class Completion:
    """The answers to one request.

    Args:
        bot: Whose answers they are.
        kind: Which of OpenAI's two shapes.
        answers: One for each choice.
        scored: Whether log-probabilities were asked for.
        prompt_tokens: Of all prompts, each counted once.
        echoes: For each answer, where asked for.
    """

    def __init__(
        self,
        bot: Chatbot,
        kind: Literal["chat", "text"],
        answers: Sequence[Answer],
        *,
        scored: bool,
        prompt_tokens: int,
        echoes: Sequence[Echo] = (),
    ) -> None:
        self.answers = answers
        self._bot, self._chat, self._scored = bot, kind == "chat", scored
        self._prompt_tokens, self._echoes = prompt_tokens, echoes
        prefix = "chatcmpl" if self._chat else "cmpl"
        self._head = {
            "id": f"{prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": bot.name,
            "system_fingerprint": bot.fingerprint or None,
        }
        self._offsets = [0] * len(answers)

    async def whole(self) -> dict[str, Any]:
        """The answers in one piece."""
        parts = [_Whole() for _ in self.answers]
        # Nothing is given before the end: there is no need to look up for every token.
        async for turn in turns(self.answers, gather_s=math.inf):
            for number, piece in turn:
                if piece:
                    parts[number].add(piece)
        choices = [self._choice(number, part) for number, part in enumerate(parts)]
        kind = "chat.completion" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices, "usage": self._usage()}

    def _choice(self, number: int, part: _Whole) -> dict[str, Any]:
        text, logprobs = "".join(part.texts), None
        if self._echoes:
            text = self._echoes[number].text + text
        if self._scored:
            logprobs = self._chat_logprobs(part.tokens) if self._chat else self._echoed(number, part.tokens)
        said: dict[str, Any] = {"text": text}
        if self._chat:
            said = {"message": {"role": "assistant", "content": text, "refusal": None}}
        return {"index": number, **said, "logprobs": logprobs, "finish_reason": self._reason(number)}

    async def events(self, include_usage: bool) -> AsyncIterator[bytes]:
        """The answers piece by piece: what is to be written at once."""
        usage = {"usage": None} if include_usage else {}
        for number in range(len(self.answers)):
            if self._chat:
                yield self._chunk(number, {"delta": {"role": "assistant", "content": ""}}, usage=usage)
            elif self._echoes:
                yield self._chunk(number, {"text": self._echoes[number].text}, usage=usage)
        async for turn in turns(self.answers, silence_s=PING_S, gather_s=GATHER_S):
            yield b"".join(self._piece(number, piece, usage) for number, piece in turn) or PING
        if include_usage:
            yield event({**self._stream_head(), "choices": [], "usage": self._usage()})

    def _piece(self, number: int, piece: Piece | None, usage: dict[str, None]) -> bytes:
        if piece is None:
            said: dict[str, Any] = {"delta": {}} if self._chat else {"text": ""}
            return self._chunk(number, said, reason=self._reason(number), usage=usage)
        said = {"delta": {"content": piece.text}} if self._chat else {"text": piece.text}
        logprobs = self._logprobs(number, piece.tokens) if self._scored else None
        return self._chunk(number, said, logprobs=logprobs, usage=usage)

    def _stream_head(self) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {**self._head, "object": kind}

    def _chunk(
        self,
        number: int,
        said: dict[str, Any],
        *,
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
        usage: dict[str, None],
    ) -> bytes:
        choice = {"index": number, **said, "logprobs": logprobs, "finish_reason": reason}
        return event({**self._stream_head(), "choices": [choice], **usage})

    def _logprobs(self, number: int, tokens: Sequence[Scored]) -> dict[str, Any]:
        if self._chat:
            return self._chat_logprobs(tokens)
        found = _TextLogprobs(self._bot, self._offsets[number])
        for token in tokens:
            found.add(token)
        self._offsets[number] = found.offset
        return found.data

    def _chat_logprobs(self, tokens: Sequence[Scored]) -> dict[str, Any]:
        def entry(token: int, logprob: float | None) -> dict[str, Any]:
            data = self._bot.tokens.token_bytes(token)
            return {"token": data.decode("utf-8", "replace"), "logprob": logprob, "bytes": list(data)}

        content = [
            {**entry(token.id, token.logprob), "top_logprobs": [entry(*each) for each in token.top]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def _echoed(self, number: int, tokens: Sequence[Scored]) -> dict[str, Any]:
        """Log-probabilities of the prompt, as far as it has any, and of the answer."""
        found, answer = _TextLogprobs(self._bot), self.answers[number]
        if self._echoes:
            *encoder, split = self._echoes[number].encoder
            for given in encoder:
                found.add(Scored(given))
            # The end of the encoder's part is given; a score of it would only mislead.
            found.add(Scored(split, 0.0, ((split, 0.0),)))
            for token in answer.prompt_scores:
                found.add(token)
            # Whoever scores an answer asks for one token more and drops it: it must be there.
            if not tokens and answer.end_score:
                tokens = [answer.end_score]
        for token in tokens:
            found.add(token)
        return found.data

    def _reason(self, number: int) -> str:
        # A cancelled answer has no reader; it is cut, so it must not say "stop".
        return "stop" if self.answers[number].finish.reason == "stop" else "length"

    def _usage(self) -> dict[str, int]:
        completion = sum(answer.finish.completion_tokens for answer in self.answers)
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self._prompt_tokens + completion,
        }


@dataclass
class _Whole:
    texts: list[str] = field(default_factory=list)
    tokens: list[Scored] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        self.texts.append(piece.text)
        self.tokens += piece.tokens


class _TextLogprobs:
    """The log-probabilities of plain completions."""

    def __init__(self, bot: Chatbot, offset: int = 0) -> None:
        self._bot, self.offset = bot, offset
        self.data: dict[str, Any] = {
            "tokens": [],
            "token_logprobs": [],
            "top_logprobs": [],
            "text_offset": [],
        }

    def add(self, token: Scored) -> None:
        text = self._text(token.id)
        self.data["tokens"].append(text)
        self.data["token_logprobs"].append(token.logprob)
        self.data["top_logprobs"].append(None if token.logprob is None else self._top(token))
        self.data["text_offset"].append(self.offset)
        self.offset += len(text)

    def _text(self, token: int) -> str:
        return self._bot.tokens.token_bytes(token).decode("utf-8", "replace")

    def _top(self, token: Scored) -> dict[str, float | None]:
        """The likeliest tokens and the chosen one by their texts; equal texts get distinct names."""
        top: dict[str, float | None] = {self._text(token.id): token.logprob}
        for other, logprob in token.top:
            if other != token.id:
                text = self._text(other)
                top[f"token_id:{other}" if text in top else text] = logprob
        return top
