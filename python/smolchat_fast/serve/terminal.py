"""`chat`: a conversation on a terminal, or questions and answers through a pipe."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, get_type_hints

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from smolchat_fast.errors import DataError
from smolchat_fast.serve.answer import Answer, EngineError
from smolchat_fast.serve.options import ChatOptions, DecodeOptions
from smolchat_fast.serve.session import Message, PromptTooLongError
from smolchat_fast.serve.speaker import FIELDS, Speaker, open_speaker

BATCH = 16
"""Questions of `--lines` that are answered at the same time."""
QUOTES = '"""'
SETTABLE = (*FIELDS, "history_turns")


def run(model: str, text: str, options: ChatOptions) -> None:
    """See `smolchat_fast.serve.chat`."""
    talks = not text and not options.json and sys.stdin.isatty() and sys.stdout.isatty()
    if options.lines and text:
        raise ValueError("option lines = True: the questions come through a pipe, not as an argument")
    questions = [] if talks or options.lines else [read_question(text, sys.stdin.buffer)]
    speaker = open_speaker(model, options)
    try:
        if talks:
            print(f"{speaker.about}\n/help for help; {_memory(speaker, options)}", flush=True)
            editor: PromptSession[str] = PromptSession(history=_history(options))
            Conversation(speaker, options, editor.prompt, sys.stdout).run()
        elif options.lines:
            answer_lines(speaker, options, sys.stdin.buffer, sys.stdout)
        else:
            answer_one(speaker, options, questions[0], sys.stdout)
    except EngineError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        speaker.close()


def _memory(speaker: Speaker, options: DecodeOptions) -> str:
    if speaker.remembers:
        return "earlier turns are sent along"
    return "earlier turns are remembered" if options.history_turns else "each question stands alone"


# Through a pipe.


def read_question(text: str, pipe: IO[bytes]) -> str:
    """The question of a single call: the argument, then what comes through a pipe.

    Raises:
        DataError: that is not UTF-8, or there is no question.
    """
    piped = "" if pipe.isatty() else _decoded(pipe.read(), "standard input")
    question = "\n".join(part for part in (text, piped.rstrip("\r\n")) if part.strip())
    if not question:
        raise DataError("standard input: holds no question")
    return question


def _decoded(data: bytes, where: str, before: int = 0) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {before + error.start + 1} is not UTF-8") from error


def answer_one(speaker: Speaker, options: ChatOptions, question: str, out: IO[str]) -> None:
    """Write one reply and a line end; nothing else.

    Raises:
        DataError: the question is too long.
        EngineError: the answer failed.
    """
    try:
        asked = _Asked(speaker.ask([Message("user", question)], options))
    except PromptTooLongError as error:
        raise DataError(str(error)) from error
    if options.json:
        print(asked.as_json(), file=out, flush=True)
        return
    for piece in asked.answer:
        out.write(piece)
        out.flush()
    print(file=out, flush=True)


def answer_lines(speaker: Speaker, options: ChatOptions, lines: IO[bytes], out: IO[str]) -> None:
    """Write a reply of one line for every line, in order, many being answered at a time.

    An empty line gives an empty line, or an empty reply as JSON.

    Raises:
        DataError: a line is not UTF-8 or too long for the model.
        EngineError: an answer failed.
    """
    under_way: deque[_Asked | None] = deque()

    def write() -> None:
        asked = under_way.popleft()
        if options.json:
            print(asked.as_json() if asked else _json("", None), file=out, flush=True)
        else:
            print(" ".join(asked.text().split("\n")) if asked else "", file=out, flush=True)

    for asked in _asked(speaker, options, lines):
        under_way.append(asked)
        if len(under_way) >= BATCH:
            write()
    while under_way:
        write()


def _asked(speaker: Speaker, options: ChatOptions, lines: IO[bytes]) -> Iterator[_Asked | None]:
    before = 0
    for number, line in enumerate(lines, 1):
        where = f"standard input, line {number}"
        question = _decoded(line, where, before).strip()
        before += len(line)
        try:
            yield _Asked(speaker.ask([Message("user", question)], options)) if question else None
        except PromptTooLongError as error:
            raise DataError(f"{where}: {error}") from error


