"""What stands before every route: who may ask, how much they may send, and a line in the log."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import re
import secrets
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.record import RECORD, Record

log = logging.getLogger("smolchat_fast.serve")

HEALTH_PATHS = {"/health", "/healthz", "/readyz"}
KEYLESS_PATHS = {"/", *HEALTH_PATHS}
CLIENT = "smolchat.client"
"""Where a request's scope says who asks: whose key it is, or which address."""
MAX_HEAD = 32 << 10
MAX_BODY = 1 << 20
MAX_DEPTH = 32
BODY_TIMEOUT_S = 10.0


CLOSE = {"Connection": "close"}


class _GoneError(Exception):
    """The client left before its request was whole."""


class Guard:
    """An ASGI app around another.

    Written against the bare protocol: a `BaseHTTPMiddleware` would hide from the routes that their
    client has left.

    Args:
        app: What is guarded.
        keys: Any of these opens all paths, by whatever name the server is called.
        hosts: Names beside those of this machine itself that are answered where no key is needed; None: any.
        origins: Web pages of these origins may ask, beside the server's own.
        log_text: Write questions and answers to the log as well.
    """

    def __init__(
        self,
        app: ASGIApp,
        keys: Sequence[str] = (),
        *,
        hosts: Sequence[str] | None = (),
        origins: Sequence[str] = (),
        log_text: bool = False,
    ) -> None:
        self._app, self._log_text = app, log_text
        self._keys = [key.encode() for key in keys]
        # A web page elsewhere can point a name of its own at this machine and is then of the server's own origin.
        # It has no key, though: what the chat page keeps lies under the name that the server was called by.
        self._hosts = None if keys or hosts is None else {host.lower() for host in hosts}
        self._origins = set(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499
        request_id, record = new_request_id(), Record()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = request_id
                headers.update(self._cors(scope))
            await send(message)

        try:
            if scope["method"] == "OPTIONS" and self._cors(scope):
                await Response(status_code=204)(scope, receive, send_with_id)
                return
            scope = {**scope, CLIENT: self._check(scope), RECORD: record}
            body = await _read_in_time(receive)
            if _deeper_than(MAX_DEPTH, body):
                raise Problem(400, f"the body is nested deeper than {MAX_DEPTH} levels", "invalid_json")
            await self._app(_as_json(scope), _replay(body, receive), send_with_id)
        except Problem as problem:
            await problem.response(scope["path"])(scope, receive, send_with_id)
        except _GoneError:
            pass
        finally:
            took_ms = (time.monotonic() - began) * 1e3
            # The raw path is ASCII: nothing in it can forge a line of the log.
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            told = record.line(texts=self._log_text)
            log.info("%s %s %s %d %.0f ms%s", request_id, scope["method"], path, status, took_ms, told)

    def _cors(self, scope: Scope) -> dict[str, str]:
        """Headers that let a page of an allowed origin read the answer."""
        origin = Headers(scope=scope).get("origin")
        if origin not in self._origins:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Headers": "authorization, content-type",
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Expose-Headers": "x-request-id, x-ignored-params, x-truncated-turns, retry-after",
            "Vary": "Origin",
        }

    def _check(self, scope: Scope) -> str:
        """Refuse what may not pass; returns who asks."""
        headers = Headers(scope=scope)
        if sum(len(name) + len(value) + 4 for name, value in headers.raw) > MAX_HEAD:
            raise Problem(431, f"the head is over {MAX_HEAD:,} bytes", "request_too_large", headers=CLOSE)
        if "content-length" in headers and "transfer-encoding" in headers:
            raise Problem(400, "the body has a length and chunks: send one", "invalid_http", headers=CLOSE)
        host = headers.get("host", "")
        if scope["path"] not in HEALTH_PATHS and not self._answers_to(_name_of(host)):
            raise Problem(
                403, f"this server does not answer as {host!r}; see --allowed-host", "host_not_allowed"
            )
        origin = headers.get("origin")
        if origin is not None:
            if origin not in self._origins and origin.partition("://")[2] != host:
                raise Problem(403, f"pages of {origin} may not ask this server", "origin_not_allowed")
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if scope["method"] == "POST" and kind != "application/json":
                raise Problem(415, "a page must send application/json", "unsupported_media_type")
        if (
            self._keys
            and scope["path"] not in KEYLESS_PATHS
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
        client = scope.get("client")
        return headers.get("authorization", "") if self._keys else str(client[0] if client else "")

    def _answers_to(self, name: str) -> bool:
        return self._hosts is None or is_loopback(name) or name.lower() in self._hosts

    def _knows(self, authorization: str) -> bool:
        scheme, _, key = authorization.partition(" ")
        given = key.strip().encode("latin-1")  # as headers are decoded: the bytes that were sent
        # All keys are compared, in constant time, so that the time tells nothing.
        known = [hmac.compare_digest(given, key) for key in self._keys]
        return scheme.lower() == "bearer" and any(known)


def _name_of(host: str) -> str:
    """The name or address in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """True for names and addresses that only this machine itself can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _too_large() -> Problem:
    return Problem(413, f"the body is over {MAX_BODY:,} bytes", "request_too_large", headers=CLOSE)


async def _read_in_time(receive: Receive) -> bytes:
    try:
        return await asyncio.wait_for(_read(receive), BODY_TIMEOUT_S)
    except asyncio.TimeoutError:
        message = f"the body took over {BODY_TIMEOUT_S:g} s"
        raise Problem(408, message, "timeout", headers=CLOSE) from None


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


STRING = re.compile(rb'"(?:[^"\\]|\\.)*"?', re.DOTALL)
BRACKETS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
NO_BRACKETS = bytes(set(range(256)) - BRACKETS.keys())


def _deeper_than(limit: int, body: bytes) -> bool:
    """Whether a JSON text nests deeper: a parser that goes down with it would run out of stack."""
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    depth = 0
    for bracket in STRING.sub(b"", body).translate(None, NO_BRACKETS):
        depth += BRACKETS[bracket]
        if depth > limit:
            return True
    return False


def new_request_id() -> str:
    """What an answer's header and the log's line are matched by."""
    return f"req_{secrets.token_hex(8)}"


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
