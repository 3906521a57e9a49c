"""Connections with the limits that uvicorn has no options for: slow heads, readers that stall, how many there are."""

from __future__ import annotations

import asyncio
import re
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from smolchat_fast.serve.guard import MAX_HEAD, new_request_id
from smolchat_fast.serve.problem import Problem

MAX_CONNECTIONS = 256
HEAD_TIMEOUT_S = 10.0
"""Between two requests as well; who sends nothing at all is disconnected by the shorter keep-alive time."""
WRITE_TIMEOUT_S = 30.0
"""Seconds that a client may leave a full buffer unread."""
LINGER_S = 5.0
"""Seconds that a closing connection gets to send what it holds, and a refused client to read why."""
MAX_LINGERING = 1024
"""Refused clients that are waited for; further ones are cut off, whether they have read why or not."""


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 connection, closed when its client makes the server wait for too long."""

    _refused: ClassVar[set[Connection]] = set()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head: asyncio.TimerHandle | None = None
        self._write: asyncio.TimerHandle | None = None
        self._lingers = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            message = f"{MAX_CONNECTIONS} connections are open already"
            self._refuse(Problem(503, message, "too_many_connections", headers={"Retry-After": "5"}))
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        super().connection_lost(exc)
        self._refused.discard(self)
        for timer in (self._head, self._write):
            if timer:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Bytes came; those of a refused client are thrown away."""
        if self not in self._refused:
            super().data_received(data)

    def handle_events(self) -> None:
        """See what the bytes that came amount to."""
        if not self._closing:
            if _two_lengths(self.conn):
                self._refuse(
                    Problem(400, "the body has two lengths: send one Content-Length", "invalid_http")
                )
            else:
                super().handle_events()
        self._watch()

    def on_response_complete(self) -> None:
        """A request was answered."""
        super().on_response_complete()
        self._watch()

    def timeout_keep_alive_handler(self) -> None:
        """No further request came."""
        super().timeout_keep_alive_handler()
        self._watch()

    def shutdown(self) -> None:
        """The server is being stopped."""
        super().shutdown()
        self._watch()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is written to."""
        super().pause_writing()
        self._write = self.loop.call_later(WRITE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        """It has caught up."""
        super().resume_writing()
        if self._write:
            self._write.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, or not whole."""
        message = f"this is no HTTP/1.1 request, or its head is over {MAX_HEAD:,} bytes"
        self._refuse(Problem(400, message, "invalid_http"))

    def _watch(self) -> None:
        """Start and stop the clocks as the connection's state asks for."""
        if self._closing:
            if not self._lingers:
                self._lingers = True
                self.loop.call_later(LINGER_S, self.transport.abort)
        elif self.cycle is None or self.cycle.response_complete:
            self._head = self._head or self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)
            return
        if self._head:
            self._head.cancel()
            self._head = None

    @property
    def _closing(self) -> bool:
        return self.transport.is_closing() or self in self._refused

    def _too_slow(self) -> None:
        self._refuse(Problem(408, f"no whole request came within {HEAD_TIMEOUT_S:g} s", "timeout"))
        self._watch()

    def _refuse(self, problem: Problem) -> None:
        """Answer and close; only close where an answer has begun already."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            response = problem.response()
            headers = [*response.raw_headers, (b"x-request-id", new_request_id().encode())]
            headers.append((b"connection", b"close"))
            status = response.status_code
            for event in (
                h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
                h11.Data(data=bytes(response.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self._close_when_read()

    def _close_when_read(self) -> None:
        """Close once the client has: closing before its bytes are read would take back what it was told (RFC 9112, 9.6)."""
        if self.transport.is_closing() or len(self._refused) >= MAX_LINGERING:
            self.transport.close()
            return
        self._refused.add(self)
        self.connections.discard(self)  # it takes nobody's place
        self.transport.write_eof()


HEAD_END = re.compile(rb"\n\r?\n")
LENGTHS = re.compile(rb"^content-length[ \t]*:(.*)$", re.IGNORECASE | re.MULTILINE)


def _two_lengths(conn: h11.Connection) -> bool:
    """Whether the head that has come gives a length twice: h11 takes equal ones as one."""
    if conn.their_state is not h11.IDLE:
        return False
    head = HEAD_END.split(conn.trailing_data[0], 1)[0]
    return b",".join(LENGTHS.findall(head)).count(b",") > 0
