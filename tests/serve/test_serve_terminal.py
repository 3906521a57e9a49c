"""The terminal chat: its conversation with typed lines, its pipes, and a real process on a pseudo-terminal."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from serve_fixtures import ScriptedDecoder, serving, wait_until

from smolchat_fast.errors import DataError
from smolchat_fast.serve.answer import Answer, EngineError
from smolchat_fast.serve.engine import Limits
from smolchat_fast.serve.options import ChatOptions, DecodeOptions
from smolchat_fast.serve.session import Chatbot, Message, build_prompt
from smolchat_fast.serve.speaker import RemoteModel, open_speaker
from smolchat_fast.serve.terminal import Conversation, answer_lines, answer_one, read_question

BuildBot = Callable[..., Chatbot]


class Parrot:
    """A speaker on the scripted decoder."""

    about, remembers = "parrot", False

    def __init__(self, bot: Chatbot) -> None:
        self.bot = bot

    def ask(self, messages: Sequence[Message], options: DecodeOptions) -> Answer:
        prompt = build_prompt(messages, self.bot.tokens, options)
        return self.bot.engine.submit(prompt.ids, options.decoding(self.bot.decoding))

    def close(self) -> None:
        pass


@pytest.fixture
def parrot(build_bot: BuildBot) -> Parrot:
    return Parrot(build_bot())


def typed(*lines: str | type[BaseException]) -> Callable[[str], str]:
    """What a user types, or the key they press instead."""
    left: Iterator[str | type[BaseException]] = iter([*lines, EOFError])

    def read(_: str) -> str:
        line = next(left)
        if isinstance(line, str):
            return line
        raise line

    return read


def talk(parrot: Parrot, *lines: str | type[BaseException], **options: Any) -> str:
    out = io.StringIO()
    Conversation(parrot, DecodeOptions(**options), typed(*lines), out).run()
    return out.getvalue()


def test_a_conversation_answers_and_ends_in_each_way(parrot: Parrot) -> None:
    assert talk(parrot, "你好", "", "//x") == "你好\n/x\n"
    assert talk(parrot, "a", "/exit", "b") == "a\n"
    assert (
        talk(parrot, KeyboardInterrupt, "a", KeyboardInterrupt, KeyboardInterrupt, "b").count("leaves") == 2
    )


def test_commands_and_mistakes_are_told_apart(parrot: Parrot) -> None:
    shown = talk(parrot, "/help", "/nothing", "/clear")
    commands = "/help /clear /system /set /show /retry /undo /save /load /multi /edit /stats /exit"
    assert all(f"\n{name} " in f"\n{shown}" for name in commands.split())
    assert "no command /nothing" in shown
    assert shown.endswith("\x1b[2J\x1b[H")


def test_earlier_turns_are_shown_to_the_model_until_cleared_or_undone(parrot: Parrot) -> None:
    shown = talk(parrot, "一", "二", "三", "/clear", "四", history_turns=1)
    assert shown.split("\x1b")[0] == "一\n一|一|二\n二|一|一|二|三\n"
    assert talk(parrot, "一", "二") == "一\n二\n"
    assert talk(parrot, "一", "二", "/undo", "三", history_turns=1).endswith("forgotten: 二\n一|一|三\n")
    assert talk(parrot, "一", "二", "/retry", history_turns=1) == "一\n一|一|二\n一|一|二\n"
    assert "nothing was asked yet" in talk(parrot, "/undo", "/retry")


def test_settings_change_the_answers_and_are_shown(parrot: Parrot) -> None:
    shown = talk(
        parrot, "/set max_new_tokens 2", "一二三", "/system 简短", "/set history_turns 1", "四", "/show"
    )
    assert "max_new_tokens = 2\n一二\n" in shown
    assert "\n简短\n" in shown
    assert "system = 简短\n" in shown
    assert "temperature = (as the model has it)" in shown
    for wrong in (
        "/set",
        "/set colour 1",
        "/set temperature hot",
        "/set temperature 3",
        "/set top_k 1.5",
        "/set preset x",
    ):
        assert not talk(parrot, wrong, "好").startswith("好")
    assert talk(parrot, "/set seed 7", "/set seed none", "/show").count("seed = (as the model has it)") == 1


def test_a_conversation_is_saved_and_gone_on_with(parrot: Parrot, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk(parrot, "/system 系", "一", f"/save {path}", history_turns=1)
    assert talk(parrot, f"/load {path}", "二", history_turns=1).endswith("系|一|系|一|二\n")
    before = path.read_text()
    for broken in (
        "{",
        "[]",
        '{"messages": [{"role": "user", "content": 1}]}',
        '{"messages": [{"role": "user", "content": "a"}]}',
    ):
        path.write_text(broken)
        assert "is no saved conversation" in talk(parrot, f"/load {path}")
    assert "系" in before
    assert "No such file" in talk(parrot, f"/load {tmp_path / 'none'}", "/save")


def test_several_lines_are_one_question(parrot: Parrot) -> None:
    assert talk(parrot, '"""一', "", '二"""') == "一\n\n二\n"
    assert talk(parrot, '"""一"""') == "一\n"
    assert talk(parrot, "/multi", "一", "/help", '"""') == "一\n/help\n"
    assert "leaves" in talk(parrot, '"""一', KeyboardInterrupt)


