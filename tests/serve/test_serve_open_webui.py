"""Open WebUI itself against a running server, through both of its kinds of connection; skipped where it is not installed.

It is found on PATH or by SMOLCHAT_OPEN_WEBUI: in an environment of its own, since it pins what it needs to one version.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from serve_fixtures import serving, wait_until

from smolchat_fast.serve.options import DecodeOptions
from smolchat_fast.serve.session import Chatbot

OPEN_WEBUI = os.environ.get("SMOLCHAT_OPEN_WEBUI") or shutil.which("open-webui")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not OPEN_WEBUI, reason="no open-webui on PATH or in SMOLCHAT_OPEN_WEBUI"),
]

KEY = "sk-test"
LONG = DecodeOptions(max_input_tokens=9000, max_new_tokens=9000)
OPENAI, OLLAMA = "parrot", "parrot:latest"
START_S = 300.0

# The parrot says these back, so that they reach their place only if request and answer are understood.
TASKS = {
    "TITLE_GENERATION_PROMPT_TEMPLATE": '{"title": "关于{{prompt}}"}',
    "TAGS_GENERATION_PROMPT_TEMPLATE": '{"tags": ["问候"]}',
    "FOLLOW_UP_GENERATION_PROMPT_TEMPLATE": '{"follow_ups": ["还好吗"]}',
}


@contextmanager
def open_webui(address: str, folder: Path) -> Iterator[httpx.Client]:
    """Open WebUI with an empty database, connected twice to one server, and a client that is signed in."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    unwanted = ("http_proxy", "https_proxy", "all_proxy", "pythonpath", "pythonhome")
    environment = {
        **{name: value for name, value in os.environ.items() if name.lower() not in unwanted},
        "DATA_DIR": str(folder),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "secret",
        "OPENAI_API_BASE_URL": f"{address}/v1",
        "OPENAI_API_KEY": KEY,
        "ENABLE_OLLAMA_API": "True",
        "OLLAMA_BASE_URL": address,
        "OLLAMA_API_CONFIGS": json.dumps({"0": {"key": KEY}}),
        # Nothing is to be loaded from elsewhere.
        "OFFLINE_MODE": "True",
        "HF_HUB_OFFLINE": "1",
        "RAG_EMBEDDING_ENGINE": "openai",
        **TASKS,
    }
    log = folder / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [str(OPEN_WEBUI), "serve", "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
    ):

        def ready() -> bool:
            time.sleep(0.5)
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            try:
                return client.get("/health").status_code == 200
            except httpx.TransportError:
                return False

        try:
            wait_until(ready, START_S)
            signed_in = client.post("/api/v1/auths/signin", json={"email": "", "password": ""})
            client.headers["authorization"] = f"Bearer {signed_in.json()['token']}"
            yield client
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def address_of(client: httpx.Client) -> str:
    """Where a server is, as it is typed."""
    return str(client.base_url).rstrip("/")


def ask(webui: httpx.Client, model: str, content: Any, **fields: Any) -> httpx.Response:
    """A question to Open WebUI's own API."""
    messages = [{"role": "system", "content": "简短"}, {"role": "user", "content": content}]
    body = {"model": model, "messages": messages, "stream": False, **fields}
    return webui.post("/api/chat/completions", json=body)


def chat_as_its_page_does(webui: httpx.Client, model: str, text: str) -> dict[str, Any]:
    """What is kept of a new chat once its answer, title, tags and suggestions are there."""
    question, answer = str(uuid.uuid4()), str(uuid.uuid4())
    body = {
        "stream": True,
        "model": model,
        "session_id": "page",
        "id": answer,
        "message_ids": [{"model_id": model, "message_id": answer, "modelIdx": 0}],
        "parent_id": None,
        "user_message": {
            "id": question,
            "parentId": None,
            "childrenIds": [answer],
            "role": "user",
            "content": text,
            "models": [model],
        },
        "background_tasks": {
            "title_generation": True,
            "tags_generation": True,
            "follow_up_generation": True,
        },
    }
    begun = webui.post("/api/chat/completions", json=body)
    assert begun.status_code == 200, begun.text
    kept: dict[str, Any] = {}

    def complete() -> bool:
        time.sleep(0.2)
        chat = webui.get(f"/api/v1/chats/{begun.json()['chat_id']}").json()
        message = chat["chat"]["history"]["messages"].get(answer, {})
        kept.update(message, title=chat["title"], tags=chat["meta"].get("tags"))
        return bool(message.get("error") or (message.get("followUps") and kept["tags"]))

    try:
        wait_until(complete, 60)
    except AssertionError as error:
        raise AssertionError(f"incomplete: {kept}") from error
    return kept


def test_open_webui(build_bot: Callable[..., Chatbot], tmp_path: Path) -> None:
    with serving(build_bot(options=LONG), [KEY]) as client, open_webui(address_of(client), tmp_path) as webui:
        models = {model["id"]: model["owned_by"] for model in webui.get("/api/models").json()["data"]}
        assert models.items() >= {OPENAI: "openai", OLLAMA: "ollama"}.items()
        address = address_of(client)
        for path, url in (("/openai/verify", f"{address}/v1"), ("/ollama/verify", address)):
            assert webui.post(path, json={"url": url, "key": KEY}).status_code == 200
            assert webui.post(path, json={"url": url, "key": "wrong"}).status_code != 200

        for model in (OPENAI, OLLAMA):
            whole = ask(webui, model, "你好吗").json()
            (choice,) = whole["choices"]
            assert (choice["message"]["content"], choice["finish_reason"]) == ("你好吗", "stop")
            assert whole["usage"]["completion_tokens"] == 3
            cut = ask(webui, model, "你好吗", params={"max_tokens": 2, "temperature": 0.5, "seed": 1}).json()
            assert cut["choices"][0]["message"]["content"] == "你好"
            assert cut["choices"][0]["finish_reason"] == "length"

            stream = ask(webui, model, "你好吗", stream=True)
            assert stream.headers["content-type"].startswith("text/event-stream")
            *events, last = [line[6:] for line in stream.text.splitlines() if line.startswith("data: ")]
            choices = [choice for event in events for choice in json.loads(event)["choices"]]
            assert "".join(choice["delta"].get("content") or "" for choice in choices) == "你好吗"
            assert (choices[-1]["finish_reason"], last) == ("stop", "[DONE]")

            picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}
            refused = ask(webui, model, [{"type": "text", "text": "看"}, picture])
            assert (refused.status_code, "messages[1]" in refused.text) == (400, True)

            kept = chat_as_its_page_does(webui, model, "你好吗")
            assert (kept["content"], kept["title"]) == ("你好吗", "关于你好吗")
            assert (kept["tags"], kept["followUps"]) == (["问候"], ["还好吗"])
