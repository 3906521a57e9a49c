"""What the HTTP side counts, closes and keeps apart: sizes, keys, absent fields, metrics, long texts."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_fixtures import CharacterTokens, ScriptedDecoder, serving, wait_until

from smolchat_fast.serve import guard
from smolchat_fast.serve.answer import Scored
from smolchat_fast.serve.metrics import Metrics
from smolchat_fast.serve.schema import ChatRequest, CompletionRequest
from smolchat_fast.serve.server import CONNECTIONS
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def turn(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"messages": [turn("a")] * 257}, "messages"),
        (CHAT, {"messages": [turn("x" * 65_537)]}, "messages[0].content"),
        (TEXT, {"prompt": ["a"] * 257}, "prompt"),
        (TEXT, {"prompt": "x" * 65_537}, "prompt"),
        (TEXT, {"prompt": ["a", "x" * 65_537]}, "prompt"),
        ("/api/chat", {"input_txt": "x" * 65_537}, "input_txt"),
    ],
)
def test_more_than_is_read_is_refused_by_name(
    build_bot: BuildBot, scripted: ScriptedDecoder, path: str, body: dict[str, object], param: str
) -> None:
    with serving(build_bot()) as client:
        response = client.post(path, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", param)
    assert scripted.started == []


@pytest.mark.parametrize(
    ("path", "kind", "given"),
    [(CHAT, ChatRequest, {"messages": [turn("你好")]}), (TEXT, CompletionRequest, {"prompt": "你好"})],
    ids=["chat", "text"],
)
def test_null_is_not_given(
    build_bot: BuildBot, path: str, kind: type[ChatRequest | CompletionRequest], given: dict[str, object]
) -> None:
    nulls = {**dict.fromkeys([*kind.model_fields, "tools", "response_format", "user"]), **given}
    with serving(build_bot()) as client:
        plain, response = client.post(path, json=given), client.post(path, json=nulls)
    assert response.status_code == 200, response.text
    assert response.json()["choices"] == plain.json()["choices"]
    assert "x-ignored-params" not in response.headers


def test_only_health_and_the_page_need_no_key(build_bot: BuildBot) -> None:
    free = ("/", "/healthz", "/readyz", "/health")
    kept = ("/metrics", "/v1/models", "/v1/models/parrot", "/api/tags", "/api/version", "/tokenizer_info")
    with serving(build_bot(), ["geheim"], metrics=Metrics("parrot")) as client:
        assert {client.get(path).status_code for path in free} == {200}
        assert {client.get(path).status_code for path in kept} == {401}
        for path in (CHAT, TEXT, "/api/chat", "/tokenize", "/detokenize"):
            assert client.post(path, json={}).status_code == 401


GAUGES = ("num_requests_running", "num_requests_waiting", "batch_current_size", "cache_usage_bytes")
COUNTERS = (
    "prompt_tokens",
    "generation_tokens",
    "request_success",
    "requests_rejected",
    "requests_cancelled",
)
HISTOGRAMS = (
    "time_to_first_token_seconds",
    "inter_token_latency_seconds",
    "e2e_request_latency_seconds",
    "request_queue_time_seconds",
    "request_prompt_tokens",
    "request_generation_tokens",
)


def test_metrics_have_the_names_that_dashboards_know(build_bot: BuildBot) -> None:
    with serving(build_bot(), ["geheim"], metrics=Metrics("parrot")) as client:
        client.headers["authorization"] = "Bearer geheim"
        client.post(CHAT, json={"messages": [turn("你好")]})
        text = client.get("/metrics").text
    found = {family.name: family for family in text_string_to_metric_families(text)}
    kinds = {"gauge": GAUGES, "counter": COUNTERS, "histogram": HISTOGRAMS}
    for kind, names in kinds.items():
        assert {found[f"smolchat_{name}"].type for name in names} == {kind}
    labels = {label for family in found.values() for sample in family.samples for label in sample.labels}
    assert labels <= {"model", "finished_reason", "reason", "stage", "le"}
    assert "geheim" not in text


def test_equal_copies_are_given_where_nothing_is_drawn(build_bot: BuildBot) -> None:
    with serving(build_bot()) as client:
        answer = client.post(CHAT, json={"messages": [turn("你好")], "n": 3, "temperature": 0}).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["你好"] * 3
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert answer["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHAT, {"messages": [turn("长")]}), (TEXT, {"prompt": "长"}), ("/tokenize", {"prompt": "长"})],
)
def test_a_text_that_takes_long_to_tokenise_holds_up_nobody(
    build_bot: BuildBot, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, object]
) -> None:
    begun, go, encode = threading.Event(), threading.Event(), CharacterTokens.encode

    def slow(tokens: CharacterTokens, text: str) -> list[int]:
        if text == "长":
            begun.set()
            go.wait(30)
        return encode(tokens, text)

    monkeypatch.setattr(CharacterTokens, "encode", slow)
    with serving(build_bot()) as client, ThreadPoolExecutor(1) as pool:
        try:
            long = pool.submit(client.post, path, json=body)
            wait_until(begun.is_set)
            assert client.get("/healthz", timeout=10).status_code == 200
            assert client.post("/api/chat", json={"input_txt": "短"}, timeout=10).json() == {"response": "短"}
        finally:
            go.set()
        assert long.result().status_code == 200


def test_likely_tokens_of_equal_text_have_names_of_their_own(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two tokens that are each a part of a character: both are shown as the mark of a broken one.
    monkeypatch.setattr(CharacterTokens, "token_bytes", lambda _, token: bytes([token]) * (token > 0))
    monkeypatch.setattr(scripted, "scored", lambda token: Scored(token, -0.5, ((0x80, -1.0), (0x81, -2.0))))
    with serving(build_bot()) as client:
        answer = client.post(TEXT, json={"prompt": "a", "logprobs": 2}).json()
    assert answer["choices"][0]["logprobs"]["top_logprobs"] == [
        {"a": -0.5, "\ufffd": -1.0, "token_id:129": -2.0}
    ]


def test_an_idle_connection_is_closed(build_bot: BuildBot, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CONNECTIONS["timeout_keep_alive"] == 5
    monkeypatch.setitem(CONNECTIONS, "timeout_keep_alive", 1)
    with serving(build_bot()) as client, socket.socket() as raw:
        raw.settimeout(30)
        raw.connect((client.base_url.host, client.base_url.port))
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        found = b""
        while data := raw.recv(4096):
            found += data
    assert found.startswith(b"HTTP/1.1 200 ")
    assert found.endswith(b'{"status":"ok"}')


def test_a_key_is_compared_with_every_key_in_constant_time(
    build_bot: BuildBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def watched(given: bytes, key: bytes) -> bool:
        compared.append((given, key))
        return hmac.compare_digest(given, key)

    monkeypatch.setattr(guard, "hmac", SimpleNamespace(compare_digest=watched))
    with serving(build_bot(), ["eins", "zwei", "drei"]) as client:
        for key, status in (("eins", 200), ("drei", 200), ("zwe", 401), ("x", 401)):
            compared.clear()
            response = client.get("/v1/models", headers={"authorization": f"Bearer {key}"})
            assert response.status_code == status
            assert compared == [(key.encode(), known) for known in (b"eins", b"zwei", b"drei")]