def test_a_question_is_written_in_an_editor(
    parrot: Parrot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys; open(sys.argv[1], 'w', encoding='utf-8').write('一\\n二\\n')")
    monkeypatch.setenv("VISUAL", f"{sys.executable} {editor}")
    assert talk(parrot, "/edit").endswith("一\n二\n")
    monkeypatch.setenv("VISUAL", "false")
    assert "nothing is asked" in talk(parrot, "/edit")


def test_stats_count_tokens(parrot: Parrot) -> None:
    assert "2 answers, 5 tokens" in talk(parrot, "一二", "三四五", "/stats")


def test_ctrl_c_stops_an_answer_and_keeps_what_came(parrot: Parrot, scripted: ScriptedDecoder) -> None:
    scripted.step_s = 0.01

    class Interrupted(io.StringIO):
        def write(self, text: str) -> int:
            if text == "长" and self.getvalue().count("长") == 3:
                raise KeyboardInterrupt
            return super().write(text)

    out = Interrupted()
    Conversation(parrot, DecodeOptions(), typed("长" * 200, "/undo", "好"), out).run()
    assert out.getvalue() == f"长长长 [stopped]\nforgotten: {'长' * 200}\n好\n"
    wait_until(lambda: sum(parrot.bot.engine.load) == 0)
    assert scripted.steps < 50


def test_a_failed_answer_does_not_end_the_chat(parrot: Parrot, scripted: ScriptedDecoder) -> None:
    scripted.fail = True
    assert "[the answer broke off" in talk(parrot, "a")
    scripted.fail = False
    assert talk(parrot, "b") == "b\n"


def test_a_terminal_is_not_given_control_characters(parrot: Parrot) -> None:
    assert talk(parrot, "a\x1b]0;title\x07\u3000b") == "a\ufffd]0;title\ufffd\u3000b\n"


def test_a_question_that_is_too_long_does_not_end_the_chat(parrot: Parrot) -> None:
    shown = talk(parrot, "一二三四", "一二三", max_input_tokens=4)
    assert shown == "the question has 5 tokens, this model takes 4. Shorten it.\n一二三\n"


def replies(parrot: Parrot, lines: str | bytes, **options: Any) -> str:
    out = io.StringIO()
    data = lines.encode() if isinstance(lines, str) else lines
    answer_lines(parrot, ChatOptions(**options), io.BytesIO(data), out)
    return out.getvalue()


def test_lines_are_answered_in_order_and_many_at_a_time(parrot: Parrot, scripted: ScriptedDecoder) -> None:
    assert replies(parrot, "一\r\n\n /help\n二") == "一\n\n/help\n二\n"
    before = scripted.steps
    lines = [f"{'长' * (40 - i)}{i}" for i in range(40)]
    assert replies(parrot, "\n".join(lines)).splitlines() == lines
    assert scripted.steps - before < sum(map(len, lines)) / 4


def test_replies_as_json_hold_their_usage(parrot: Parrot) -> None:
    first, empty = map(json.loads, replies(parrot, "一二三\n\n", json=True, max_new_tokens=2).splitlines())
    assert first.pop("seconds") >= 0
    assert first == {
        "response": "一二",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6},
    }
    assert empty["response"] == ""
    out = io.StringIO()
    answer_one(parrot, ChatOptions(json=True), "一\n二", out)
    assert json.loads(out.getvalue())["response"] == "一\n二"


def test_what_cannot_be_asked_names_its_place(parrot: Parrot) -> None:
    with pytest.raises(DataError, match="line 2: byte 5 is not UTF-8"):
        replies(parrot, b"a\nbc\xff\n")
    with pytest.raises(DataError, match="line 1: the question has 7 tokens"):
        replies(parrot, "abcdef", max_input_tokens=4)
    with pytest.raises(DataError, match=r"^the question has 7 tokens"):
        answer_one(parrot, ChatOptions(max_input_tokens=4), "abcdef", io.StringIO())
    with pytest.raises(DataError, match="standard input: byte 4 is not UTF-8"):
        read_question("", io.BytesIO("一".encode() + b"\xff"))
    with pytest.raises(DataError, match="holds no question"):
        read_question("", io.BytesIO(b" \n"))


