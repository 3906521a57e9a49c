"""Many streams in a short time, some left midway, some never read: none is lost, none is mixed up."""

from __future__ import annotations

import asyncio
import os
import random

import httpx
from serve_fixtures import CharacterTokens, ScriptedDecoder, serving, wait_until

from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.options import DecodeOptions, Decoding
from smolchat_fast.serve.session import Chatbot
from smolchat_fast.stage import peak_mb

STREAMS = int(os.environ.get("SMOLCHAT_SOAK_STREAMS", "150"))


async def ask(client: httpx.AsyncClient, number: int) -> str:
    """One stream: complete, left after a few events, or opened and never read."""
    text = f"问题{number}" * 4
    kind = {0: "left", 1: "unread"}.get(number % 10, "read")
    body = {"messages": [{"role": "user", "content": text}], "stream": True}
    await asyncio.sleep(random.Random(number).random())
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.status_code == 200, await response.aread()
        if kind == "unread":
            await asyncio.sleep(0.5)
            return kind
        found, events = "", 0
        async for line in response.aiter_lines():
            if kind == "left" and (events := events + 1) > 4:
                return kind
            if line == "data: [DONE]":
                break
            if '"content":"' in line:
                found += line.split('"content":"')[1].split('"')[0]
        assert found == text
    return kind


def test_a_crowd_of_streams_is_served(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.002
    engine = Engine(scripted, Limits(max_running=32, max_queue=STREAMS, queue_timeout_s=300, timeout_s=300))
    bot = Chatbot("parrot", engine, CharacterTokens(), DecodeOptions(), Decoding())

    async def crowd(base: httpx.URL) -> list[str]:
        # Sooner than the server lets go of an idle connection, or one would be closed as it is used.
        limits = httpx.Limits(max_connections=200, keepalive_expiry=1)
        async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=300, limits=limits) as client:
            # A pool with a thousand waiting requests takes seconds to send one: the server would give up.
            room = asyncio.Semaphore(150)

            async def in_turn(number: int) -> str:
                async with room:
                    return await ask(client, number)

            return await asyncio.gather(*map(in_turn, range(STREAMS)))

    with serving(bot) as client:
        kinds = asyncio.run(crowd(client.base_url))
        before = peak_mb()
        kinds += asyncio.run(crowd(client.base_url))
        assert {kind: kinds.count(kind) for kind in ("left", "unread")} == {
            "left": 2 * len(range(0, STREAMS, 10)),
            "unread": 2 * len(range(1, STREAMS, 10)),
        }
        wait_until(lambda: sum(engine.load) == 0)
        assert scripted.rows == []
        assert engine.cache_bytes == 0
        # The second crowd needs no more than the first.
        assert peak_mb() < before + 30
