"""Talk to a model: in the terminal, over HTTP as OpenAI's clients do, and in a web page.

>>> from smolchat_fast.serve import ServeOptions
>>> ServeOptions().port
8812
"""

from __future__ import annotations

from pathlib import Path

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import MissingExtraError
from smolchat_fast.serve.options import ChatOptions, DecodeOptions, OptionError, ServeOptions

__all__ = ["ChatOptions", "DecodeOptions", "OptionError", "ServeOptions", "chat", "serve"]


def chat(model: str, text: str = "", options: ChatOptions = ChatOptions()) -> None:
    """Talk to a model in the terminal.

    On a terminal, `/help` tells what can be typed; Ctrl+C stops an answer, Ctrl+D leaves. With a text, or
    from a pipe, one question is answered: the text, then what comes through the pipe. Nothing but the reply
    goes to standard output.

    Args:
        model: Folder with the model and its tokenizer, or the address of a server (http://...), whose key
            comes from the environment variable SMOLCHAT_API_KEY.
        text: A question; without it, and on a terminal, a conversation begins.
        options: How answers are made.
    Raises:
        DataError: the folder is no model, or the input is not UTF-8.
        ValueError: options that do not go together.
        SystemExit: with status 1: an answer failed.
        MissingExtraError: a package is not installed.
    """
    try:
        from smolchat_fast.serve import terminal
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    terminal.run(str(model), text, options)


@arguments
def serve(model: Path, options: ServeOptions = ServeOptions()) -> None:
    """Answer over HTTP: OpenAI's chat completions, /api/chat and a chat page, until stopped.

    Ctrl+C lets the answers under way finish, a second one does not. The key comes from the environment
    variable SMOLCHAT_API_KEY or from a file; without one, only this machine can connect.

    Args:
        model: Folder with the model and its tokenizer.
        options: Where to listen, what to take on, how answers are made.
    Raises:
        DataError: the folder is no model.
        ValueError: an address of the network is asked for without a key, or a key file is unsafe.
        OSError: the port is taken.
        MissingExtraError: a package is not installed.
    """
    try:
        from smolchat_fast.serve import server
    except ModuleNotFoundError as error:
        raise _missing(error) from error
    server.run(model, options)


def _missing(error: ModuleNotFoundError) -> ImportError:
    # A missing module of our own is a defect and must not look like a missing extra.
    if (error.name or "").startswith("smolchat_fast"):
        return error
    return MissingExtraError(f"{error.name} is not installed: pip install 'smolchat-fast[serve]'")
