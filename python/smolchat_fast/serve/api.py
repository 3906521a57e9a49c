"""The routes: OpenAI's chat completions, the earlier project's /api/chat, models, health, the page."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp

from smolchat_fast import __version__
from smolchat_fast.serve import page, problem
from smolchat_fast.serve.answer import Answer
from smolchat_fast.serve.events import EventStream, event, watched
from smolchat_fast.serve.guard import Guard
from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.schema import ChatRequest, LegacyRequest
from smolchat_fast.serve.session import Chatbot, Message, Prompt


def build_app(bot: Chatbot, keys: Sequence[str] = ()) -> ASGIApp:
    """The whole server as an ASGI app.

    Args:
        bot: What answers; closed when the app shuts down.
        keys: API keys; none: no key is asked for.
    """

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(bot.engine.close)

    # The framework's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="smolchat-fast", version=__version__, lifespan=closing, docs_url=None, redoc_url=None)
    problem.install(app)
    _add_general(app, bot)
    _add_chat(app, bot)
    return Guard(app, keys)


def _add_general(app: FastAPI, bot: Chatbot) -> None:
    html, headers = page.load()
    model = {"id": bot.name, "object": "model", "created": bot.created, "owned_by": "smolchat-fast"}

    @app.get("/", response_class=HTMLResponse)
    async def chat_page() -> HTMLResponse:
        """The chat page."""
        return HTMLResponse(html, headers=headers)

    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether requests are taken on, and how many there are."""
        running, waiting = bot.engine.load
        status = "closing" if bot.engine.closing else "ok"
        body = {"status": status, "running": running, "waiting": waiting}
        return JSONResponse(body, 503 if bot.engine.closing else 200)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name}")
    async def model_by_name(name: str) -> dict[str, Any]:
        """The one model, by its name."""
        if name != bot.name:
            raise Problem(
                404, f"no model is called {name!r}; this server has {bot.name!r}", "model_not_found"
            )
        return model


def _add_chat(app: FastAPI, bot: Chatbot) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """OpenAI's chat completions, whole or streamed."""
        ignored = body.check(bot.name)
        messages, decoding = body.conversation(), body.decoding(bot.decoding)
        prompt = await asyncio.to_thread(bot.prompt, messages)
        headers = _headers(ignored, prompt)
        completion = _Completion(bot.name, bot.ask(prompt, decoding))
        if not body.stream:
            text = await _whole(request, completion.answer)
            return JSONResponse(completion.whole(text), headers=headers)
        # The status is still open while the request waits: a client can be told to come back later.
        await _begun(request, completion.answer)
        include_usage = bool(body.stream_options and body.stream_options.include_usage)
        return EventStream(completion.events(include_usage), completion.answer, headers)

    @app.post("/api/chat")
    async def legacy_chat(request: Request, body: LegacyRequest) -> dict[str, str]:
        """The earlier project's interface: one text in, one text out."""
        if not body.input_txt.strip():
            raise Problem(406, "input_txt: is empty", "invalid_value", param="input_txt")
        prompt = await asyncio.to_thread(bot.prompt, [Message("user", body.input_txt)])
        return {"response": await _whole(request, bot.ask(prompt))}


async def _whole(request: Request, answer: Answer) -> str:
    async with watched(request.receive, answer):
        return "".join([piece.text async for piece in answer.pieces()])


async def _begun(request: Request, answer: Answer) -> None:
    async with watched(request.receive, answer):
        await answer.started()


def _headers(ignored: Sequence[str], prompt: Prompt) -> dict[str, str]:
    headers = {}
    if ignored:
        # Names come from the client: only what fits a header is repeated.
        names = [name for name in ignored if name.isascii() and name.isprintable()]
        headers["x-ignored-params"] = ", ".join(names)[:1000]
    if prompt.dropped:
        headers["x-dropped-messages"] = str(prompt.dropped)
    return headers


class _Completion:
    """One answer in OpenAI's words."""

    def __init__(self, model: str, answer: Answer) -> None:
        self.answer = answer
        self._head = {"id": f"chatcmpl-{secrets.token_hex(12)}", "created": int(time.time()), "model": model}

    def whole(self, text: str) -> dict[str, Any]:
        """The answer in one piece."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": self._reason(),
        }
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": self._usage()}

    async def events(self, include_usage: bool) -> AsyncIterator[bytes]:
        """The answer piece by piece."""
        usage = {"usage": None} if include_usage else {}
        yield self._chunk({"role": "assistant", "content": ""}, **usage)
        async for piece in self.answer.pieces():
            yield self._chunk({"content": piece.text}, **usage)
        yield self._chunk({}, self._reason(), **usage)
        if include_usage:
            yield event(
                {**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self._usage()}
            )

    def _chunk(self, delta: dict[str, str], reason: str | None = None, **usage: None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event({**self._head, "object": "chat.completion.chunk", "choices": [choice], **usage})

    def _reason(self) -> str:
        # A cancelled answer has no reader; it is cut, so it must not say "stop".
        return "stop" if self.answer.finish.reason == "stop" else "length"

    def _usage(self) -> dict[str, int]:
        completion = self.answer.finish.completion_tokens
        return {
            "prompt_tokens": self.answer.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.answer.prompt_tokens + completion,
        }
