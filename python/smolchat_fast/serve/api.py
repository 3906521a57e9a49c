"""The routes: OpenAI's completions, the earlier project's and Ollama's /api/chat, health, metrics, the page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp

from smolchat_fast import __version__
from smolchat_fast.serve import page, problem
from smolchat_fast.serve.answer import Answer
from smolchat_fast.serve.completion import Completion, Echo
from smolchat_fast.serve.events import EventStream, LineStream, watched
from smolchat_fast.serve.guard import CLIENT, Guard
from smolchat_fast.serve.metrics import CONTENT_TYPE, Metrics
from smolchat_fast.serve.ollama import OllamaChat
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.reading import pieces
from smolchat_fast.serve.record import RECORD, Unused
from smolchat_fast.serve.schema import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    LegacyRequest,
    OllamaRequest,
    TokenizeRequest,
    check_model,
)
from smolchat_fast.serve.session import Chatbot, Message, Prompt, PromptTooLongError

Body = TypeVar("Body", bound=BaseModel)


def build_app(
    bot: Chatbot,
    keys: Sequence[str] = (),
    *,
    metrics: Metrics | None = None,
    hosts: Sequence[str] | None = (),
    origins: Sequence[str] = (),
    strict: bool = False,
    log_text: bool = False,
) -> ASGIApp:
    """The whole server as an ASGI app.

    Args:
        bot: What answers; closed when the app shuts down.
        keys: API keys; none: no key is asked for.
        metrics: What the bot's engine tells; None: there are none to read.
        hosts: Names beside this machine's own by which clients may call a server without keys; None: any.
        origins: Origins of web pages that may ask, beside the server's own page.
        strict: Refuse unknown fields.
        log_text: Write questions and answers to the log.
    """

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(bot.engine.close)

    # The framework's own documentation pages load scripts from elsewhere.
    app = FastAPI(title="smolchat-fast", version=__version__, lifespan=closing, docs_url=None, redoc_url=None)
    problem.install(app)
    _add_general(app, bot, metrics or Metrics(bot.name))
    unused = Unused()
    _add_openai(app, bot, strict, unused)
    _add_api_chat(app, bot, unused)
    _add_tokens(app, bot)
    return Guard(app, keys, hosts=hosts, origins=origins, log_text=log_text)


def _add_general(app: FastAPI, bot: Chatbot, metrics: Metrics) -> None:
    html, headers = page.load()
    model = {
        "id": bot.name,
        "object": "model",
        "created": bot.created,
        "owned_by": "smolchat-fast",
        "max_input_tokens": bot.options.max_input_tokens,
        "max_output_tokens": bot.decoding.max_new_tokens,
        "history_turns": bot.options.history_turns,
        "engine": bot.precision,
    }

    @app.get("/", response_class=HTMLResponse)
    async def chat_page() -> HTMLResponse:
        """The chat page."""
        return HTMLResponse(html, headers=headers)

    @app.get("/healthz")
    async def alive() -> dict[str, str]:
        """That the process runs."""
        return {"status": "ok"}

    @app.get("/readyz")
    @app.get("/health")
    async def health() -> JSONResponse:
        """Whether requests are taken on, and how many there are."""
        running, waiting = bot.engine.load
        closing = bot.engine.closing
        body = {"status": "closing" if closing else "ok", "running": running, "waiting": waiting}
        return JSONResponse({**body, "engine": bot.precision}, 503 if closing else 200)

    @app.get("/metrics")
    async def metrics_text() -> Response:
        """Counts and times, for Prometheus."""
        running, waiting = bot.engine.load
        return Response(metrics.text(running, waiting, bot.engine.cache_bytes), media_type=CONTENT_TYPE)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model."""
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name}")
    async def model_by_name(name: str) -> dict[str, Any]:
        """The one model, by its name."""
        check_model(name, bot.name)
        return model


