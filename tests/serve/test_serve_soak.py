"""Many streams in a short time, some left midway, some never read: none is lost, none is mixed up."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from serve_fixtures import CharacterTokens, ScriptedDecoder, serving, wait_until

from smolchat_fast.serve.connection import MAX_CONNECTIONS
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.options import DecodeOptions, Decoding
from smolchat_fast.serve.session import Chatbot
from smolchat_fast.stage import peak_mb

STREAMS = int(os.environ.get("SMOLCHAT_SOAK_STREAMS", "400"))


@asynccontextmanager
async def stream(port: int, text: str) -> AsyncIterator[tuple[bytes, asyncio.StreamReader]]:
    """A question on a bare connection: the answer's head, and its events. A client's pool of connections takes
    seconds to hand out a thousand of them, and the server would be blamed for it."""
    body = json.dumps({"messages": [{"role": "user", "content": text}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    try:
        yield await reader.readuntil(b"\r\n\r\n"), reader
    finally:
        writer.close()


async def ask(port: int, number: int, refused: Counter[bytes]) -> str:
    """One stream: complete, left after a few events, or opened and never read; asked again when it was refused."""
    text = f"问题{number}" * 4
    kind = {0: "left", 1: "unread"}.get(number % 10, "read")
    while True:
        async with stream(port, text) as (head, events):
            if not head.startswith(b"HTTP/1.1 200 "):
                refused[head.split()[1]] += 1
                assert b"\r\nretry-after: 5\r\n" in head.lower(), head
                await asyncio.sleep(0.2 + random.Random(number).random())
                continue
            if kind == "unread":
                await asyncio.sleep(0.5)
                return kind
            found, seen = "", 0
            async for line in events:
                if kind == "left" and (seen := seen + 1) > 4:
                    return kind
                if line == b"data: [DONE]\n":
                    break
                if b'"content":"' in line:
                    found += line.decode().split('"content":"')[1].split('"')[0]
            assert found == text
            return kind


def test_a_crowd_that_comes_at_once_is_served_or_told_when_to_come_back(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.002
    engine = Engine(scripted, Limits(max_running=32, max_queue=STREAMS, queue_timeout_s=300, timeout_s=300))
    bot = Chatbot("parrot", engine, CharacterTokens(), DecodeOptions(), Decoding())
    refused: Counter[bytes] = Counter()

    async def crowd(port: int) -> list[str]:
        return await asyncio.gather(*(ask(port, number, refused) for number in range(STREAMS)))

    with serving(bot) as client:
        port = client.base_url.port
        assert port
        kinds = asyncio.run(crowd(port))
        before = peak_mb()
        kinds += asyncio.run(crowd(port))
        assert {kind: kinds.count(kind) for kind in ("left", "unread")} == {
            "left": 2 * len(range(0, STREAMS, 10)),
            "unread": 2 * len(range(1, STREAMS, 10)),
        }
        # Too many connections, and nothing else.
        assert set(refused) == ({b"503"} if STREAMS > MAX_CONNECTIONS else set())
        wait_until(lambda: sum(engine.load) == 0)
        assert scripted.rows == []
        assert engine.cache_bytes == 0
        # The second crowd needs no more than the first.
        assert peak_mb() < before + 30
