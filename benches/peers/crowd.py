"""A thousand streams in a short time at a server of the demo's model, one in ten left midway, one in ten never read.

Every other stream must give the text that the same question gets alone; afterwards no answer is left in the engine, and
the memory of the server is what it was. A client that is refused comes again when it was told to.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from smolchat_fast.errors import DataError
from smolchat_fast.evaluate.exact import read_questions

from .measure import machine, table

Kind = Literal["read", "left", "unread"]
KINDS: Mapping[int, Kind] = {0: "left", 1: "unread"}
"""What becomes of each tenth stream and of the one after it."""
STREAMS, CROWDS, COMING_S, TOKENS = 1_000, 4, 10.0, 48
STALL_S = 0.5
"""How long a stream that nobody reads stays open."""
GROWTH_MB = 20
"""More memory after the last crowd than after the first is a leak."""
PATH = "/v1/chat/completions"
GAUGES = ("num_requests_running", "num_requests_waiting", "cache_usage_bytes")
"""What is 0 when no answer is under way."""


@dataclass(frozen=True)
class Crowd:
    """What became of the streams."""

    texts: dict[int, str]
    """By number, of those that were read to their end."""
    left: int
    unread: int
    refused: Counter[int]
    """How often a status other than 200 told a client to come again."""
    seconds: float


def kind_of(number: int) -> Kind:
    """What becomes of a stream."""
    return KINDS.get(number % 10, "read")


async def send(
    port: int, bodies: Sequence[Mapping[str, Any]], coming_s: float = 0, hurry: float = 1
) -> Crowd:
    """Send all bodies as streams.

    Args:
        port: Of a server on this machine.
        bodies: N bodies of chat completions.
        coming_s: Seconds in which they come, evenly spread.
        hurry: A refused client waits so much of what it was told to wait.
    Raises:
        RuntimeError: a stream that was to be read did not come to its end, or was refused for good.
    """
    refused: Counter[int] = Counter()
    texts: dict[int, str] = {}
    _allow_files(2 * len(bodies) + 100)

    async def one(number: int) -> None:
        draw = random.Random(number)
        await asyncio.sleep(coming_s * number / len(bodies))
        while True:
            async with _stream(port, bodies[number]) as (status, headers, events, pause):
                if status == 200:
                    text = await _take(kind_of(number), events, pause)
                    if text is not None:
                        texts[number] = text
                    return
            if "retry-after" not in headers:
                raise RuntimeError(f"a stream got {status}")
            refused[status] += 1
            await asyncio.sleep(hurry * int(headers["retry-after"]) * (0.5 + draw.random()))

    began = time.perf_counter()
    await asyncio.gather(*map(one, range(len(bodies))))
    kinds = Counter(map(kind_of, range(len(bodies))))
    return Crowd(texts, kinds["left"], kinds["unread"], refused, time.perf_counter() - began)


async def ask(port: int, body: Mapping[str, Any]) -> str:
    """One stream alone."""
    async with _stream(port, body) as (status, _, events, pause):
        if status != 200:
            raise RuntimeError(f"a question asked alone got {status}")
        return await _take("read", events, pause) or ""


Pause = Any
Stream = tuple[int, dict[str, str], asyncio.StreamReader, Pause]


@asynccontextmanager
async def _stream(port: int, body: Mapping[str, Any]) -> AsyncIterator[Stream]:
    """A bare connection: a client's pool takes seconds to hand out a thousand, and the server would be blamed for it."""
    sent = json.dumps({**body, "stream": True}).encode()
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent)}\r\n\r\n"
    events, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + sent)
    try:
        first, *lines = (await events.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        yield int(first.split()[1]), headers, events, writer.transport.pause_reading  # type: ignore[attr-defined]
    finally:
        writer.close()


async def _take(kind: Kind, events: asyncio.StreamReader, pause: Pause) -> str | None:
    """The text of a stream that is read; None of one that is left after a few events, or not read at all."""
    if kind == "unread":
        pause()
        await asyncio.sleep(STALL_S)
        return None
    text, seen, reason = "", 0, None
    async for line in events:
        if line == b"data: [DONE]\n":
            if reason is None:
                break
            return text
        if line.startswith(b"data: {"):
            data = json.loads(line[6:])
            if "error" in data:
                break
            choice = data["choices"][0]
            text += choice["delta"].get("content") or ""
            reason = choice["finish_reason"]
            if kind == "left" and (seen := seen + 1) > 2:
                return None
    raise RuntimeError(f"a stream ended early, after {len(text)} characters")


def _allow_files(wanted: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def run(folder: Path) -> str:
    """Send the crowds and return the report.

    Raises:
        DataError: the folder lacks the model or the questions.
        RuntimeError: a stream was lost, or mixed up with another, or an answer was left in the engine, or
            memory grew.
    """
    questions = folder / "corpus" / "questions" / "test.jsonl"
    for path in (folder / "model", questions):
        if not path.exists():
            raise DataError(f"{path} is missing; `make demo` leaves it in runs/demo")
    bodies = [
        {"messages": [{"role": "user", "content": question.prompt}], "max_tokens": TOKENS, "ignore_eos": True}
        for question in read_questions(questions)[:STREAMS]
    ]
    with served(folder / "model") as (process, port):
        alone = asyncio.run(_alone(port, bodies))
        lines, memory, before = [], [], _memory_mb(process.pid)
        for number in range(CROWDS):
            crowd = asyncio.run(send(port, bodies, COMING_S))
            check(crowd, alone)
            asyncio.run(_wait_for_peace(port))
            memory.append(_memory_mb(process.pid))
            lines.append(_row(number, crowd, memory[-1]))
    if memory[-1] > memory[0] + GROWTH_MB:
        raise RuntimeError(f"the memory of the server grew from crowd to crowd: {memory} MB")
    return "\n".join(
        [
            f"crowd: {len(bodies):,} streams of {TOKENS} tokens within {COMING_S:.0f} s, {CROWDS} times, by HTTP from the "
            f"demo's model in int8; 10% leave midway, 10% never read",
            machine(["smolchat-fast", "torch", "uvicorn"]),
            "",
            table(["crowd", "s", "whole and right", "left", "never read", "told to come again", "server MB"], lines),
            "",
            f"Each stream that was read has the text that the same question gets alone. Before the first crowd the server "
            f"took {before:,.0f} MB; after each one it had no answer in work, none waiting, and 0 bytes of cache in use.",
        ]
    )  # fmt: skip


def _row(number: int, crowd: Crowd, memory_mb: float) -> list[str]:
    counts = (len(crowd.texts), crowd.left, crowd.unread, crowd.refused.total())
    return [str(number + 1), f"{crowd.seconds:.1f}", *(f"{count:,}" for count in counts), f"{memory_mb:,.0f}"]


async def _alone(port: int, bodies: Sequence[Mapping[str, Any]]) -> list[str]:
    return [await ask(port, body) for body in bodies]


def check(crowd: Crowd, alone: Sequence[str]) -> None:
    """Raise RuntimeError unless every stream that was read has the text that its question gets alone."""
    wanted = {number: text for number, text in enumerate(alone) if kind_of(number) == "read"}
    if crowd.texts != wanted:
        wrong = sum(crowd.texts.get(number) != text for number, text in wanted.items())
        raise RuntimeError(
            f"{wrong:,} of {len(wanted):,} streams have not the text that their question gets alone"
        )


async def _wait_for_peace(port: int, patience_s: float = 30) -> None:
    """Until no answer is under way, those of clients that left included."""
    end = time.monotonic() + patience_s
    while busy := {name: value for name, value in (await gauges(port)).items() if value}:
        if time.monotonic() > end:
            raise RuntimeError(f"the server still has {busy}")
        await asyncio.sleep(0.1)


async def gauges(port: int) -> dict[str, float]:
    """What the server says it has under way."""
    events, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    text = (await events.read()).decode()
    writer.close()
    found = {name: re.search(rf"^smolchat_{name}{{.*}} (\S+)$", text, re.MULTILINE) for name in GAUGES}
    return {name: float(match[1]) for name, match in found.items() if match}


@contextmanager
def served(model: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`smolchat-fast serve` in a process of its own, and its port."""
    command = [
        sys.executable,
        "-m",
        "smolchat_fast",
        "serve",
        str(model),
        "--precision",
        "int8",
        "--port",
        "0",
    ]
    limits = ["--max-queue", str(STREAMS), "--queue-timeout-s", "300", "--timeout-s", "300"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, *limits], stdout=pipe, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                if found := re.search(r"http://127\.0\.0\.1:(\d+)", line):
                    yield process, int(found[1])
                    return
            raise RuntimeError(f"{' '.join(command)} ended with {process.wait()}")
        finally:
            process.kill()


def _memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