def _add_openai(app: FastAPI, bot: Chatbot, strict: bool, unused: Unused) -> None:
    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        """OpenAI's chat completions, whole or streamed."""
        unused.tell(ignored := body.check(bot.name, strict=strict))
        limit = body.max_completion_tokens or body.max_tokens
        decoding = body.decoding(bot.decoding, bot.tokens.vocabulary, limit)
        prompt, forced = await asyncio.to_thread(_read_chat, bot, body)
        decoding = replace(decoding, forced=forced)
        answers = _submit(bot, request, [prompt.ids], decoding, body.choices)
        completion = Completion(
            bot, "chat", answers, scored=body.top is not None, prompt_tokens=len(prompt.ids)
        )
        return await _respond(request, completion, body, _headers(ignored, prompt))

    @app.post("/v1/completions")
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """OpenAI's plain completions, whole or streamed."""
        unused.tell(ignored := body.check(bot.name, strict=strict))
        decoding = body.decoding(bot.decoding, bot.tokens.vocabulary)
        if decoding.max_new_tokens == 0 and not body.echo:
            raise Problem(400, "max_tokens: 0 goes only with echo", "invalid_value", param="max_tokens")
        pairs = await asyncio.to_thread(_read_prompts, bot, body)
        if body.echo and body.top is not None and not all(forced for _, forced in pairs):
            raise Problem(400, NO_SCORES, "unsupported_parameter", param="echo")
        if decoding.max_new_tokens == 0 and not all(forced for _, forced in pairs):
            raise Problem(
                400, "max_tokens: 0 needs a decoder_prompt to score", "invalid_value", param="max_tokens"
            )
        prompts = [ids for ids, _ in pairs]
        decodings = [replace(decoding, forced=forced) for _, forced in pairs]
        answers = _submit(bot, request, prompts, decodings, body.choices)
        echoes = [
            Echo(bot.tokens.decode([*ids, *forced]), ids)
            for ids, forced in pairs
            for _ in range(body.choices)
        ]
        completion = Completion(
            bot,
            "text",
            answers,
            scored=body.top is not None,
            prompt_tokens=sum(map(len, prompts)),
            echoes=echoes if body.echo else (),
        )
        return await _respond(request, completion, body, _headers(ignored, None))


NO_SCORES = (
    "echo with logprobs: an encoder gives no probabilities to its prompt. Put [EOS] between question and answer in "
    "a prompt of ids, or give the answer as decoder_prompt; lm-eval does the first with a doc_to_text that ends in "
    "[EOS], or use its hf model with backend=seq2seq."
)


def _read_chat(bot: Chatbot, body: ChatRequest) -> tuple[Prompt, tuple[int, ...]]:
    prompt = bot.prompt(body.conversation(), cut=body.truncate == "left")
    return prompt, tuple(bot.tokens.encode(body.begun))


def _read_prompts(bot: Chatbot, body: CompletionRequest) -> list[tuple[list[int], tuple[int, ...]]]:
    """The encoder's ids of each prompt, and the ids its answer begins with."""
    tokens, begun = bot.tokens, body.decoder_prompt
    forced = tuple(tokens.encode(begun) if isinstance(begun, str) else begun or ())
    pairs = []
    for number, prompt in enumerate(body.prompts):
        given = forced
        if isinstance(prompt, str):
            ids = tokens.ended(tokens.encode(prompt))
        else:
            ids = list(prompt)
            if not forced and tokens.end_id in ids[:-1]:
                # The last end token with something behind it parts question and answer.
                split = max(at for at, token in enumerate(ids[:-1]) if token == tokens.end_id) + 1
                ids, given = ids[:split], tuple(ids[split:])
            elif ids[-1] != tokens.end_id:
                ids = tokens.ended(ids)
        if any(token >= tokens.vocabulary for token in (*ids, *given)):
            param = f"prompt[{number}]" if len(body.prompts) > 1 else "prompt"
            message = f"{param}: holds a token that is not one of 0..{tokens.vocabulary - 1}"
            raise Problem(400, message, "invalid_value", param="prompt")
        if len(ids) > bot.options.max_input_tokens:
            if body.truncate != "left":
                raise PromptTooLongError(len(ids), bot.options.max_input_tokens)
            ids = ids[-bot.options.max_input_tokens :]
        pairs.append((ids, given))
    return pairs


def _submit(
    bot: Chatbot,
    request: Request,
    prompts: Sequence[Sequence[int]],
    decodings: Decoding | Sequence[Decoding],
    choices: int,
) -> list[Answer]:
    """One answer for each prompt and choice, in this order."""
    if isinstance(decodings, Decoding):
        decodings = [decodings] * len(prompts)
    ids = [prompt for prompt in prompts for _ in range(choices)]
    ways = [replace(decoding, choice=choice) for decoding in decodings for choice in range(choices)]
    answers = bot.engine.submit_all(ids, ways, request.scope.get(CLIENT, ""))
    request.scope[RECORD].tell(prompts, answers, bot.tokens.decode)
    return answers


async def _respond(
    request: Request, completion: Completion, body: ChatRequest | CompletionRequest, headers: dict[str, str]
) -> Response:
    if not body.stream:
        async with watched(request.receive, completion.answers):
            return JSONResponse(await completion.whole(), headers=headers)
    # The status is still open while the request waits: a client can be told to come back later.
    async with watched(request.receive, completion.answers):
        await completion.answers[0].started()
    include_usage = bool(body.stream_options and body.stream_options.include_usage)
    return EventStream(completion.events(include_usage), completion.answers, headers)


