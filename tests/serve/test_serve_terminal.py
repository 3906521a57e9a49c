"""The terminal chat: through a real process with a pipe, and its conversation with typed lines."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from serve_fixtures import ScriptedDecoder, wait_until

from smolchat_fast.errors import DataError
from smolchat_fast.serve.options import DecodeOptions, ServeOptions
from smolchat_fast.serve.server import listen, read_keys, run
from smolchat_fast.serve.session import Chatbot, Session
from smolchat_fast.serve.terminal import answer_lines, converse

BuildBot = Callable[..., Chatbot]


def typed(*lines: str | type[BaseException]) -> Callable[[], str]:
    """What a user types, or the key they press instead."""
    left: Iterator[str | type[BaseException]] = iter(lines)

    def ask() -> str:
        line = next(left)
        if isinstance(line, str):
            return line
        raise line

    return ask


def talk(bot: Chatbot, *lines: str | type[BaseException]) -> str:
    out = io.StringIO()
    converse(Session(bot), typed(*lines), out)
    return out.getvalue()


def test_a_conversation_answers_and_ends_in_each_way(build_bot: BuildBot) -> None:
    bot = build_bot()
    assert talk(bot, "你好", "", "//x", EOFError) == "你好\n/x\n"
    assert talk(bot, "a", "/exit") == "a\n"
    assert talk(bot, KeyboardInterrupt, "a", KeyboardInterrupt, KeyboardInterrupt).count("leaves") == 2


def test_commands_and_mistakes_are_told_apart(build_bot: BuildBot) -> None:
    shown = talk(build_bot(), "/help", "/nothing", "/clear", EOFError)
    assert "/exit" in shown
    assert "no command /nothing" in shown
    assert shown.endswith("\x1b[2J\x1b[H")


def test_earlier_turns_are_shown_to_the_model_until_cleared(build_bot: BuildBot) -> None:
    bot = build_bot(options=DecodeOptions(history_turns=1))
    assert (
        talk(bot, "一", "二", "三", "/clear", "四", EOFError).split("\x1b")[0]
        == "一\n一|一|二\n二|一|一|二|三\n"
    )
    assert talk(build_bot(), "一", "二", EOFError) == "一\n二\n"


def test_ctrl_c_stops_an_answer_and_a_second_one_leaves(
    build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    scripted.step_s = 0.01
    bot = build_bot()

    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            if text == "长":
                raise KeyboardInterrupt
            return super().write(text)

    out = Interrupted()
    converse(Session(bot), typed("长" * 200, KeyboardInterrupt), out)
    assert out.getvalue() == " [stopped]\n"
    wait_until(lambda: sum(bot.engine.load) == 0)
    assert scripted.steps < 50


def test_a_terminal_is_not_given_control_characters(build_bot: BuildBot) -> None:
    assert talk(build_bot(), "a\x1b]0;title\x07\u3000b", EOFError) == "a\ufffd]0;title\ufffd\u3000b\n"


def test_a_question_that_is_too_long_does_not_end_the_chat(build_bot: BuildBot) -> None:
    bot = build_bot(options=DecodeOptions(max_input_tokens=4))
    assert talk(bot, "一二三四", "一二三", EOFError) == (
        "the question has 5 tokens, this model takes 4. Shorten it.\n一二三\n"
    )


def test_lines_are_answered_in_order(build_bot: BuildBot) -> None:
    out = io.StringIO()
    answer_lines(Session(build_bot()), io.BytesIO("一\r\n\n /help\n二".encode()), out)
    assert out.getvalue() == "一\n\n/help\n二\n"


def test_a_line_that_cannot_be_asked_names_its_number(build_bot: BuildBot) -> None:
    with pytest.raises(DataError, match="line 2: byte 2 is not UTF-8"):
        answer_lines(Session(build_bot()), io.BytesIO(b"a\nb\xff\n"), io.StringIO())
    bot = build_bot(options=DecodeOptions(max_input_tokens=4))
    with pytest.raises(DataError, match="line 1: the question has 7 tokens"):
        answer_lines(Session(bot), io.BytesIO(b"abcdef"), io.StringIO())


def call(function: str, folder: Path, **options: object) -> list[str]:
    kind = {"chat": "ChatOptions", "serve": "ServeOptions"}[function]
    code = (
        "import sys, pathlib\n"
        f"from smolchat_fast.serve import {function}, {kind}\n"
        f"{function}(pathlib.Path(sys.argv[1]), {kind}(**{options!r}))\n"
    )
    return [sys.executable, "-c", code, str(folder)]


def test_a_piped_process_writes_answers_and_nothing_else(model_folder: Path) -> None:
    command = call("chat", model_folder, max_new_tokens=8)
    done = subprocess.run(
        command, input="你好\n\n你好\n".encode(), capture_output=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    first, empty, second, end = done.stdout.decode().split("\n")
    assert first == second != ""
    assert empty == end == ""
    assert done.stderr == b""


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
