"""How a stream is written: not oftener than it is worth, at once where it matters, with signs of life in silence."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import httpx
import pytest
from serve_fixtures import ScriptedDecoder, serving, wait_until

from smolchat_fast.serve import completion, ollama
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHAT = "/v1/chat/completions"
Arrival = tuple[float, str]
"""A moment, and the text that came in it."""


def arrivals(client: httpx.Client, text: str, **fields: object) -> list[Arrival]:
    """When the texts of a stream came, in seconds from the question on; the last is its end."""
    body = {"messages": [{"role": "user", "content": text}], "stream": True, **fields}
    began, found = time.monotonic(), []
    with client.stream("POST", CHAT, json=body) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                choice = json.loads(line[6:])["choices"][0]
                said = choice["delta"].get("content")
                if said or choice["finish_reason"]:
                    found.append((time.monotonic() - began, said or ""))
    return found


def test_tokens_that_come_fast_share_a_write(build_bot: BuildBot, scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.002
    text = "快" * 300
    with serving(build_bot()) as client:
        found = arrivals(client, text)
    assert "".join(said for _, said in found) == text
    took = found[-1][0] - found[0][0]
    assert len(found) <= took / completion.GATHER_S + 3
    assert len(found) < 100


def test_tokens_that_come_slowly_are_written_one_by_one(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    scripted.step_s = 0.1
    with serving(build_bot()) as client:
        assert [said for _, said in arrivals(client, "一二三四")] == ["一", "二", "三", "四", ""]


@pytest.mark.parametrize("choices", [1, 3])
def test_the_first_text_and_the_end_do_not_wait_for_others(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch, choices: int
) -> None:
    monkeypatch.setattr(completion, "GATHER_S", 20.0)
    scripted.step_s = 0.05
    with serving(build_bot()) as client:
        found = arrivals(client, "一二三四五", n=choices)
    assert found[0][1] == "一"
    assert sorted("".join(said for _, said in found)) == sorted("一二三四五" * choices)
    assert found[-1][0] < 10


def test_texts_of_one_step_are_one_write_whatever_the_choices(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smolchat_fast.serve.connection import Connection

    writes: list[bytes] = []
    made = Connection.connection_made

    def noted(self: Connection, transport) -> None:  # type: ignore[no-untyped-def]
        write = transport.write
        made(self, transport)
        monkeypatch.setattr(self.transport, "write", lambda data: (writes.append(bytes(data)), write(data)))

    monkeypatch.setattr(Connection, "connection_made", noted)
    scripted.step_s = 0.1
    with serving(build_bot()) as client:
        arrivals(client, "一二三", n=8)
    texts = [write for write in writes if b'"content":"' in write and b'"role"' not in write]
    # Three steps of eight texts; a reader may be woken within a step.
    assert 3 <= len(texts) <= 9


@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/api/chat"])
def test_a_silent_stream_shows_that_it_is_alive(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    assert completion.PING_S == 15
    for module in (completion, ollama):
        monkeypatch.setattr(module, "PING_S", 0.05)
    scripted.gate.clear()
    body = {"messages": [{"role": "user", "content": "等"}], "prompt": "等", "stream": True}
    body.pop("messages" if path == "/v1/completions" else "prompt")
    with serving(build_bot()) as client, client.stream("POST", path, json=body) as response:
        lines = response.iter_lines()
        # OpenAI's clients skip a comment; Ollama's read lines of JSON, so theirs says nothing.
        silent = [": ping"] if path != "/api/chat" else [""]
        seen: list[str] = []
        while seen.count(silent[0]) < 3:
            line = next(lines)
            seen.append(json.loads(line)["message"]["content"] if path == "/api/chat" else line)
        scripted.gate.set()
        rest = "\n".join(lines)
    assert "等" in rest
    assert '"done":true' in rest if path == "/api/chat" else rest.rstrip().endswith("data: [DONE]")


def test_a_reader_that_leaves_in_silence_ends_its_answer(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "GATHER_S", 30.0)
    scripted.step_s = 0.02
    bot = build_bot()
    with serving(bot) as client:
        body = {"messages": [{"role": "user", "content": "长" * 500}], "stream": True}
        with client.stream("POST", CHAT, json=body) as response:
            lines = response.iter_lines()
            next(lines)
            wait_until(lambda: scripted.steps > 3)
        wait_until(lambda: sum(bot.engine.load) == 0, 5)
