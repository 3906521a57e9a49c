"""Starting and stopping the server: greeting, keys, addresses, missing packages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
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


@pytest.mark.parametrize("key", ["", "geheim"], ids=["open", "key"])
def test_a_server_that_anybody_can_ask_warns_at_each_start(model_folder: Path, key: str) -> None:
    environment = {**os.environ, "SMOLCHAT_API_KEY": key}
    command = call("serve", model_folder, host="0.0.0.0", port=0, allow_open=True)
    pipe = subprocess.PIPE
    for _ in range(1 if key else 2):
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
            assert process.stdout
            assert process.stderr
            assert [process.stdout.readline() for _ in range(3)][-1].startswith("curl ")
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert ("anybody who reaches 0.0.0.0 can ask" in process.stderr.read()) == (not key)


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