class _Asked:
    """An answer under way, and since when."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self._began = answer, time.monotonic()

    def text(self) -> str:
        return "".join(self.answer)

    def as_json(self) -> str:
        text = self.text()
        return _json(text, self.answer, time.monotonic() - self._began)


def _json(text: str, answer: Answer | None, seconds: float = 0.0) -> str:
    prompt = answer.prompt_tokens if answer else 0
    completion = answer.finish.completion_tokens if answer else 0
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    reason = answer.finish.reason if answer else "stop"
    reply = {"response": text, "finish_reason": reason, "usage": usage, "seconds": round(seconds, 3)}
    return json.dumps(reply, ensure_ascii=False)


# On a terminal.


@dataclass
class _Stats:
    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    first_s: float = 0.0


class Conversation:
    """A person talks to a model.

    Args:
        speaker: What answers.
        options: How; `/set` changes a copy.
        read: Shows a prompt and returns what is typed; raises EOFError or KeyboardInterrupt as `input` does.
        out: Where answers go.
    """

    def __init__(
        self, speaker: Speaker, options: DecodeOptions, read: Callable[[str], str], out: IO[str]
    ) -> None:
        self._speaker, self._options, self._read, self._out = speaker, options, read, out
        self._messages: list[Message] = []
        self._stats = _Stats()
        self._commands: dict[str, tuple[str, str, Callable[[str], object]]] = {
            "/help": ("", "this list", self._help),
            "/clear": ("", "forget the conversation and clear the screen", self._clear),
            "/system": ("[TEXT]", "put TEXT before every question; without TEXT, none", self._system),
            "/set": ("NAME VALUE", f"one of {', '.join(SETTABLE)}", self._set),
            "/show": ("", "what is set", self._show),
            "/retry": ("", "answer the last question again", self._retry),
            "/undo": ("", "forget the last question and its answer", self._undo),
            "/save": ("FILE", "write the conversation as JSON", self._save),
            "/load": ("FILE", "go on with a saved one", self._load),
            "/multi": ("", f"type several lines, {QUOTES} on the last one", self._multi),
            "/edit": ("", "write the question in $EDITOR", self._edit),
            "/stats": ("", "tokens and times", self._show_stats),
            "/exit": ("", "leave (also Ctrl+D)", lambda _: None),
        }

    def run(self) -> None:
        """Talk until the user leaves."""
        hinted = False
        while True:
            try:
                typed = self._read("> ").strip()
                hinted = False
                if typed == "/exit":
                    return
                self._take(typed)
            except EOFError:
                return
            except KeyboardInterrupt:
                if hinted:
                    return
                hinted = True
                self._say("Ctrl+C again, or Ctrl+D, leaves")
            except (OSError, ValueError) as error:
                # What was typed cannot be done; the conversation goes on.
                self._say(str(error))

    def _take(self, typed: str) -> None:
        if typed.startswith(QUOTES):
            typed = self._lines(typed.removeprefix(QUOTES))
        elif typed.startswith("//"):
            typed = typed[1:]
        elif typed.startswith("/"):
            name, _, rest = typed.partition(" ")
            if name not in self._commands:
                raise ValueError(f"no command {name}; /help lists them, // asks a question with a slash")
            self._commands[name][2](rest.strip())
            return
        if typed.strip():
            self._ask(typed)

    def _ask(self, question: str) -> None:
        """Stream one answer; Ctrl+C keeps what came of it."""
        asked = [*self._messages, Message("user", question)]
        answer = self._speaker.ask(asked, self._options)
        text, began, first = "", time.monotonic(), 0.0
        try:
            for piece in answer:
                first = first or time.monotonic() - began
                text += piece
                self._out.write(_printable(piece))
                self._out.flush()
        except KeyboardInterrupt:
            answer.cancel()
            self._out.write(self._dim(" [stopped]"))
        except EngineError as error:
            self._out.write(self._dim(f"\n[{error}]" if text else f"[{error}]"))
            if not text:
                asked = []
        print(file=self._out, flush=True)
        if asked:
            self._messages = [*asked, Message("assistant", text)]
        self._stats.answers += 1
        self._stats.tokens += answer.finish.completion_tokens if answer.ended and asked and text else 0
        self._stats.seconds += time.monotonic() - began
        self._stats.first_s = first

    def _say(self, text: str) -> None:
        print(self._dim(text), file=self._out, flush=True)

    def _dim(self, text: str) -> str:
        return f"\x1b[2m{text}\x1b[0m" if _has_colours(self._out) else text

    # Commands.

    def _help(self, _: str) -> None:
        for name, (arguments, text, _act) in self._commands.items():
            print(f"{f'{name} {arguments}':<18} {text}", file=self._out)
        print(f"{f'{QUOTES}TEXT':<18} a question of several lines, up to the next {QUOTES}", file=self._out)
        print(f"{'//TEXT':<18} ask TEXT with one slash in front", file=self._out)
        print("Ctrl+C stops an answer; at the prompt, twice leaves.", file=self._out, flush=True)

    def _clear(self, _: str) -> None:
        self._messages = []
        if os.environ.get("TERM") != "dumb":
            print("\x1b[2J\x1b[H", end="", file=self._out, flush=True)

    def _system(self, text: str) -> None:
        self._options = replace(self._options, system=text)
        self._say(f"system: {text or '(none)'}")

    def _set(self, rest: str) -> None:
        name, _, value = rest.partition(" ")
        if name not in SETTABLE or not value.strip():
            raise ValueError(f"/set NAME VALUE, where NAME is one of {', '.join(SETTABLE)}")
        self._options = replace(self._options, **{name: _value(name, value.strip())})
        self._say(f"{name} = {getattr(self._options, name)}")

    def _show(self, _: str) -> None:
        for name in ("system", *SETTABLE):
            value = getattr(self._options, name)
            self._say(f"{name} = {'(as the model has it)' if value is None else value}")

    def _retry(self, _: str) -> None:
        self._ask(self._forget_last())

    def _undo(self, _: str) -> None:
        self._say(f"forgotten: {self._forget_last()}")

    def _forget_last(self) -> str:
        if not self._messages:
            raise ValueError("nothing was asked yet")
        question = self._messages[-2].content
        self._messages = self._messages[:-2]
        return question

    def _save(self, file: str) -> None:
        data = {"system": self._options.system, "messages": [asdict(each) for each in self._messages]}
        path = _file(file)
        path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", "utf-8")
        self._say(f"{len(self._messages)} messages to {path}")

    def _load(self, file: str) -> None:
        path = _file(file)
        try:
            data = json.loads(path.read_text("utf-8"))
            messages = [Message(each["role"], each["content"]) for each in data["messages"]]
            system = data.get("system", "")
            whole = [each.role for each in messages] == ["user", "assistant"] * (len(messages) // 2)
            if not (
                whole and all(isinstance(text, str) for text in [system, *(m.content for m in messages)])
            ):
                raise ValueError("not questions and answers in turn")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: is no saved conversation: {error}") from error
        self._messages, self._options = messages, replace(self._options, system=system)
        self._say(f"{len(messages)} messages from {path}")

    def _multi(self, _: str) -> None:
        if (question := self._lines("")).strip():
            self._ask(question)

    def _lines(self, first: str) -> str:
        """Lines up to one that ends with three quotes."""
        lines = [first]
        while not lines[-1].rstrip().endswith(QUOTES):
            lines.append(self._read("... "))
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        return "\n".join(lines).strip("\n")

    def _edit(self, _: str) -> None:
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "question.txt"
            path.touch(mode=0o600)
            if subprocess.run([*shlex.split(editor), str(path)], check=False).returncode:
                raise ValueError(f"{editor} ended with an error; nothing is asked")
            question = path.read_text("utf-8").strip()
        if question:
            self._say(question)
            self._ask(question)

    def _show_stats(self, _: str) -> None:
        stats = self._stats
        rate = stats.tokens / stats.seconds if stats.seconds else 0.0
        self._say(
            f"{stats.answers} answers, {stats.tokens} tokens, {rate:.0f} tokens/s; "
            f"the last one's first token after {stats.first_s * 1e3:.0f} ms"
        )


def _value(name: str, text: str) -> Any:
    """A typed value as its option has it; `none` for the model's own."""
    hint = str(get_type_hints(DecodeOptions)[name])
    if text.lower() == "none" and "None" in hint:
        return None
    if name == "preset":
        return text
    try:
        return float(text) if "float" in hint else int(text)
    except ValueError:
        raise ValueError(
            f"{name}: {text!r} is no {'number' if 'float' in hint else 'whole number'}"
        ) from None


def _file(name: str) -> Path:
    if not name:
        raise ValueError("which FILE?")
    return Path(name).expanduser()


def _has_colours(out: IO[str]) -> bool:
    """As https://no-color.org has it."""
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _printable(text: str) -> str:
    """Text without control characters, which could repaint or rename the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def _history(options: ChatOptions) -> History:
    if not options.history:
        return InMemoryHistory()
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "smolchat-fast" / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError:
        # A home that cannot be written costs the history, not the chat.
        return InMemoryHistory()
    return FileHistory(str(path))
