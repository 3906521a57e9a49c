"""Answers as server-sent events, and what happens when their reader leaves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from smolchat_fast.serve.answer import Answer, EngineError
from smolchat_fast.serve.problem import from_engine

WRITE_TIMEOUT_S = 30.0
DONE = b"data: [DONE]\n\n"


def event(data: Mapping[str, object]) -> bytes:
    """One event; line ends inside texts are escaped by JSON, so it is one line."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


@asynccontextmanager
async def watched(receive: Receive, answers: Sequence[Answer]) -> AsyncIterator[None]:
    """Cancel answers when their client leaves, or when the block is left by an error."""

    def cancel() -> None:
        for answer in answers:
            answer.cancel()

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except BaseException:
        cancel()
        raise
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


class EventStream(Response):
    """A response of events; ends with `[DONE]`.

    A failure midway becomes an event with an `error`, so that nobody takes half an answer for a whole.

    Args:
        events: Events of the answer.
        answers: Cancelled when the client leaves or stops reading.
        headers: Further headers.
    """

    media_type = "text/event-stream"
    last = DONE

    def __init__(
        self, events: AsyncIterator[bytes], answers: Sequence[Answer], headers: Mapping[str, str]
    ) -> None:
        super().__init__(headers={**headers, "cache-control": "no-cache", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._events, self._answers = events, answers

    def failure(self, error: EngineError) -> bytes:
        """What a reader gets instead of the rest."""
        return event(from_engine(error).body())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""

        async def write(body: bytes, more: bool = True) -> None:
            message = {"type": "http.response.body", "body": body, "more_body": more}
            await asyncio.wait_for(send(message), WRITE_TIMEOUT_S)

        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with watched(receive, self._answers):
            try:
                async for data in self._events:
                    await write(data)
            except EngineError as error:
                await write(self.failure(error))
            except asyncio.TimeoutError:
                # The reader reads no more; without a last message the connection is closed.
                for answer in self._answers:
                    answer.cancel()
                return
            await write(self.last, more=False)


class LineStream(EventStream):
    """The same as lines of JSON, as Ollama's clients read them."""

    media_type = "application/x-ndjson"
    last = b""

    def failure(self, error: EngineError) -> bytes:
        """What a reader gets instead of the rest."""
        return line({"error": from_engine(error).message})


def line(data: Mapping[str, object]) -> bytes:
    """One line of JSON."""
    return f"{json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n".encode()
