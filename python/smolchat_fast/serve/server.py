"""`serve`: loads a model, opens the port, says where it is, answers until stopped."""

from __future__ import annotations

import json
import logging
import os
import shlex
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from transformers.utils import logging as transformers_logging

from smolchat_fast.serve.api import build_app
from smolchat_fast.serve.connection import Connection
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.guard import MAX_HEAD, Guard, is_loopback
from smolchat_fast.serve.loading import load
from smolchat_fast.serve.metrics import Metrics
from smolchat_fast.serve.options import ServeOptions
from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.session import Chatbot
from smolchat_fast.stage import peak_mb

KEY_VARIABLE = "SMOLCHAT_API_KEY"
FLUSH_S = 5
"""Seconds that finished answers get to reach their readers when the server stops."""

CONNECTIONS: dict[str, Any] = {
    "interface": "asgi3",
    "http": Connection,
    "h11_max_incomplete_event_size": MAX_HEAD,
    "timeout_keep_alive": 5,
    # Nothing here speaks it, and its requests would pass the guard by.
    "ws": "none",
    "log_level": "error",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
}
"""uvicorn's settings."""

log = logging.getLogger("smolchat_fast.serve")


def run(model: Path, options: ServeOptions) -> None:
    """See `smolchat_fast.serve.serve`."""
    keys = read_keys(options)
    if not (keys or options.allow_open or is_loopback(options.host)):
        raise ValueError(
            f"option host = {options.host}: others could connect, so a key is needed. "
            f"Set {KEY_VARIABLE}, or name a file with --api-key-file; --allow-open does without."
        )
    with listen(options.host, options.port) as listener:
        Server(model, options, keys, listener).run_until_stopped()


class Server(uvicorn.Server):
    """A server that is alive while its model is loaded, and while it lets its last answers finish.

    Args:
        model: Folder with the model and its tokenizer.
        options: Where to listen, what to take on, how answers are made.
        keys: API keys; none: no key is asked for.
        listener: Where clients connect.
    """

    def __init__(
        self, model: Path, options: ServeOptions, keys: Sequence[str], listener: socket.socket
    ) -> None:
        self._model, self._options, self._keys, self._listener = model, options, keys, listener
        self._stopping = False
        self._bot: Chatbot | None = None
        self._failure: BaseException | None = None
        self._guards: dict[str, Any] = {
            "hosts": None if options.allow_open else options.allowed_host,
            "origins": options.cors_origin,
            "log_text": options.log_text,
        }
        self._app: ASGIApp = Guard(_loading, keys, **self._guards)
        super().__init__(
            uvicorn.Config(self._answer, lifespan="off", timeout_graceful_shutdown=FLUSH_S, **CONNECTIONS)
        )

    def run_until_stopped(self) -> None:
        """Load the model and answer.

        Raises:
            DataError: the folder is no model.
        """
        loader = threading.Thread(target=self._load, name="smolchat-loader")
        loader.start()
        self.run(sockets=[self._listener])
        loader.join()
        if self._bot:
            self._bot.engine.close()
        if self._failure:
            raise self._failure

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets answers finish; a second one does not wait."""
        if self._stopping:
            self.force_exit = self.should_exit = True
        else:
            self._stopping = True
            threading.Thread(target=self._drain, name="smolchat-drain", daemon=True).start()

    def _drain(self) -> None:
        if self._bot:
            self._bot.engine.close(self._options.drain_s)
        self.should_exit = True

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def _load(self) -> None:
        try:
            bot, app, about = self._load_app()
        except BaseException as error:
            self._failure, self.should_exit = error, True
            return
        self._bot, self._app = bot, app
        if self._stopping:
            return
        print(greeting(about, bot.name, self._listener, self._options, self._keys), flush=True)
        _log_to_stderr()
        if self._options.log_text:
            log.warning("questions and answers are written to this log (log_text)")
        if self._options.allow_open and not self._keys:
            log.warning("anybody who reaches %s can ask: there is no key", self._options.host)

    def _load_app(self) -> tuple[Chatbot, ASGIApp, str]:
        options = self._options
        transformers_logging.disable_progress_bar()
        loaded = load(
            self._model, threads=options.threads, precision=options.precision, device=options.device
        )
        limits = Limits(
            max_running=options.max_running,
            cache_mb=options.cache_mb,
            max_queue=options.max_queue,
            queue_timeout_s=options.queue_timeout_s,
            timeout_s=options.timeout_s,
        )
        name = options.model_name or loaded.name
        metrics = Metrics(name)
        bot = Chatbot(
            name,
            Engine(loaded.decoder, limits, metrics),
            loaded.tokens,
            options,
            options.decoding(loaded.decoding),
            precision=loaded.precision,
            fingerprint=loaded.fingerprint,
        )
        app = build_app(bot, self._keys, metrics=metrics, strict=options.strict, **self._guards)
        return bot, app, f"{loaded}, {peak_mb():,.0f} MiB in all"


async def _loading(scope: Scope, receive: Receive, send: Send) -> None:
    """What is answered before there is a model."""
    if scope["path"] == "/healthz":
        response = JSONResponse({"status": "ok"})
    else:
        message = "the model is being loaded"
        response = Problem(503, message, "model_loading", headers={"Retry-After": "2"}).response(
            scope["path"]
        )
    await response(scope, receive, send)


def read_keys(options: ServeOptions) -> list[str]:
    """The keys from the environment and the file.

    Raises:
        ValueError: the file is readable by others, or holds no key.
        OSError: it cannot be read.
    """
    keys = [os.environ.get(KEY_VARIABLE, "").strip()]
    if options.api_key_file:
        path = options.api_key_file
        if os.name == "posix" and path.stat().st_mode & 0o077:
            raise ValueError(f"{path}: others can read these keys. Run: chmod 600 {shlex.quote(str(path))}")
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        if not any(lines):
            raise ValueError(f"{path}: holds no key")
        keys += lines
    return [key for key in keys if key]


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: the address is not this machine's, or the port is taken; names both.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise OSError(f"option host = {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise OSError(
            f"cannot listen on {host} port {port}: {error.strerror or error}. Use another --port."
        ) from error
    return listener


def greeting(
    model: str, name: str, listener: socket.socket, options: ServeOptions, keys: Sequence[str]
) -> str:
    """Three lines: the model, what to paste into an OpenAI client, a curl that works."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(options.host, options.host)
    root = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    body = json.dumps({"messages": [{"role": "user", "content": "你好"}]}, ensure_ascii=False)
    auth = f' -H "Authorization: Bearer {_key_in_shell(options)}"' if keys else ""
    return "\n".join(
        [
            model,
            f"OpenAI base URL: {root}/v1  (model {name}; chat page: {root}/)",
            f"curl {root}/v1/chat/completions{auth} -H 'Content-Type: application/json' -d {shlex.quote(body)}",
        ]
    )


def _key_in_shell(options: ServeOptions) -> str:
    """How a shell gets a key without its being shown."""
    if os.environ.get(KEY_VARIABLE, "").strip() or options.api_key_file is None:
        return f"${KEY_VARIABLE}"
    return f"$(head -n 1 {shlex.quote(str(options.api_key_file))})"


def _log_to_stderr() -> None:
    logger = logging.getLogger("smolchat_fast.serve")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
