"""From the start to the end of a server: alive while it loads, and while it lets its answers finish."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from serve_fixtures import CharacterTokens, ScriptedDecoder, wait_until

from smolchat_fast.errors import DataError
from smolchat_fast.serve import server
from smolchat_fast.serve.options import Decoding, ServeOptions

CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "一二三四五"}]}


class Loading:
    """Stands in for `load`: takes until it is told to go on."""

    def __init__(self, decoder: ScriptedDecoder) -> None:
        self.go, self.error = threading.Event(), None
        self._decoder = decoder

    def __call__(self, folder: Path, **_: object) -> SimpleNamespace:
        self.go.wait(10)
        if self.error:
            raise self.error
        parts = {"decoder": self._decoder, "tokens": CharacterTokens(), "decoding": Decoding()}
        return SimpleNamespace(name="parrot", precision="", fingerprint="fp", **parts)


@pytest.fixture
def loading(scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch) -> Loading:
    loading = Loading(scripted)
    monkeypatch.setattr(server, "load", loading)
    return loading


@contextmanager
def running(
    **options: object,
) -> Iterator[tuple[server.Server, httpx.Client, threading.Thread, list[object]]]:
    """A server as `serve` runs it, in a thread; with what it raised in the end."""
    raised: list[object] = []
    with server.listen("127.0.0.1", 0) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        one = server.Server(Path("parrot"), ServeOptions(**options), [], listener)  # type: ignore[arg-type]

        def run() -> None:
            try:
                one.run_until_stopped()
            except DataError as error:
                raised.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            with httpx.Client(base_url=address, trust_env=False, timeout=60) as client:
                yield one, client, thread, raised
        finally:
            one.handle_exit(signal.SIGTERM, None)
            one.handle_exit(signal.SIGTERM, None)
            thread.join(30)


def statuses(client: httpx.Client) -> list[int]:
    return [client.get(path).status_code for path in ("/healthz", "/readyz", "/health")]


def test_a_server_is_alive_before_it_is_ready(loading: Loading, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as (_, client, _, _):
        assert statuses(client) == [200, 503, 503]
        early = client.post(CHAT, json=BODY)
        assert (early.status_code, early.json()["error"]["code"]) == (503, "model_loading")
        assert early.headers["retry-after"].isdecimal()
        assert early.headers["x-request-id"]
        assert client.get("/", headers={"host": "evil.example"}).status_code == 403
        assert capsys.readouterr().out == ""
        loading.go.set()
        wait_until(lambda: statuses(client) == [200, 200, 200])
        assert client.post(CHAT, json=BODY).json()["choices"][0]["message"]["content"] == "一二三四五"
        assert "OpenAI base URL" in capsys.readouterr().out


def test_a_model_that_cannot_be_read_ends_the_server_with_its_error(loading: Loading) -> None:
    loading.error = DataError("parrot: is no model")
    with running() as (_, client, thread, raised):
        assert client.get("/healthz").status_code == 200
        loading.go.set()
        thread.join(30)
        assert raised == [loading.error]


def test_answers_finish_while_new_requests_are_turned_away(
    loading: Loading, scripted: ScriptedDecoder
) -> None:
    loading.go.set()
    with running() as (one, client, thread, _):
        wait_until(lambda: statuses(client) == [200, 200, 200])
        scripted.step_s = 0.1
        with client.stream("POST", CHAT, json={**BODY, "stream": True}) as stream:
            one.handle_exit(signal.SIGTERM, None)
            wait_until(lambda: statuses(client) == [200, 503, 503])
            late = client.post(CHAT, json=BODY)
            assert (late.status_code, late.json()["error"]["code"]) == (503, "shutting_down")
            assert late.headers["retry-after"]
            text = stream.read().decode()
        assert '"content":"五"' in text
        assert '"finish_reason":"stop"' in text
        assert text.endswith("data: [DONE]\n\n")
        thread.join(30)
        assert not thread.is_alive()


def test_answers_over_their_time_end_in_an_error_frame(loading: Loading, scripted: ScriptedDecoder) -> None:
    loading.go.set()
    with running(drain_s=0) as (one, client, thread, _):
        wait_until(lambda: statuses(client) == [200, 200, 200])
        scripted.step_s = 0.05
        long = {"messages": [{"role": "user", "content": "长" * 400}], "stream": True}
        with client.stream("POST", CHAT, json=long) as stream:
            one.handle_exit(signal.SIGINT, None)
            text = stream.read().decode()
        assert '"code":"shutting_down"' in text
        assert text.endswith("data: [DONE]\n\n")
        assert '"finish_reason":"' not in text
        thread.join(30)
        assert not thread.is_alive()


def test_a_second_signal_does_not_wait(loading: Loading, scripted: ScriptedDecoder) -> None:
    loading.go.set()
    with running(drain_s=60) as (one, client, thread, _):
        wait_until(lambda: statuses(client) == [200, 200, 200])
        scripted.step_s = 0.05
        long = {"messages": [{"role": "user", "content": "长" * 400}], "stream": True}
        with client.stream("POST", CHAT, json=long):
            began = time.monotonic()
            for _ in range(2):
                one.handle_exit(signal.SIGTERM, None)
            thread.join(30)
        assert time.monotonic() - began < 10
        assert not thread.is_alive()


def test_a_signal_while_loading_ends_the_server(loading: Loading) -> None:
    with running() as (one, client, thread, _):
        assert client.get("/healthz").status_code == 200
        one.handle_exit(signal.SIGTERM, None)
        loading.go.set()
        thread.join(30)
        assert not thread.is_alive()
