"""Many streams in a short time, some left midway, some never read: none is lost, none is mixed up."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from benches.peers import crowd
from serve_fixtures import CharacterTokens, ScriptedDecoder, serving, wait_until

from smolchat_fast.errors import DataError
from smolchat_fast.serve.connection import MAX_CONNECTIONS
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.options import DecodeOptions, Decoding
from smolchat_fast.serve.session import Chatbot
from smolchat_fast.stage import peak_mb

STREAMS = int(os.environ.get("SMOLCHAT_SOAK_STREAMS", "1000"))
TEXTS = [f"问题{number}" * 4 for number in range(STREAMS)]
BODIES = [{"messages": [{"role": "user", "content": text}]} for text in TEXTS]


def test_a_crowd_that_comes_at_once_is_served_or_told_when_to_come_back(scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.001
    engine = Engine(scripted, Limits(max_running=32, max_queue=STREAMS, queue_timeout_s=300, timeout_s=300))
    bot = Chatbot("parrot", engine, CharacterTokens(), DecodeOptions(), Decoding())
    read = {number: text for number, text in enumerate(TEXTS) if crowd.kind_of(number) == "read"}
    with serving(bot) as client:
        port = client.base_url.port
        assert port
        peaks = []
        for _ in range(2):
            found = asyncio.run(crowd.send(port, BODIES, hurry=0.05))
            assert found.texts == read
            assert (found.left, found.unread) == (len(range(0, STREAMS, 10)), len(range(1, STREAMS, 10)))
            # Too many connections, and nothing else.
            assert set(found.refused) == ({503} if STREAMS > MAX_CONNECTIONS else set())
            wait_until(lambda: sum(engine.load) == 0)
            assert scripted.rows == []
            assert engine.cache_bytes == 0
            assert set(asyncio.run(crowd.gauges(port)).values()) == {0}
            peaks.append(peak_mb())
        # The second crowd needs no more than the first.
        assert peaks[1] < peaks[0] + 30


def test_a_stream_that_is_cut_or_swapped_is_found_out(scripted: ScriptedDecoder) -> None:
    engine = Engine(scripted, Limits(max_running=32))
    bot = Chatbot("parrot", engine, CharacterTokens(), DecodeOptions(), Decoding())
    with serving(bot) as client:
        port = client.base_url.port
        assert port
        found = asyncio.run(crowd.send(port, BODIES[:12]))
        crowd.check(found, TEXTS[:12])
        with pytest.raises(RuntimeError, match="1 of 8 streams have not the text"):
            crowd.check(found, [*TEXTS[:9], TEXTS[3], *TEXTS[10:12]])
        scripted.step_s = 0.05
        midway = threading.Timer(0.3, setattr, (scripted, "fail", True))
        midway.start()
        with pytest.raises(RuntimeError, match="a stream ended early"):
            asyncio.run(crowd.ask(port, {"messages": [{"role": "user", "content": "长" * 60}]}))
        with pytest.raises(RuntimeError, match="a stream got 400"):
            asyncio.run(crowd.send(port, [{"messages": []}]))


def test_a_folder_without_a_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model is missing; `make demo` leaves it"):
        crowd.run(tmp_path)
