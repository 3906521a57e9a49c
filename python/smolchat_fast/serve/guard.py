"""What stands before every route: who may ask, how much they may send, and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import secrets
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smolchat_fast.serve.problem import Problem

log = logging.getLogger("smolchat_fast.serve")

OPEN_PATHS = {"/", "/health"}
MAX_BODY = 1 << 20
BODY_TIMEOUT_S = 10.0


class _GoneError(Exception):
    """The client left before its request was whole."""


class Guard:
    """An ASGI app around another.

    Written against the bare protocol: a `BaseHTTPMiddleware` would hide from the routes that their
    client has left.

    Args:
        app: What is guarded.
        keys: Any of these opens all paths; without keys only this machine's names are answered.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[str] = ()) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499
        request_id = f"req_{secrets.token_hex(8)}"

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        try:
            self._check(scope)
            body = await _read_in_time(receive)
            await self._app(_as_json(scope), _replay(body, receive), send_with_id)
        except Problem as problem:
            await problem.response(scope["path"])(scope, receive, send_with_id)
        except _GoneError:
            pass
        finally:
            took_ms = (time.monotonic() - began) * 1e3
            # The raw path is ASCII: nothing in it can forge a line of the log.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            log.info("%s %s %s %d %.0f ms", request_id, scope["method"], path, status, took_ms)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._keys and not is_loopback(urlsplit(f"//{host}").hostname or ""):
            # A web page elsewhere can point a name of its own at this machine.
            raise Problem(403, f"this server does not answer as {host!r}", "host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise Problem(403, f"pages of {origin} may not ask this server", "origin_not_allowed")
        if (
            self._keys
            and scope["path"] not in OPEN_PATHS
            and not self._knows(headers.get("authorization", ""))
        ):
            raise Problem(
                401,
                "a key is needed: send the header 'Authorization: Bearer KEY'",
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > MAX_BODY:
            raise _too_large()

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        given = key.strip().encode("latin-1")  # as headers are decoded: the bytes that were sent
        # All keys are compared, in constant time, so that the time tells nothing.
        known = [hmac.compare_digest(given, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(known)


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine itself can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _too_large() -> Problem:
    return Problem(
        413, f"the body is over {MAX_BODY:,} bytes", "request_too_large", headers={"Connection": "close"}
    )


async def _read_in_time(receive: Receive) -> bytes:
    try:
        return await asyncio.wait_for(_read(receive), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        message = f"the body took over {BODY_TIMEOUT_S:g} s"
        raise Problem(408, message, "timeout", headers={"Connection": "close"}) from None


async def _read(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise _too_large()
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The whole body as one message, then whatever comes: the client's leaving."""
    unread = True

    async def replay() -> Message:
        nonlocal unread
        if unread:
            unread = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replay


def _as_json(scope: Scope) -> Scope:
    """Every body here is JSON, whatever type a bare `curl -d` calls it; foreign pages are out already."""
    headers = [(name, value) for name, value in scope["headers"] if name != b"content-type"]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}
