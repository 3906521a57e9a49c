"""Answers in Ollama's words."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from typing import Any

from smolchat_fast.serve.answer import Answer
from smolchat_fast.serve.completion import GATHER_S, PING_S
from smolchat_fast.serve.events import line
from smolchat_fast.serve.reading import pieces
from smolchat_fast.serve.session import Chatbot


class OllamaChat:
    """One answer of `POST /api/chat`.

    Args:
        bot: Whose answer it is.
        answer: None: no question was asked, only whether the model is there.
    """

    def __init__(self, bot: Chatbot, answer: Answer | None) -> None:
        self._bot, self._answer = bot, answer
        self._began, self._first = time.perf_counter_ns(), 0

    async def lines(self) -> AsyncIterator[bytes]:
        """The answer piece by piece."""
        if self._answer:
            async for piece in pieces(self._answer, silence_s=PING_S, gather_s=GATHER_S):
                self._first = self._first or time.perf_counter_ns()
                yield line({**self._head(piece.text), "done": False})
        yield line(self._last(""))

    async def whole(self) -> dict[str, Any]:
        """The answer in one piece."""
        text = ""
        if self._answer:
            async for piece in pieces(self._answer):
                self._first = self._first or time.perf_counter_ns()
                text += piece.text
        return self._last(text)

    def _head(self, text: str) -> dict[str, Any]:
        created = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        message = {"role": "assistant", "content": text}
        return {"model": self._bot.name, "created_at": created, "message": message}

    def _last(self, text: str) -> dict[str, Any]:
        if self._answer is None:
            return {**self._head(text), "done": True, "done_reason": "load"}
        now, finish = time.perf_counter_ns(), self._answer.finish
        first = self._first or now
        return {
            **self._head(text),
            "done": True,
            "done_reason": "stop" if finish.reason == "stop" else "length",
            "total_duration": now - self._began,
            "load_duration": 0,
            "prompt_eval_count": self._answer.prompt_tokens,
            "prompt_eval_duration": first - self._began,
            "eval_count": finish.completion_tokens,
            "eval_duration": now - first,
        }
