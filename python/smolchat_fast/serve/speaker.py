"""What the terminal talks to: a model in this process, or a server."""

from __future__ import annotations

import http.client
import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from smolchat_fast.serve.answer import Answer, EngineError, Finish
from smolchat_fast.serve.guard import is_loopback
from smolchat_fast.serve.options import ChatOptions, DecodeOptions
from smolchat_fast.serve.session import Message, build_prompt

# A person at a terminal decides how long is too long, with Ctrl+C.
PATIENCE_S = 1e9
CONNECT_S = 10.0

UNREADABLE = (OSError, ValueError, LookupError, TypeError, http.client.HTTPException)
"""What is raised where no server is, one that is none of models, or one that breaks off."""


class Speaker(Protocol):
    """What answers."""

    about: str
    """One line for whoever begins to talk to it."""
    remembers: bool
    """Whether it may be shown earlier turns; if not, it says so itself."""

    def ask(self, messages: Sequence[Message], options: DecodeOptions) -> Answer:
        """Begin to answer the last message.

        Raises:
            PromptTooLongError: the question is too long.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


def open_speaker(model: str, options: ChatOptions) -> Speaker:
    """The server at an address, or the model in a folder.

    Raises:
        DataError: the folder is no model.
        OSError: the server cannot be reached or refuses.
    """
    if urlsplit(model).scheme in {"http", "https"}:
        return RemoteModel(model, os.environ.get("SMOLCHAT_API_KEY", "").strip())
    return LocalModel(Path(model), options)


class LocalModel:
    """A model in this process.

    Args:
        folder: Holds it.
        options: How it is loaded.
    """

    remembers = False

    def __init__(self, folder: Path, options: ChatOptions) -> None:
        # Imported here: whoever talks to a server need not wait for torch.
        from transformers.utils import logging as transformers_logging

        from smolchat_fast.serve.engine import Engine, Limits
        from smolchat_fast.serve.loading import load

        transformers_logging.disable_progress_bar()
        loaded = load(folder, threads=options.threads, precision=options.precision, device=options.device)
        self._tokens, self._decoding, self.about = loaded.tokens, loaded.decoding, str(loaded)
        limits = Limits(max_queue=1 << 20, timeout_s=PATIENCE_S, queue_timeout_s=PATIENCE_S)
        self._engine = Engine(loaded.decoder, limits)

    def ask(self, messages: Sequence[Message], options: DecodeOptions) -> Answer:
        """See `Speaker`."""
        prompt = build_prompt(messages, self._tokens, options)
        return self._engine.submit(prompt.ids, options.decoding(self._decoding))

    def close(self) -> None:
        """See `Speaker`."""
        self._engine.close()


# Options of ours by the names that requests have for them.
FIELDS = {
    "preset": "preset",
    "max_new_tokens": "max_tokens",
    "temperature": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "repetition_penalty",
    "no_repeat_ngram_size": "no_repeat_ngram_size",
    "num_beams": "num_beams",
    "seed": "seed",
}


class RemoteModel:
    """A server that speaks OpenAI's protocol.

    Args:
        address: With or without `/v1`.
        key: Sent if it is not empty.
    Raises:
        OSError: it cannot be reached or refuses.
    """

    remembers = True

    def __init__(self, address: str, key: str) -> None:
        address = address.rstrip("/")
        self._base = address if address.endswith("/v1") else f"{address}/v1"
        self._headers = {
            "content-type": "application/json",
            **({"authorization": f"Bearer {key}"} if key else {}),
        }
        # A proxy of the environment does not know this machine's own names.
        proxies: dict[str, str] | None = {} if is_loopback(urlsplit(address).hostname or "") else None
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler(proxies))
        try:
            with self._open("/models", None, CONNECT_S) as response:
                self._model = json.load(response)["data"][0]["id"]
        except urllib.error.HTTPError as error:
            raise OSError(f"{address}: {_told(error)}") from error
        except UNREADABLE as error:
            raise OSError(f"{address}: no server of models answers there: {error}") from error
        self.about = f"{self._model} at {address}"

    def _open(self, path: str, body: object, timeout: float) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._base}{path}", data, self._headers)
        return self._opener.open(request, timeout=timeout)

    def ask(self, messages: Sequence[Message], options: DecodeOptions) -> Answer:
        """See `Speaker`."""
        standard = DecodeOptions()
        said = [{"role": each.role, "content": each.content} for each in messages]
        if options.system:
            said.insert(0, {"role": "system", "content": options.system})
        body = {
            "model": self._model,
            "messages": said,
            "stream": True,
            "stream_options": {"include_usage": True},
            **{
                field: getattr(options, name)
                for name, field in FIELDS.items()
                if getattr(options, name) != getattr(standard, name)
            },
        }
        answer = Answer(0)
        threading.Thread(target=self._read, args=(body, answer), daemon=True).start()
        return answer

    def _read(self, body: object, answer: Answer) -> None:
        """Feed an answer from the server's events."""
        reason, tokens = None, 0
        try:
            with self._open("/chat/completions", body, PATIENCE_S / 1e3) as response:
                answer.start()
                for event in _events(response):
                    if answer.cancelled:
                        answer.end(Finish("cancelled", tokens))
                        return
                    if "error" in event:
                        raise EngineError(event["error"]["message"])
                    for choice in event["choices"]:
                        answer.put(choice["delta"].get("content") or "")
                        reason = choice["finish_reason"] or reason
                    if usage := event.get("usage"):
                        answer.prompt_tokens, tokens = usage["prompt_tokens"], usage["completion_tokens"]
            if reason is None:
                raise EngineError("the connection broke off before the answer was complete")
            answer.end(Finish("stop" if reason == "stop" else "length", tokens))
        except EngineError as error:
            answer.fail(error)
        except urllib.error.HTTPError as error:
            answer.fail(EngineError(_told(error)))
        except UNREADABLE as error:
            answer.fail(EngineError(f"the server cannot be reached or understood: {error}"))

    def close(self) -> None:
        """See `Speaker`."""


def _events(response: Any) -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
            yield json.loads(line[6:])


def _told(error: urllib.error.HTTPError) -> str:
    """What a server says about a refusal."""
    try:
        return str(json.load(error)["error"]["message"])
    except UNREADABLE:
        return f"{error.code} {error.reason}"
