"""Bodies of requests, and which of OpenAI's fields do what here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from smolchat_fast.serve.options import SEEDS, Decoding
from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.session import Message

MAX_TEXT = 65_536
MAX_MESSAGES = 256


def _text_of(content: object) -> object:
    """Plain text of a message's content, which may come as a list of text parts."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            raise ValueError(
                'only {"type": "text", "text": ...} parts can be read; this model has no eyes or ears'
            )
        texts.append(part["text"])
    return "".join(texts)


def _whole(text: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half of a surrogate pair, which is no character")
    return text


Text = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_whole)]


def _list_of(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


class _Body(BaseModel):
    # Strict: "1", 1.5 or true is no whole number.
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class ChatMessage(_Body):
    """A message of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[Text, BeforeValidator(_text_of)]


class StreamOptions(_Body):
    """What a stream carries beside the text."""

    include_usage: bool | None = None


class ChatRequest(_Body):
    """Body of `POST /v1/chat/completions`; null is as good as absent."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_list_of)] | None = None

    def conversation(self) -> list[Message]:
        """The messages as the model's side knows them."""
        if self.messages[-1].role != "user":
            message = "the last message must be the user's: this server continues no answer of an assistant"
            raise Problem(400, message, "invalid_value", param=f"messages[{len(self.messages) - 1}].role")
        if not self.messages[-1].content.strip():
            param = f"messages[{len(self.messages) - 1}].content"
            raise Problem(400, f"{param}: is empty", "invalid_value", param=param)
        return [
            Message("system" if message.role == "developer" else message.role, message.content)
            for message in self.messages
        ]

    def decoding(self, default: Decoding) -> Decoding:
        """The server's way of answering with this request's wishes; its length limit stays the most."""
        limit = self.max_completion_tokens or self.max_tokens or default.max_new_tokens
        wishes: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "seed": None if self.seed is None else self.seed % SEEDS,
            "stop": None if self.stop is None else tuple(self.stop),
        }
        given = {name: wish for name, wish in wishes.items() if wish is not None}
        return replace(default, max_new_tokens=min(limit, default.max_new_tokens), **given)

    def check(self, model: str) -> list[str]:
        """Refuse what this server cannot do; return the fields that have no effect, to tell the client.

        Args:
            model: Name of the model that is served.
        Raises:
            Problem: another model or an unsupported field is asked for.
        """
        if self.model is not None and self.model != model:
            raise Problem(
                404,
                f"no model is called {self.model!r}; this server has {model!r}",
                "model_not_found",
                param="model",
            )
        if self.stream_options is not None and not self.stream:
            raise Problem(
                400, "stream_options: only with stream: true", "invalid_value", param="stream_options"
            )
        extra = self.model_extra or {}
        for name in extra.keys() & UNSUPPORTED.keys():
            if extra[name] is not None and extra[name] not in UNSUPPORTED[name]:
                raise Problem(
                    400, f"{name}: is not supported by this server", "unsupported_parameter", param=name
                )
        return sorted(name for name, value in extra.items() if value is not None and name not in UNSUPPORTED)


# Fields that would change the answer if they worked, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
}


class LegacyRequest(_Body):
    """Body of `POST /api/chat`."""

    input_txt: Text
