"""`serve`: loads a model, opens the port, says where it is, answers until stopped."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from transformers.utils import logging as transformers_logging

from smolchat_fast.serve.api import build_app
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.guard import is_loopback
from smolchat_fast.serve.loading import load
from smolchat_fast.serve.metrics import Metrics
from smolchat_fast.serve.options import ServeOptions
from smolchat_fast.serve.session import Chatbot
from smolchat_fast.stage import peak_mb

KEY_VARIABLE = "SMOLCHAT_API_KEY"

log = logging.getLogger("smolchat_fast.serve")


def run(model: Path, options: ServeOptions) -> None:
    """See `smolchat_fast.serve.serve`."""
    keys = read_keys(options)
    open_to_all = not keys and not is_loopback(options.host)
    if open_to_all and not options.allow_open:
        raise ValueError(
            f"option host = {options.host}: others could connect, so a key is needed. "
            f"Set {KEY_VARIABLE}, or name a file with --api-key-file; --allow-open does without."
        )
    with listen(options.host, options.port) as listener:
        transformers_logging.disable_progress_bar()
        loaded = load(model, threads=options.threads, precision=options.precision, device=options.device)
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
        print(
            greeting(f"{loaded}, {peak_mb():,.0f} MiB in all", bot.name, listener, options, keys), flush=True
        )
        _log_to_stderr()
        if open_to_all:
            log.warning("anybody who reaches %s can ask: there is no key", options.host)
        app = build_app(
            bot,
            keys,
            metrics=metrics,
            hosts=[*options.allowed_host, *({options.host} - {"0.0.0.0", "::"})],
            origins=options.cors_origin,
            strict=options.strict,
        )
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=options.drain_s,
        )
        with _stopping_is_success():
            uvicorn.Server(config).run(sockets=[listener])


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


def greeting(model: str, name: str, listener: socket.socket, options: ServeOptions, keys: list[str]) -> str:
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


@contextmanager
def _stopping_is_success() -> Iterator[None]:
    """Being asked to stop is how a server ends: uvicorn raises the signal again after a clean end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)
