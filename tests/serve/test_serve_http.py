"""HTTP itself: heads and bodies that are slow, large, lying or broken, names that lead elsewhere, many connections."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serve_fixtures import ScriptedDecoder, serving, wait_until

from smolchat_fast.serve import connection, guard
from smolchat_fast.serve.engine import Limits
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHAT = "/v1/chat/completions"


@pytest.fixture
def client(build_bot: BuildBot) -> Iterator[httpx.Client]:
    with serving(build_bot()) as client:
        yield client


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    """A bare connection; reading from it ends after half a minute."""
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=30) as raw:
        yield raw


def read_all(raw: socket.socket) -> bytes:
    """Everything until the server closes."""
    found = b""
    while data := raw.recv(1 << 16):
        found += data
    return found


def answers_to(client: httpx.Client, sent: bytes) -> list[tuple[int, str]]:
    """Status and code of each answer to these bytes, after which the server closes."""
    with connected(client) as raw:
        raw.sendall(sent)
        found = read_all(raw)
    answers = []
    while found:
        head, _, rest = found.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body, found = json.loads(rest[:length]), rest[length:]
        assert b"x-request-id: req_" in head
        answers.append((int(head.split()[1]), body.get("error", {}).get("code", "")))
    return answers


def post(*headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"POST {CHAT} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", (400, "invalid_http")),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (400, "invalid_http")),
        (post("Content-Length: 1", "Content-Length: 2", body=b"{}"), (400, "invalid_http")),
        (post("Content-Length: 2", "content-length:2", body=b"{}"), (400, "invalid_http")),
        (post("Content-Length: 2, 2", body=b"{}"), (400, "invalid_http")),
        (post("Content-Length: -1"), (400, "invalid_http")),
        (post("Content-Length: 0x2", body=b"{}"), (400, "invalid_http")),
        (
            post("Content-Length: 2", "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
            (400, "invalid_http"),
        ),
        (
            post("Transfer-Encoding: chunked", "Content-Length: 2", body=b"2\r\n{}\r\n0\r\n\r\n"),
            (400, "invalid_http"),
        ),
        (post("Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n"), (400, "invalid_http")),
        (post("Transfer-Encoding: gzip", body=b"{}"), (400, "invalid_http")),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 40_000, (400, "invalid_http")),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 33_000 + b"\r\n\r\n", None),
    ],
    ids=range(13),
)
def test_what_is_no_request_is_told_so(
    client: httpx.Client, sent: bytes, expected: tuple[int, str] | None
) -> None:
    (found,) = answers_to(client, sent)
    assert found == expected if expected else found in {(400, "invalid_http"), (431, "request_too_large")}
    assert client.get("/healthz").status_code == 200


def test_a_length_that_lies_is_no_way_to_a_second_answer(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    whole = b'{"messages": [{"role": "user", "content": "a"}]}'
    short = answers_to(client, post(f"Content-Length: {len(whole) - 1}", body=whole))
    assert [status for status, _ in short] == [400, 408]
    # More is promised than comes: the client has left.
    with connected(client) as raw:
        raw.sendall(post(f"Content-Length: {len(whole) + 9}", body=whole))
        raw.close()
    assert client.get("/health").json()["running"] == 0


def assert_closed_while_sending(raw: socket.socket, drop: bytes) -> None:
    """A trickle wins no time."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            raw.sendall(drop)
        except OSError:
            return
        time.sleep(0.05)
    raise AssertionError("the server still listens")


