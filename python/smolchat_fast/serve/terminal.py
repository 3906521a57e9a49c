"""`chat`: a conversation on a terminal, or questions and answers through a pipe."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import IO

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from transformers.utils import logging as transformers_logging

from smolchat_fast.errors import DataError
from smolchat_fast.serve.answer import EngineError
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.loading import load
from smolchat_fast.serve.options import ChatOptions
from smolchat_fast.serve.session import Chatbot, PromptTooLongError, Session

HELP = """/help   this list
/clear  forget the conversation and clear the screen
/exit   leave (also Ctrl+D)
//TEXT  ask TEXT with one slash in front
Ctrl+C stops an answer; at the prompt, twice leaves."""

# A person at a terminal decides how long is too long, with Ctrl+C.
PATIENCE_S = 1e9


def run(model: Path, options: ChatOptions) -> None:
    """See `smolchat_fast.serve.chat`."""
    transformers_logging.disable_progress_bar()
    loaded = load(model, threads=options.threads, precision=options.precision, device=options.device)
    limits = Limits(max_running=1, timeout_s=PATIENCE_S, queue_timeout_s=PATIENCE_S)
    engine = Engine(loaded.decoder, limits)
    bot = Chatbot(loaded.name, engine, loaded.tokens, options, options.decoding(loaded.decoding))
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            turns = (
                "each question stands alone" if not options.history_turns else "earlier turns are remembered"
            )
            print(f"{loaded}\n/help for help; {turns}", flush=True)
            editor: PromptSession[str] = PromptSession(history=_history(options))
            converse(Session(bot), lambda: editor.prompt("> "), sys.stdout)
        else:
            answer_lines(Session(bot), sys.stdin.buffer, sys.stdout)
    finally:
        engine.close()


def converse(session: Session, ask: Callable[[], str], out: IO[str]) -> None:
    """Talk until the user leaves.

    Args:
        session: The conversation.
        ask: Returns what the user typed; raises EOFError or KeyboardInterrupt as `input` does.
        out: Where answers go.
    """
    stopped = False
    while True:
        try:
            typed = ask().strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            if stopped:
                return
            stopped = True
            print("Ctrl+C again, or Ctrl+D, leaves", file=out, flush=True)
            continue
        stopped = False
        if typed == "/exit":
            return
        if typed == "/help":
            print(HELP, file=out)
        elif typed == "/clear":
            session.clear()
            print("\x1b[2J\x1b[H", end="", file=out, flush=True)
        elif typed.startswith("/") and not typed.startswith("//"):
            print(
                f"no command {typed.split()[0]}; /help lists them, // asks a question with a slash", file=out
            )
        elif typed:
            stopped = _answer(session, typed[1:] if typed.startswith("//") else typed, out)


def answer_lines(session: Session, questions: IO[bytes], out: IO[str]) -> None:
    """Answer every line, in order; an empty line gives an empty line.

    Raises:
        DataError: a line is not UTF-8 or too long for the model.
    """
    for number, line in enumerate(questions, 1):
        try:
            question = line.decode("utf-8").strip()
            answer = session.ask(question) if question else ()
        except UnicodeDecodeError as error:
            raise DataError(f"standard input, line {number}: byte {error.start + 1} is not UTF-8") from error
        except PromptTooLongError as error:
            raise DataError(f"standard input, line {number}: {error}") from error
        text = "".join(answer)
        if question:
            session.remember(question, text)
        print(text, file=out, flush=True)


def _answer(session: Session, question: str, out: IO[str]) -> bool:
    """Stream one answer; True if the user stopped it."""
    try:
        answer = session.ask(question)
    except PromptTooLongError as error:
        print(error, file=out)
        return False
    text = ""
    stopped = False
    try:
        for piece in answer:
            text += piece
            out.write(_printable(piece))
            out.flush()
    except KeyboardInterrupt:
        answer.cancel()
        stopped = True
        out.write(" [stopped]")
    except EngineError as error:
        out.write(f"\n[{error}]")
    print(file=out, flush=True)
    session.remember(question, text)
    return stopped


def _printable(text: str) -> str:
    """Text without control characters, which could repaint or rename the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def _history(options: ChatOptions) -> History:
    if not options.save_history:
        return InMemoryHistory()
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "smolchat-fast" / "history"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    except OSError:
        # A home that cannot be written costs the history, not the chat.
        return InMemoryHistory()
    return FileHistory(str(path))
