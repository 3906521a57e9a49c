"""Users of `serve` on the 0.2B preset: what HTTP costs, and how long the first token takes under load.

Closed loop: each user asks again when the answer is there. Open loop: requests come as they would from many
people (Poisson), outputs of 8 to 128 tokens, and waiting counts from the moment a request was due. Static
batching, the same engine that takes nobody on until all have been answered, is measured behind the same front:
under our load, and under its own, the same share of what it can do.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import mean, quantiles
from typing import Any

ROWS = 16
SHARE = 0.75
"""The part of its capacity that an engine is loaded with in the open loop."""
FIRST_S, GAP_S = 0.5, 0.1
"""What a good answer is: its first token within the one, 95 of 100 gaps within the other."""

Ask = Callable[[list[int], int], Awaitable[list[float]]]
"""Asks for so many tokens and gives the moments at which text came."""


@dataclass(frozen=True)
class Load:
    """What open-loop users got who came at `rate` requests a second."""

    rate: float
    first_ms: list[float]
    gap_ms: list[float]
    good: int
    seconds: float

    def row(self, name: str) -> str:
        """A line of the table."""
        share = self.good / len(self.first_ms)
        return (
            f"| {name} | {self.rate:.2f} | {mean(self.first_ms):,.0f} | {_p95(self.first_ms):,.0f} | {_p95(self.gap_ms):,.0f} | "
            f"{share:.0%} | {self.good / self.seconds:.2f} |"
        )


def _p95(values: list[float]) -> float:
    return quantiles(values, n=20)[-1]


def prompt(number: int) -> list[int]:
    """32 random tokens, `[EOS]` at their end."""
    draw = random.Random(number)
    return [*(draw.randrange(300, 29_298) for _ in range(31)), 1]


async def closed_loop(ask: Ask, users: int, each: int) -> float:
    """Tokens a second of users who each ask one thing after another."""

    async def user(number: int) -> None:
        for turn in range(each):
            await ask(prompt(number * 1000 + turn), 64)

    await ask(prompt(0), 64)
    began = time.perf_counter()
    await asyncio.gather(*map(user, range(users)))
    return users * each * 64 / (time.perf_counter() - began)


async def capacity(ask: Ask) -> float:
    """Requests a second when there is always one waiting."""
    draw = random.Random(2)
    began = time.perf_counter()
    await asyncio.gather(*(ask(prompt(number), draw.randint(8, 128)) for number in range(48)))
    return 48 / (time.perf_counter() - began)


async def open_loop(ask: Ask, rate: float, seconds: float) -> Load:
    """What users got who came at a rate for some seconds, whoever was still waiting."""
    draw = random.Random(3)
    first, gaps, good, tasks = [], [], 0, []

    async def user(number: int, due: float, tokens: int) -> None:
        nonlocal good
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        came = await ask(prompt(number), tokens)
        own = [b - a for a, b in pairwise(came)] or [0.0, 0.0]
        first.append((came[0] - due) * 1e3)
        gaps.extend(gap * 1e3 for gap in own)
        good += came[0] - due <= FIRST_S and (_p95(own) if len(own) > 1 else own[0]) <= GAP_S

    began = due = time.perf_counter()
    while (due := due + draw.expovariate(rate)) < began + seconds:
        tasks.append(asyncio.create_task(user(len(tasks), due, draw.randint(8, 128))))
    await asyncio.gather(*tasks)
    return Load(rate, first, gaps, good, time.perf_counter() - began)


class _Characters:
    """Each token is a character."""

    separator: tuple[int, ...] = ()
    end_id, vocabulary = 1, 29_298

    def encode(self, text: str) -> list[int]:
        return [ord(character) - 0x4E00 for character in text]

    def ended(self, ids: Any) -> list[int]:
        return [*ids, 1]

    def decode(self, ids: Any) -> str:
        return "".join(chr(token + 0x4E00) for token in ids)

    def token_bytes(self, token: int) -> bytes:
        return chr(token + 0x4E00).encode()

    def name(self, token: int) -> str:
        return chr(token + 0x4E00)


def _engine(folder: Path, threads: int, *, static: bool) -> Any:
    import torch
    from transformers import T5Config

    from smolchat_fast.serve.decoder import T5Decoder
    from smolchat_fast.serve.engine import Engine, Limits
    from smolchat_fast.serve.loading import build_network
    from smolchat_fast.serve.weights import Weights

    class Static(Engine):  # type: ignore[type-arg]
        def _admit(self) -> None:
            if not any(job.ready for job in self._running):
                super()._admit()

    torch.set_num_threads(threads)
    with Weights(folder, T5Config.from_pretrained(folder)) as weights:
        network = build_network(weights, "cpu", "int8", threads)
    decoder = T5Decoder(network, _Characters(), 0, frozenset())  # type: ignore[arg-type]
    limits = Limits(max_running=ROWS, max_queue=1000, queue_timeout_s=300, timeout_s=300, cache_mb=4096)
    return (Static if static else Engine)(decoder, limits)


def _asks_engine(engine: Any) -> Ask:
    from smolchat_fast.serve.options import Decoding
    from smolchat_fast.serve.reading import pieces

    async def ask(ids: list[int], tokens: int) -> list[float]:
        answer = engine.submit(ids, Decoding(max_new_tokens=tokens))
        return [time.perf_counter() async for piece in pieces(answer) if piece.text]

    return ask


def _asks_http(port: int) -> Ask:
    async def ask(ids: list[int], tokens: int) -> list[float]:
        body = json.dumps({"prompt": ids, "max_tokens": tokens, "stream": True}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        came = []
        while (line := await reader.readline()) != b"data: [DONE]\n":
            if not line:
                raise ConnectionError("the answer broke off")
            if line.startswith(b"data: ") and b'"text":""' not in line:
                came.append(time.perf_counter())
        writer.close()
        return came

    return ask


def _serve(folder: Path, threads: int, static: bool, told: Connection) -> None:
    """A server on a free port; ends with its process."""
    import socket

    import uvicorn

    from smolchat_fast.serve.api import build_app
    from smolchat_fast.serve.options import DecodeOptions, Decoding
    from smolchat_fast.serve.server import CONNECTIONS
    from smolchat_fast.serve.session import Chatbot

    engine = _engine(folder, threads, static=static)
    bot = Chatbot("bench", engine, _Characters(), DecodeOptions(), Decoding(max_new_tokens=512))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        told.send(listener.getsockname()[1])
        uvicorn.Server(uvicorn.Config(build_app(bot), **CONNECTIONS)).run(sockets=[listener])


@contextmanager
def _server(folder: Path, threads: int, *, static: bool = False) -> Iterator[Ask]:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, threads, static, theirs), daemon=True)
    process.start()
    try:
        yield _asks_http(ours.recv())
    finally:
        process.terminate()
        process.join()


def _bare(folder: Path, threads: int, seconds: float) -> tuple[float, float, float, Load]:
    ask = _asks_engine(_engine(folder, threads, static=False))
    one, many = asyncio.run(closed_loop(ask, 1, 4)), asyncio.run(closed_loop(ask, ROWS, 3))
    most = asyncio.run(capacity(ask))
    return one, many, most, asyncio.run(open_loop(ask, SHARE * most, seconds))


def _static(folder: Path, threads: int, rate: float, seconds: float) -> tuple[Load, Load]:
    """Under a load, and under its own."""
    ask = _asks_engine(_engine(folder, threads, static=True))
    own = SHARE * asyncio.run(capacity(ask))
    return asyncio.run(open_loop(ask, rate, seconds)), asyncio.run(open_loop(ask, own, seconds))


def run(folder: Path, threads: int, seconds: float) -> Iterator[str]:
    """Both tables, line by line.

    Args:
        folder: A model; what it answers plays no part.
        threads: Of the engine; the client runs on the same machine.
        seconds: How long people arrive in each open loop.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        one, many, most, bare = pool.submit(_bare, folder, threads, seconds).result()
    with _server(folder, threads) as ask:
        over_one, over_many = asyncio.run(closed_loop(ask, 1, 4)), asyncio.run(closed_loop(ask, ROWS, 3))
        http = asyncio.run(open_loop(ask, bare.rate, seconds))
    yield "\nint8, tokens/s of users who ask again at once, 64 new tokens, streamed\n"
    yield "| users | engine | HTTP | HTTP / engine |"
    yield "| ---: | ---: | ---: | ---: |"
    yield f"| 1 | {one:,.0f} | {over_one:,.0f} | {over_one / one:.0%} |"
    yield f"| {ROWS} | {many:,.0f} | {over_many:,.0f} | {over_many / many:.0%} |"
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        static, static_own = pool.submit(_static, folder, threads, bare.rate, seconds).result()
    yield (
        f"\nint8, Poisson arrivals, prompt 32, outputs 8..128, {seconds:g} s; {bare.rate:.2f} requests/s is {SHARE:.0%} of "
        f"the engine's {most:.2f}, {static_own.rate:.2f} that of static batching's {static_own.rate / SHARE:.2f}; "
        f"good: first token within {FIRST_S} s, gaps' p95 within {GAP_S} s\n"
    )
    yield "| | requests/s | first token mean ms | p95 ms | gap p95 ms | good | good requests/s |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    yield bare.row("engine")
    yield http.row("HTTP")
    yield static.row("engine, static batching")
    yield static_own.row("engine, static batching")
    with _server(folder, threads, static=True) as ask:
        for rate in (static.rate, static_own.rate):
            yield asyncio.run(open_loop(ask, rate, seconds)).row("HTTP, static batching")