def test_slow_heads_are_closed(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"):
        with connected(client) as raw:
            began = time.monotonic()
            raw.sendall(begun)
            assert read_all(raw).startswith(b"HTTP/1.1 408 ")
            assert 0.15 < time.monotonic() - began < 8
    with connected(client) as raw:  # a trickle does not win time
        raw.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert_closed_while_sending(raw, b"X-A: 1\r\n")


def test_a_second_slow_head_on_a_connection_is_closed_too(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.3)
    with connected(client) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea")
        found = read_all(raw)
    assert found.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 408 " in found


def test_slow_bodies_are_closed_also_when_they_were_refused_before(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.4)
    for head in (post("Content-Length: 99"), post("Content-Length: 99", "Origin: http://evil.example")):
        with connected(client) as raw:
            raw.sendall(head)
            assert_closed_while_sending(raw, b"x")


def test_an_answer_may_take_longer_than_a_head(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT_S", 0.2)
    scripted.step_s = 0.1
    with serving(build_bot()) as client:
        answer = client.post("/api/chat", json={"input_txt": "一二三四五"})
    assert answer.json() == {"response": "一二三四五"}


def test_more_connections_than_the_limit_are_refused(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 8)
    client.close()
    with ExitStack() as stack:
        open_ones = [stack.enter_context(connected(client)) for _ in range(8)]
        time.sleep(0.1)
        for _ in range(20):  # whether the question comes before the refusal or after
            with connected(client) as one_more:
                one_more.sendall(post("Content-Length: 60000", body=b" " * 60_000))
                found = read_all(one_more)
            assert found.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 5\r\n" in found
            assert b'"code":"too_many_connections"' in found
        open_ones[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert open_ones[0].recv(4096).startswith(b"HTTP/1.1 200 ")
    assert connection.MAX_CONNECTIONS == 8


def test_a_reader_that_stalls_is_let_go(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WRITE_TIMEOUT_S", 0.3)
    bot = build_bot()
    with serving(bot) as client, socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect((client.base_url.host, client.base_url.port))
        raw.settimeout(30)
        # Each piece carries the log-probabilities of 20 tokens: megabytes in all.
        fields = {"stream": True, "logprobs": True, "top_logprobs": 20, "n": 8}
        body = json.dumps({"messages": [{"role": "user", "content": "长" * 500}], **fields}).encode()
        monkeypatch.setattr(scripted, "scored", lambda token: _wide(token))
        raw.sendall(post(f"Content-Length: {len(body)}", body=body))
        wait_until(lambda: sum(bot.engine.load) > 0)
        assert client.post("/api/chat", json={"input_txt": "别人"}).json() == {"response": "别人"}
        wait_until(lambda: sum(bot.engine.load) == 0)
        time.sleep(0.5)
        assert b"[DONE]" not in read_all(raw)


def _wide(token: int):  # type: ignore[no-untyped-def]
    from smolchat_fast.serve.answer import Scored

    return Scored(token, -0.5, tuple((other, -1.0) for other in range(0x4E00, 0x4E14)))


def nested(depth: int, filler: str = "") -> bytes:
    inner = f"{filler}{'[' * (depth - 3)}{']' * (depth - 3)}"
    return f'{{"messages": [{{"role": "user", "content": "a"}}], "x": {inner}}}'.encode()


def test_bodies_may_nest_to_a_depth(client: httpx.Client) -> None:
    assert client.post(CHAT, content=nested(34)).status_code == 200
    deep = client.post(CHAT, content=nested(36))
    assert (deep.status_code, deep.json()["error"]["code"]) == (400, "invalid_json")
    # Brackets in texts are text.
    text = {"messages": [{"role": "user", "content": '[{"' * 60 + '\\"[' * 40}]}
    assert client.post(CHAT, json=text).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "/page.html%00",
        "/%00",
        "//etc/passwd",
        "/static/../page.html",
        "/v1/models/..%2f..%2f",
        "/v1/models/%00",
    ],
)
def test_no_path_leads_elsewhere(client: httpx.Client, path: str) -> None:
    ((status, code),) = answers_to(
        client, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    assert status == 404
    assert code in {"not_found", "model_not_found"}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "[::1", "", "localhost@evil", "0.0.0.0"]
)
def test_only_names_of_this_machine_are_answered_without_a_key(client: httpx.Client, host: str) -> None:
    ((status, code),) = answers_to(
        client, f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    )
    assert (status, code) == (403, "host_not_allowed")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health"])
def test_probes_of_health_call_by_any_name(client: httpx.Client, path: str) -> None:
    assert client.get(path, headers={"host": "10.0.0.7"}).status_code == 200


def test_the_log_tells_counts_and_times_and_no_text(
    build_bot: BuildBot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smolchat_fast.serve")
    with serving(build_bot(), ["geheim"]) as client:
        key = {"authorization": "Bearer geheim"}
        client.post(CHAT, json={"messages": [{"role": "user", "content": "秘密"}]}, headers=key)
        client.get("/%0a%1b[31mforged?key=geheim", headers=key)
    assert "POST /v1/chat/completions 200" in caplog.text
    assert not any(word in caplog.text for word in ("秘密", "geheim", "\x1b", "\nforged"))


def asked(client: httpx.Client, path: str = CHAT, **fields: object) -> None:
    body = {"messages": [{"role": "user", "content": "秘密\n\u2028"}], **fields}
    assert client.post(path, json=body).status_code == 200


def last_line(caplog: pytest.LogCaptureFixture, needle: str) -> str:
    wait_until(lambda: needle in caplog.text)
    return [record.getMessage() for record in caplog.records if needle in record.getMessage()][-1]


def test_the_log_tells_tokens_and_how_an_answer_ended(
    build_bot: BuildBot, scripted: ScriptedDecoder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smolchat_fast.serve")
    bot = build_bot()
    with serving(bot) as client:
        asked(client)
        assert last_line(caplog, CHAT).endswith(" ms prompt_tokens=5 completion_tokens=4 finish=stop")
        asked(client, "/api/chat", stream=True)
        assert last_line(caplog, "/api/chat").endswith(" prompt_tokens=5 completion_tokens=4 finish=stop")
        asked(client, n=2, max_tokens=1, stream=True)
        assert last_line(caplog, "finish=length").endswith(
            " prompt_tokens=5 completion_tokens=2 finish=length"
        )
        scripted.step_s = 0.02
        long = {"messages": [{"role": "user", "content": "长" * 400}], "stream": True}
        with client.stream("POST", CHAT, json=long) as response:
            next(response.iter_raw())
        assert "秘密" not in caplog.text
        assert " finish=cancelled" in last_line(caplog, "finish=cancelled")
        scripted.fail = True
        assert client.post(CHAT, json=ROUTES[CHAT]).status_code == 500
        assert last_line(caplog, " 500 ").endswith(" finish=internal_error")
        assert client.get("/healthz").status_code == 200
        assert last_line(caplog, "/healthz").endswith(" ms")


def test_the_log_tells_texts_only_where_that_is_wanted(
    build_bot: BuildBot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smolchat_fast.serve")
    with serving(build_bot(), log_text=True) as client:
        asked(client, stream=True)
    text = "'秘密\\n\\u2028'"
    assert last_line(caplog, CHAT).endswith(f" finish=stop prompt={text} answer={text}")
    assert "\u2028" not in caplog.text


def test_a_field_without_effect_is_named_in_the_log_once(
    build_bot: BuildBot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "smolchat_fast.serve")
    with serving(build_bot()) as client:
        for _ in range(3):
            asked(client, user="me", **{"x\nforged": 1})
            response = client.post("/api/chat", json={**ROUTES["/api/chat"], "keep_alive": 5, "user": "me"})
            assert response.headers["x-ignored-params"] == "keep_alive, user"
        for number in range(300):
            asked(client, **{f"field{number}": 1})
    named = [line.getMessage() for line in caplog.records if "has no effect" in line.getMessage()]
    assert [sum(repr(name) in line for line in named) for name in ("user", "keep_alive", "x\nforged")] == [
        1
    ] * 3
    assert "\nforged" not in caplog.text
    assert len(named) == 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("[EOS]"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROUTES: dict[str, dict[str, object]] = {
    CHAT: {"messages": [{"role": "user", "content": "你好"}]},
    "/v1/completions": {"prompt": "你好"},
    "/api/chat": {"messages": [{"role": "user", "content": "你好"}], "stream": False},
    "/tokenize": {"prompt": "你好"},
    "/detokenize": {"tokens": [97]},
}
NAMES = st.sampled_from(
    [
        "messages",
        "model",
        "prompt",
        "stream",
        "stream_options",
        "max_tokens",
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "seed",
        "stop",
        "n",
        "echo",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "num_beams",
        "preset",
        "truncate",
        "decoder_prompt",
        "options",
        "tokens",
        "input_txt",
        "tools",
        "min_tokens",
        "presence_penalty",
        "repetition_penalty",
        "no_repeat_ngram_size",
        "length_penalty",
        "ignore_eos",
        "best_of",
    ]
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(sorted(ROUTES)),
    fields=st.dictionaries(NAMES | st.text(max_size=6), JSON, max_size=4),
    cut=st.none() | st.integers(0, 40),
)
def test_no_body_on_any_route_makes_the_server_fail_or_hang(
    client: httpx.Client, path: str, fields: dict[str, object], cut: int | None
) -> None:
    content = json.dumps({**ROUTES[path], **fields}).encode()
    response = client.post(path, content=content[:cut], timeout=30)
    assert response.status_code in {200, 400, 404, 406}, (fields, response.text)
    if response.status_code != 200:
        error = response.json()["error"]
        assert error
        if isinstance(error, dict):
            assert error["code"] is None or isinstance(error["code"], str)


def test_a_server_under_full_load_says_that_it_is_alive(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    scripted.gate.clear()
    bot = build_bot(Limits(max_running=1, max_queue=0))
    with serving(bot) as client:
        running = bot.engine.submit([97, 0], bot.decoding)
        assert client.post(CHAT, json=ROUTES[CHAT]).status_code == 429
        began = time.monotonic()
        assert [client.get(path).status_code for path in ("/healthz", "/readyz", "/health")] == [200] * 3
        assert time.monotonic() - began < 5
        scripted.gate.set()
        assert "".join(running) == "a"
