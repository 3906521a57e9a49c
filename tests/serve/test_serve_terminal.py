"""The terminal chat: through a real process with a pipe, and its conversation with typed lines."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serve_fixtures import ScriptedDecoder, call, wait_until

from smolchat_fast.errors import DataError
from smolchat_fast.serve.options import DecodeOptions
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
