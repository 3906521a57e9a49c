"""The HTTP side, on a decoder that says its prompt back."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from serve_fixtures import ScriptedDecoder, serving, wait_until

from smolchat_fast.serve import guard
from smolchat_fast.serve.engine import Limits
from smolchat_fast.serve.options import DecodeOptions
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHAT = "/v1/chat/completions"


def body(text: str, **fields: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **fields}


@pytest.fixture
def client(build_bot: BuildBot) -> Iterator[httpx.Client]:
    with serving(build_bot()) as client:
        yield client


def events(response: httpx.Response) -> list[Any]:
    """The data of each event; checks the framing."""
    assert response.text.endswith("\n\n")
    blocks = response.text[:-2].split("\n\n")
    assert all(re.fullmatch(r"data: [^\n]*", block) for block in blocks)
    assert blocks[-1] == "data: [DONE]"
    return [json.loads(block[6:]) for block in blocks[:-1]]


def test_chat_completion_has_the_shape_of_openai(client: httpx.Client) -> None:
    answer = client.post(CHAT, json=body("你好吗")).json()
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "parrot"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "你好吗", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert answer["usage"] == {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}


def test_stream_has_role_text_reason_usage_and_done_in_order(client: httpx.Client) -> None:
    text = "第一行\n第二行\u2028\x85🎉"
    response = client.post(CHAT, json=body(text, stream=True, stream_options={"include_usage": True}))
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in response.headers
    assert "\\u" not in response.text  # but UTF-8 as it is
    chunks = events(response)
    *deltas, usage = chunks
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["object"] == "chat.completion.chunk"
    assert deltas[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(set(chunk["choices"][0]["delta"]) == {"content"} for chunk in deltas[1:-1])
    assert deltas[-1]["choices"][0]["delta"] == {}
    assert [chunk["choices"][0]["finish_reason"] for chunk in deltas] == [None] * (len(deltas) - 1) + ["stop"]
    assert all(chunk["usage"] is None for chunk in deltas)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(text)
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in deltas) == text
    plain = events(client.post(CHAT, json=body(text, stream=True)))
    assert not any("usage" in chunk for chunk in plain)


def test_length_and_stop_are_kept_whole_or_streamed(client: httpx.Client) -> None:
    for fields, expected in [
        ({"max_tokens": 2}, ("一二", "length")),
        ({"max_tokens": 4, "max_completion_tokens": 1}, ("一", "length")),
        ({"stop": "三"}, ("一二", "stop")),
        ({"stop": ["五六", "四五"], "temperature": None}, ("一二三", "stop")),
    ]:
        whole = client.post(CHAT, json=body("一二三四五", **fields)).json()["choices"][0]
        assert (whole["message"]["content"], whole["finish_reason"]) == expected
        chunks = events(client.post(CHAT, json=body("一二三四五", stream=True, **fields)))
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
        assert (text, chunks[-1]["choices"][0]["finish_reason"]) == expected


def test_many_clients_at_once_get_their_own_answers(client: httpx.Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def ask(number: int) -> str:
        if number % 2:
            return client.post("/api/chat", json={"input_txt": f"问题{number}" * 5}).json()["response"]
        chunks = events(client.post(CHAT, json=body(f"问题{number}" * 5, stream=True)))
        return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)

    with ThreadPoolExecutor(24) as pool:
        assert list(pool.map(ask, range(24))) == [f"问题{number}" * 5 for number in range(24)]


def test_models_and_health_and_request_ids(client: httpx.Client) -> None:
    models = client.get("/v1/models").json()
    assert [model["id"] for model in models["data"]] == ["parrot"]
    assert client.get("/v1/models/parrot").json() == models["data"][0]
    health = client.get("/health")
    assert health.json() == {"status": "ok", "running": 0, "waiting": 0, "engine": ""}
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").status_code == 200
    ids = {client.get(path).headers["x-request-id"] for path in ("/health", "/nothing", "/")}
    assert len(ids) == 3


TOOL = {"type": "function", "function": {"name": "clock", "parameters": {}}}

FAULTS = [
    ({"model": "gpt-9"}, 404, "model_not_found", "model"),
    ({"messages": []}, 400, "invalid_value", "messages"),
    ({"messages": None}, 400, "invalid_value", "messages"),
    ({"messages": [{"role": "user"}]}, 400, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "tool", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, 400, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "user", "content": " "}]}, 400, "invalid_value", "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "invalid_value", "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        400,
        "invalid_value",
        "messages[0].content",
    ),
    ({"messages": [{"role": "user", "content": "长" * 600}]}, 400, "context_length_exceeded", "messages"),
    ({"temperature": 3}, 400, "invalid_value", "temperature"),
    ({"temperature": True}, 400, "invalid_value", "temperature"),
    ({"top_p": 0}, 400, "invalid_value", "top_p"),
    ({"max_tokens": 0}, 400, "invalid_value", "max_tokens"),
    ({"max_tokens": 1.5}, 400, "invalid_value", "max_tokens"),
    ({"seed": "1"}, 400, "invalid_value", "seed"),
    ({"stop": ""}, 400, "invalid_value", "stop"),
    ({"stop": ["x"] * 17}, 400, "invalid_value", "stop"),
    ({"stream_options": {"include_usage": True}}, 400, "invalid_value", "stream_options"),
    ({"n": 9}, 400, "invalid_value", "n"),
    ({"best_of": 2}, 400, "unsupported_parameter", "best_of"),
    ({"n": 2, "num_beams": 2}, 400, "invalid_value", "n"),
    ({"num_beams": 9}, 400, "invalid_value", "num_beams"),
    ({"presence_penalty": 3}, 400, "invalid_value", "presence_penalty"),
    ({"logit_bias": {"x": 1}}, 400, "invalid_value", "logit_bias"),
    ({"logit_bias": {"5": 101}}, 400, "invalid_value", "logit_bias"),
    ({"logprobs": True, "top_logprobs": 21}, 400, "invalid_value", "top_logprobs"),
    ({"preset": "best"}, 400, "invalid_value", "preset"),
    ({"tools": [TOOL], "tool_choice": "required"}, 400, "unsupported_parameter", "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, 400, "unsupported_parameter", "tool_choice"),
    ({"response_format": {"type": "json_object"}}, 400, "unsupported_parameter", "response_format"),
    ({"logprobs": 1}, 400, "invalid_value", "logprobs"),
]


def test_faults_are_told_in_openais_shape(client: httpx.Client) -> None:
    for fields, status, code, param in FAULTS:
        response = client.post(CHAT, json={**body("你好"), **fields})
        assert response.status_code == status, (fields, response.text)
        error = response.json()["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param), (
            fields
        )
        assert error["message"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "invalid_value"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "invalid_value"),
        (b"[" * 100_000, "invalid_json"),
    ],
)
def test_broken_bodies_are_told_so(client: httpx.Client, content: bytes, code: str) -> None:
    response = client.post(CHAT, content=content)
    assert (response.status_code, response.json()["error"]["code"]) == (400, code)


def test_a_body_in_another_encoding_is_told_which_is_wanted(client: httpx.Client) -> None:
    text = '{"messages": [{"role": "user", "content": "你好"}]}'
    error = client.post(CHAT, content=text.encode("gb18030")).json()["error"]
    assert (error["code"], error["message"]) == ("invalid_json", "the body is not UTF-8; send JSON in UTF-8")


def test_fields_without_effect_are_named_in_a_header(client: httpx.Client) -> None:
    fields = {"user": "me", "n": 1, "tools": [], "presence_penalty": 0.0, "metadata": None, "x\n": 1}
    response = client.post(CHAT, json=body("你好", **fields))
    assert response.status_code == 200
    assert response.headers["x-ignored-params"] == "user"


def test_tools_that_may_be_left_alone_are_left_alone_and_named(build_bot: BuildBot) -> None:
    with serving(build_bot()) as client:
        for choice in ({}, {"tool_choice": "auto"}, {"tool_choice": "none"}):
            response = client.post(CHAT, json=body("你好", tools=[TOOL], **choice))
            assert response.json()["choices"][0]["message"]["content"] == "你好"
            assert response.headers["x-ignored-params"] == "tools"
        response = client.post("/api/chat", json=body("你好", tools=[TOOL], stream=False))
        assert response.json()["message"]["content"] == "你好"
        assert response.headers["x-ignored-params"] == "tools"
    with serving(build_bot(), strict=True) as client:
        refused = client.post(CHAT, json=body("你好", tools=[TOOL]))
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tools")
        assert client.post(CHAT, json=body("你好", tools=[])).status_code == 200


def test_content_parts_and_developer_messages_are_read(client: httpx.Client) -> None:
    parts = [{"type": "text", "text": "你"}, {"type": "text", "text": "好"}]
    messages = [{"role": "developer", "content": "简短"}, {"role": "user", "content": parts}]
    response = client.post(CHAT, json={"messages": messages})
    assert response.json()["choices"][0]["message"]["content"] == "你好"
    assert "x-truncated-turns" not in response.headers


def test_earlier_turns_reach_a_model_trained_for_them(build_bot: BuildBot) -> None:
    turns = [
        ("system", "系统"),
        ("user", "一"),
        ("assistant", "二"),
        ("user", "三"),
        ("assistant", "四"),
        ("user", "五"),
    ]
    messages = [{"role": role, "content": text} for role, text in turns]
    expected = {0: ("五", "4"), 1: ("系统|三|四|五", "2"), 2: ("系统|一|二|三|四|五", None)}
    for history_turns, (text, dropped) in expected.items():
        with serving(build_bot(options=DecodeOptions(history_turns=history_turns))) as client:
            response = client.post(CHAT, json={"messages": messages})
            assert client.get("/v1/models").json()["data"][0]["history_turns"] == history_turns
        assert response.json()["choices"][0]["message"]["content"] == text
        assert response.headers.get("x-truncated-turns") == dropped
    with serving(build_bot(options=DecodeOptions(history_turns=2, max_input_tokens=8))) as client:
        response = client.post(CHAT, json={"messages": messages})
    assert response.json()["choices"][0]["message"]["content"] == "系统|五"


def test_the_earlier_api_keeps_its_contract(client: httpx.Client) -> None:
    response = client.post("/api/chat", json={"input_txt": "你好"})
    assert (response.status_code, response.json()) == (200, {"response": "你好"})
    empty = client.post("/api/chat", json={"input_txt": " \n"})
    assert empty.status_code == 406
    assert set(empty.json()) == {"detail", "error"}
    assert client.post("/api/chat", json={}).status_code == 400
    # As a bare `curl -d` sends it.
    form = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/api/chat", content=b'{"input_txt": "a"}', headers=form).json() == {"response": "a"}


def test_unknown_paths_and_methods(client: httpx.Client) -> None:
    response = client.post("/chat/completions", json={})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")
    assert "/v1/chat/completions" in response.json()["error"]["message"]
    response = client.get(CHAT)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    for path in ("/docs", "/..%2f..%2fetc/passwd", "/page.html", "/%00"):
        assert client.get(path).status_code == 404


def test_a_key_is_asked_for_where_one_is_set(build_bot: BuildBot) -> None:
    with serving(build_bot(), ["geheim", "密钥"]) as client:
        for path, kind in ((CHAT, body("a")), ("/api/chat", {"input_txt": "a"})):
            for header in (
                {},
                {"authorization": "Bearer wrong"},
                {"authorization": "geheim"},
                {"authorization": "Bearer"},
            ):
                response = client.post(path, json=kind, headers=header)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == "Bearer"
                assert response.json()["error"]["code"] == "invalid_api_key"
            assert client.post(path, json=kind, headers={"authorization": "bearer geheim"}).status_code == 200
            utf8 = {b"authorization": "Bearer 密钥".encode()}
            assert client.post(path, json=kind, headers=utf8).status_code == 200
        assert client.get("/v1/models").status_code == 401
        assert client.get("/openapi.json").status_code == 401
        assert client.get("/").status_code == client.get("/health").status_code == 200


def test_foreign_hosts_and_pages_are_refused(client: httpx.Client) -> None:
    assert client.get("/v1/models", headers={"host": "evil.example:8812"}).status_code == 403
    assert client.get("/v1/models", headers={"host": "localhost:1"}).status_code == 200
    own = f"http://{client.base_url.netloc.decode()}"
    foreign = ("http://evil.example", "null", "http://[", "http://evil.example://", "")
    for origin, status in ((own, 200), *((each, 403) for each in foreign)):
        response = client.post(CHAT, json=body("a"), headers={"origin": origin})
        assert response.status_code == status
        assert status == 200 or response.json()["error"]["code"] == "origin_not_allowed"
        assert "access-control-allow-origin" not in response.headers


def test_large_bodies_are_refused_with_and_without_a_length(client: httpx.Client) -> None:
    text = b"x" * (guard.MAX_BODY + 1)
    assert client.post(CHAT, content=text).status_code == 413
    chunks = (text[i : i + 65536] for i in range(0, len(text), 65536))
    assert client.post(CHAT, content=chunks).status_code == 413
    assert client.get("/health").status_code == 200


def test_a_slow_body_is_given_up(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "BODY_TIMEOUT_S", 0.2)
    host, port = client.base_url.host, client.base_url.port
    with socket.create_connection((host, port), timeout=5) as raw:
        raw.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_client_that_leaves_ends_its_answer(
    build_bot: BuildBot, scripted: ScriptedDecoder, stream: bool
) -> None:
    scripted.step_s = 0.01
    bot = build_bot(Limits(max_running=1))
    with serving(bot) as client:
        for _ in range(2):  # the second one waits
            with socket.create_connection((client.base_url.host, client.base_url.port), timeout=5) as raw:
                content = json.dumps(body("长" * 500, stream=stream)).encode()
                head = f"POST {CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
                raw.sendall(head.encode() + content)
                wait_until(lambda: sum(bot.engine.load) > 0)
                time.sleep(0.05)
            wait_until(lambda: sum(bot.engine.load) == 0)
        assert scripted.steps < 100
        scripted.step_s = 0.0
        assert client.post("/api/chat", json={"input_txt": "还在"}).json() == {"response": "还在"}


def test_a_waiting_client_that_leaves_does_not_end_the_running_answer(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    bot = build_bot(Limits(max_running=1))
    scripted.gate.clear()
    with serving(bot) as client:
        running = bot.engine.submit([*map(ord, "跑" * 20), 0], bot.decoding)
        wait_until(lambda: bot.engine.load[0] == 1)
        with pytest.raises(httpx.ReadTimeout):
            client.post(CHAT, json=body("等", stream=True), timeout=0.2)
        scripted.gate.set()
        assert "".join(running) == "跑" * 20
        wait_until(lambda: sum(bot.engine.load) == 0)
        assert not any("等" in prompt for prompt in scripted.started)


def test_a_busy_server_says_when_to_come_back(build_bot: BuildBot, scripted: ScriptedDecoder) -> None:
    scripted.gate.clear()
    bot = build_bot(Limits(max_running=1, max_queue=0))
    with serving(bot) as client:
        running = bot.engine.submit([97, 0], bot.decoding)
        for stream in (False, True):
            response = client.post(CHAT, json=body("a", stream=stream))
            assert response.status_code == 429
            assert response.json()["error"]["type"] == "rate_limit_error"
            assert 1 <= int(response.headers["retry-after"]) <= 60
        assert client.get("/health").json()["running"] == 1
        scripted.gate.set()
        assert "".join(running) == "a"


def test_time_limits_have_their_status_and_a_frame_in_streams(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    scripted.step_s = 0.02
    with serving(build_bot(Limits(max_running=1, queue_timeout_s=0.2, timeout_s=2.0))) as client:
        with client.stream("POST", CHAT, json=body("长" * 400, stream=True)) as running:
            waiting = client.post(CHAT, json=body("等", stream=True))
            assert (waiting.status_code, waiting.json()["error"]["code"]) == (503, "queue_timeout")
            running.read()
        chunks = events(running)
        assert chunks[-1]["error"]["code"] == "deadline_exceeded"
        assert all(chunk["choices"][0]["finish_reason"] is None for chunk in chunks[:-1])
        whole = client.post(CHAT, json=body("长" * 400))
        assert (whole.status_code, whole.json()["error"]["code"]) == (504, "deadline_exceeded")


def test_a_defect_shows_no_inner_text(build_bot: BuildBot, scripted: ScriptedDecoder) -> None:
    scripted.fail = True
    with serving(build_bot()) as client:
        response = client.post("/api/chat", json={"input_txt": "a"})
    assert response.status_code == 500
    assert "broke off" in response.json()["detail"]
    assert "the decoder broke" not in response.text