def _add_api_chat(app: FastAPI, bot: Chatbot, unused: Unused) -> None:
    @app.post("/api/chat")
    async def api_chat(request: Request, body: dict[str, Any]) -> Response:
        """The earlier project's interface, one text in, one out; or Ollama's, told by the body's shape."""
        if ("input_txt" in body) == ("messages" in body):
            raise Problem(400, "the body needs either input_txt or messages", "invalid_value")
        if "messages" in body:
            return await _ollama(bot, request, body, unused)
        legacy = _parsed(LegacyRequest, body)
        if not legacy.input_txt.strip():
            raise Problem(406, "input_txt: is empty", "invalid_value", param="input_txt")
        prompt = await asyncio.to_thread(bot.prompt, [Message("user", legacy.input_txt)])
        (answer,) = _submit(bot, request, [prompt.ids], bot.decoding, 1)
        async with watched(request.receive, [answer]):
            text = "".join([piece.text async for piece in pieces(answer)])
        return JSONResponse({"response": text})

    @app.get("/api/tags")
    async def tags() -> dict[str, Any]:
        """The one model, for Ollama's clients."""
        name = f"{bot.name}:latest"
        details = {"family": "t5", "format": "safetensors", "quantization_level": bot.precision}
        return {"models": [{"name": name, "model": name, "details": details}]}

    @app.get("/api/version")
    async def version() -> dict[str, str]:
        """The server's version."""
        return {"version": __version__}


async def _ollama(bot: Chatbot, request: Request, body: dict[str, Any], unused: Unused) -> Response:
    try:
        return await _ollama_reply(bot, request, _parsed(OllamaRequest, body), unused)
    except problem.EXPECTED as error:
        # Ollama's clients read a bare text.
        found = problem.problem_of(error)
        return JSONResponse({"error": found.message}, found.status, found.headers)


async def _ollama_reply(bot: Chatbot, request: Request, body: OllamaRequest, unused: Unused) -> Response:
    check_model(body.model, bot.name)
    unused.tell(ignored := body.ignored())
    answers: list[Answer] = []
    prompt = None
    if body.messages:
        chat = body.as_chat()
        prompt, forced = await asyncio.to_thread(_read_chat, bot, chat)
        decoding = chat.decoding(bot.decoding, bot.tokens.vocabulary)
        answers = _submit(bot, request, [prompt.ids], replace(decoding, forced=forced), 1)
    reply = OllamaChat(bot, answers[0] if answers else None)
    headers = _headers(ignored, prompt)
    async with watched(request.receive, answers):
        if body.stream is False:
            return JSONResponse(await reply.whole(), headers=headers)
        for answer in answers:
            await answer.started()
    return LineStream(reply.lines(), answers, headers)


def _parsed(kind: type[Body], body: dict[str, Any]) -> Body:
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        faults = [{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors(include_url=False)]
        raise RequestValidationError(faults) from error


def _add_tokens(app: FastAPI, bot: Chatbot) -> None:
    tokens = bot.tokens

    @app.get("/tokenizer_info")
    async def info() -> dict[str, Any]:
        """What evaluation tools ask first."""
        return {"eos_token": tokens.name(tokens.end_id), "vocab_size": tokens.vocabulary}

    @app.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """Text to ids."""
        ids = await asyncio.to_thread(tokens.encode, body.prompt)
        ids = tokens.ended(ids) if body.add_special_tokens else ids
        return {"tokens": ids, "count": len(ids), "max_model_len": bot.options.max_input_tokens}

    @app.post("/detokenize")
    async def detokenize(body: DetokenizeRequest) -> dict[str, str]:
        """Ids to text."""
        if any(token >= tokens.vocabulary for token in body.tokens):
            raise Problem(400, "tokens: holds a token that is none", "invalid_value", param="tokens")
        return {"prompt": await asyncio.to_thread(tokens.decode, body.tokens)}


def _headers(ignored: Sequence[str], prompt: Prompt | None) -> dict[str, str]:
    headers = {}
    if ignored:
        # Names come from the client: only what fits a header is repeated.
        names = [name for name in ignored if name.isascii() and name.isprintable()]
        headers["x-ignored-params"] = ", ".join(names)[:1000]
    if prompt and prompt.dropped:
        headers["x-truncated-turns"] = str(prompt.dropped)
    return headers
