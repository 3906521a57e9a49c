"""Starting and stopping the server: greeting, keys, addresses, missing packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from serve_fixtures import call

from smolchat_fast.serve.options import ServeOptions
from smolchat_fast.serve.server import listen, read_keys, run


def test_a_server_process_greets_with_a_curl_that_works_and_ends_well_when_told(model_folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SMOLCHAT_API_KEY"}
    command = call("serve", model_folder, port=0, max_new_tokens=8, model_name="小")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=environment
    ) as process:
        assert process.stdout
        assert process.stderr
        model, address, curl = (process.stdout.readline() for _ in range(3))
        assert "M parameters" in model
        assert "/v1  (model 小; chat page: http://127.0.0.1:" in address
        url, body = curl.split()[1], curl[curl.index(" -d ") + 4 :].strip().strip("'")
        with httpx.Client(trust_env=False, timeout=30) as client:
            answer = client.post(url, json=json.loads(body)).json()
        assert answer["choices"][0]["finish_reason"] in {"stop", "length"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "POST /v1/chat/completions 200" in process.stderr.read()


def test_other_addresses_need_a_key(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMOLCHAT_API_KEY", raising=False)
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ValueError, match="a key is needed"):
            run(model_folder, ServeOptions(host=host))


@contextmanager
def serving_all(model_folder: Path, key: str, **options: object) -> Iterator[tuple[str, list[str]]]:
    """A process that listens on all addresses: where, and what it has logged once it has ended."""
    command = call("serve", model_folder, host="0.0.0.0", port=0, **options)
    environment, pipe = {**os.environ, "SMOLCHAT_API_KEY": key}, subprocess.PIPE
    log: list[str] = []
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stdout
        assert process.stderr
        curl = [process.stdout.readline() for _ in range(3)][-1].split()
        try:
            yield curl[1].removesuffix("/v1/chat/completions"), log
        finally:
            process.send_signal(signal.SIGTERM)
            log += process.stderr.readlines()
        assert process.wait(20) == 0


@pytest.mark.parametrize("key", ["", "geheim"], ids=["open", "key"])
def test_a_server_that_anybody_can_ask_warns_at_each_start(model_folder: Path, key: str) -> None:
    for _ in range(1 if key else 2):
        with serving_all(model_folder, key, allow_open=True) as (_, log):
            pass
        assert any("anybody who reaches 0.0.0.0 can ask" in line for line in log) == (not key)


@pytest.mark.parametrize("key", ["", "geheim"], ids=["open", "key"])
def test_a_server_for_others_is_called_by_any_name(model_folder: Path, key: str) -> None:
    with serving_all(model_folder, key, allow_open=not key) as (address, _):
        for host in ("192.168.1.5:8000", "chat.lan", "[fe80::1]:80"):
            with httpx.Client(base_url=address, headers={"host": host}, trust_env=False) as client:
                assert client.get("/").status_code == client.get("/healthz").status_code == 200
                # A page of another's that points its own name here has no key.
                page = {"origin": f"http://{host}"}
                assert client.get("/v1/models", headers=page).status_code == (401 if key else 200)
                page["authorization"] = f"Bearer {key or 'any'}"
                assert client.get("/v1/models", headers=page).status_code == 200


def test_keys_come_from_the_environment_and_a_private_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOLCHAT_API_KEY", " one ")
    path = tmp_path / "keys"
    path.write_text("two\n\n three \n")
    path.chmod(0o644)
    options = ServeOptions(api_key_file=path)
    with pytest.raises(ValueError, match="chmod 600"):
        read_keys(options)
    path.chmod(0o600)
    assert read_keys(options) == ["one", "two", "three"]
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no key"):
        read_keys(options)
    assert not any("api_key" in name and "file" not in name for name in ServeOptions.__dataclass_fields__)


def test_a_taken_port_is_one_clear_error() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)


def test_the_options_need_no_torch_and_a_missing_package_is_named() -> None:
    code = (
        "import sys, pathlib\n"
        "from smolchat_fast.errors import MissingExtraError\n"
        "from smolchat_fast.serve import ServeOptions, chat, serve\n"
        "sys.modules['uvicorn'] = sys.modules['prompt_toolkit'] = None\n"
        "for function in chat, serve:\n"
        "    try: function(pathlib.Path('x'))\n"
        "    except MissingExtraError as error: print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    hint = "is not installed: pip install 'smolchat-fast[serve]'"
    assert done.stdout.splitlines() == [f"prompt_toolkit {hint}", f"uvicorn {hint}", "False"]