def test_an_argument_and_a_pipe_are_joined() -> None:
    assert read_question("翻译", io.BytesIO("你好\n".encode())) == "翻译\n你好"
    assert read_question("翻译", io.BytesIO(b"")) == "翻译"


def test_a_server_is_talked_to_as_a_model_is(
    build_bot: BuildBot, scripted: ScriptedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMOLCHAT_API_KEY", "geheim")
    with serving(build_bot(Limits(max_running=4)), ["geheim"]) as client:
        address = str(client.base_url)
        speaker = open_speaker(address, ChatOptions())
        assert "parrot at http://127.0.0.1" in speaker.about
        assert (
            talk(speaker, "/set max_new_tokens 2", "一二三", "/stats").count("一二\n1 answers, 2 tokens") == 1
        )  # type: ignore[arg-type]
        lines = [f"问{i}" for i in range(20)]
        # 20 questions, 4 at a time: some wait, none is lost.
        assert replies(speaker, "\n".join(lines)).splitlines() == lines  # type: ignore[arg-type]
        scripted.step_s = 0.02
        answer = speaker.ask([Message("user", "长" * 300)], ChatOptions())
        next(iter(answer))
        answer.cancel()
        scripted.step_s = 0.01
        wait_until(lambda: client.get("/health").json()["running"] == 0)
        with pytest.raises(EngineError, match="601 tokens"):
            list(speaker.ask([Message("user", "长" * 600)], ChatOptions()))
        with pytest.raises(OSError, match="a key is needed"):
            RemoteModel(address, "wrong")
    with pytest.raises(OSError, match="no server of models answers there"):
        open_speaker(address, ChatOptions())
    with pytest.raises(OSError, match="no server of models answers there: nonnumeric port"):
        open_speaker("http://127.0.0.1:port", ChatOptions())


class BrokenOff(BaseHTTPRequestHandler):
    """A server that is killed within an answer's chunk, before its status line, or was none from the start."""

    protocol_version = "HTTP/1.1"
    answer = b""

    def do_GET(self) -> None:
        self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"data": [{"id": "it"}]}')

    def do_POST(self) -> None:
        self.wfile.write(self.answer)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Write no log."""


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20\r\ndata: {", b"SSH-2.0\r\n", b""],
    ids=["in a chunk", "no HTTP", "nothing"],
)
def test_a_server_that_breaks_off_ends_the_answer_with_an_error(
    begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BrokenOff, "answer", begun)
    with HTTPServer(("127.0.0.1", 0), BrokenOff) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        speaker = open_speaker(f"http://127.0.0.1:{server.server_port}", ChatOptions())
        answer = speaker.ask([Message("user", "a")], ChatOptions())
        wait_until(lambda: answer.ended, 20)
        with pytest.raises(EngineError, match=r"broke off|cannot be reached or understood"):
            list(answer)
        server.shutdown()


# A real process.


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "smolchat_fast", "chat", *arguments]


@pytest.fixture(scope="module")
def pexpect() -> Any:
    return pytest.importorskip("pexpect")


@pytest.fixture
def address(build_bot: BuildBot) -> Iterator[str]:
    """Of a server with the parrot: a process that talks to it starts without torch."""
    with serving(build_bot()) as client:
        yield str(client.base_url)


def test_a_piped_process_writes_the_reply_and_nothing_else(model_folder: Path, address: str) -> None:
    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(command(*arguments), input=given, capture_output=True, check=False, timeout=120)

    sampled = ("--max-new-tokens", "8", "--temperature", "0.9", "--seed", "3")
    lines = run(str(model_folder), *sampled, "--lines", given="你好\n你好\n".encode())
    assert (lines.returncode, lines.stderr) == (0, b"")
    first, second, end = lines.stdout.split(b"\n")
    assert first == second != end == b""
    joined = run(address, "翻译", given="你好\n".encode())
    assert (joined.returncode, joined.stdout, joined.stderr) == (0, "翻译\n你好\n".encode(), b"")
    wrong = run(address, given=b"\xff")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert b"byte 1 is not UTF-8" in wrong.stderr


class Screen:
    """What a person sees of a process on a pseudo-terminal of 40 columns.

    Args:
        pexpect: The module.
        model: A folder or an address.
        environment: Further variables.
        arguments: Of `chat`.
    """

    def __init__(self, pexpect: Any, model: str, environment: dict[str, str], *arguments: str) -> None:
        pyte = pytest.importorskip("pyte")
        self._screen = pyte.Screen(40, 24)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        environment = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment}
        self._pexpect = pexpect
        self.process = pexpect.spawn(
            sys.executable,
            ["-m", "smolchat_fast", "chat", model, *arguments],
            env=environment,
            dimensions=(24, 40),
            timeout=60,
        )

    def until(self, holds: Callable[[str], bool], seconds: float = 60) -> str:
        """Read on until the screen is as told."""

        def seen() -> bool:
            try:
                data = self.process.read_nonblocking(1 << 16, 0.02)
            except (self._pexpect.TIMEOUT, self._pexpect.EOF):
                data = b""
            self.raw += data
            self._stream.feed(data)
            if b"\x1b[6n" in data:  # where the cursor is, is asked of a terminal
                self.process.send(f"\x1b[{self._screen.cursor.y + 1};{self._screen.cursor.x + 1}R")
            return holds(self.text())

        wait_until(seen, seconds)
        return self.text()

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def last_line(self) -> str:
        return self.text().splitlines()[-1] if self.text() else ""


def test_a_line_editor_knows_how_wide_characters_are(pexpect: Any, address: str, tmp_path: Path) -> None:
    screen = Screen(pexpect, address, {"XDG_STATE_HOME": str(tmp_path)}, "--max-new-tokens", "200")
    screen.until(lambda text: text.endswith(">"))
    screen.process.send("你好吗")
    screen.until(lambda _: "你 好 吗" in screen.last_line() or "你好吗" in screen.last_line())
    screen.process.send("\x7f")
    screen.until(lambda _: "吗" not in screen.last_line() and "好" in screen.last_line())
    screen.process.send("\x7f\x7f")
    screen.until(lambda _: screen.last_line().strip() == ">")
    # 30 characters are 60 columns: two lines, all gone again.
    screen.process.send("长" * 30)
    screen.until(lambda text: text.count("长") == 30)
    screen.process.send("\x7f" * 30)
    screen.until(lambda text: "长" not in text)
    # Pasted lines are one question.
    screen.process.send("\x1b[200~/nothing\n第二行\x1b[201~")
    screen.until(lambda text: "第 二" in text or "第二" in text)
    screen.process.send("\r")
    shown = screen.until(lambda text: "no command" in text)
    assert shown.count("no command") == 1
    screen.process.send("\x03")
    # Before it asks anew, the terminal would take the end for itself.
    screen.until(lambda text: "Ctrl+C again" in text and text.endswith(">"))
    screen.process.sendeof()
    screen.process.expect(pexpect.EOF)
    screen.process.close()
    assert screen.process.exitstatus == 0
    history = tmp_path / "smolchat-fast" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "第二行" in history.read_text()


def test_ctrl_c_in_a_terminal_stops_the_reply_and_stays(
    pexpect: Any, address: str, scripted: ScriptedDecoder, tmp_path: Path
) -> None:
    scripted.step_s = 0.02
    environment = {"XDG_STATE_HOME": str(tmp_path), "NO_COLOR": "1", "TERM": "dumb"}
    screen = Screen(pexpect, address, environment, "--no-history")
    screen.until(lambda text: text.endswith(">"))
    screen.process.send("ab" * 200 + "\r")
    screen.until(lambda text: text.count("ab") > 210)
    screen.process.send("\x03")
    screen.until(lambda text: "[stopped]" in text.replace("\n", "") and text.endswith(">"))
    assert b"\x1b[2m" not in screen.raw
    assert b"Traceback" not in screen.raw
    screen.process.send("/exit\r")
    screen.process.expect(pexpect.EOF)
    screen.process.close()
    assert screen.process.exitstatus == 0
    assert not (tmp_path / "smolchat-fast").exists()


def test_an_interrupted_single_question_ends_with_130(
    pexpect: Any, address: str, scripted: ScriptedDecoder
) -> None:
    scripted.step_s = 0.02
    process = pexpect.spawn(sys.executable, command(address, "ab" * 200)[1:], timeout=60)
    process.expect("abab")
    process.sendintr()
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 130
    assert b"Traceback" not in process.before


def test_a_reader_of_the_pipe_that_leaves_ends_it_quietly(address: str) -> None:
    with subprocess.Popen(
        command(address, "--lines"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        process.stdin.write(b"a\n" * 100)
        process.stdin.close()
        assert process.stderr.read() == b""
        process.wait(60)


def test_an_answer_that_fails_ends_a_single_question_with_1(address: str, scripted: ScriptedDecoder) -> None:
    scripted.fail = True
    done = subprocess.run(command(address, "a"), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == "error: the answer broke off; the server's log says why\n"
