"""Bodies of requests, and which of OpenAI's fields do what here."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from smolchat_fast.serve.options import MAX_LOGPROBS, PRESETS, SEEDS, Decoding, Preset
from smolchat_fast.serve.problem import Problem
from smolchat_fast.serve.session import Message

MAX_TEXT = 65_536
MAX_MESSAGES = 256
MAX_CHOICES = 8


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


class Sampling(_Body):
    """What both kinds of completions take; null is as good as absent."""

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    no_repeat_ngram_size: int | None = None
    logit_bias: dict[str, float] | None = None
    num_beams: int | None = None
    length_penalty: float | None = None
    preset: Preset | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    truncate: Literal["error", "left"] | None = None
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_list_of)] | None = None

    @property
    def choices(self) -> int:
        """Answers to each question."""
        return self.n or 1

    @property
    def top(self) -> int | None:
        """Likeliest tokens to name beside each; None: no log-probabilities."""
        return None

    def decoding(self, default: Decoding, vocabulary: int, limit: int | None = None) -> Decoding:
        """The server's way of answering with this request's wishes; its length limit stays the most.

        Args:
            default: The server's own way.
            vocabulary: Tokens there are.
            limit: Tokens that are asked for; `max_tokens` if None.
        Raises:
            OptionError: a value is out of range.
            Problem: a token is none.
        """
        base = default
        if self.preset and self.preset != "model":
            base = PRESETS[self.preset]
        limit = self.max_tokens if limit is None else limit
        limit = default.max_new_tokens if limit is None else limit
        wishes: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "min_p": self.min_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "logit_bias": self._biases(vocabulary),
            "num_beams": self.num_beams,
            "length_penalty": self.length_penalty,
            "min_tokens": self.min_tokens,
            "ignore_eos": self.ignore_eos,
            "seed": None if self.seed is None else self.seed % SEEDS,
            "stop": None if self.stop is None else tuple(self.stop),
            "logprobs": self.top,
        }
        given = {name: wish for name, wish in wishes.items() if wish is not None}
        return replace(base, max_new_tokens=min(limit, default.max_new_tokens), **given)

    def _biases(self, vocabulary: int) -> tuple[tuple[int, float], ...] | None:
        if self.logit_bias is None:
            return None
        biases = []
        for name, bias in self.logit_bias.items():
            if not (name.isascii() and name.isdigit() and int(name) < vocabulary):
                message = f"logit_bias: {name[:20]!r} is no token of 0..{vocabulary - 1}"
                raise Problem(400, message, "invalid_value", param="logit_bias")
            biases.append((int(name), bias))
        return tuple(biases)

    def check(self, model: str, *, strict: bool = False) -> list[str]:
        """Refuse what this server cannot do; return the fields that have no effect, to tell the client.

        Args:
            model: Name of the model that is served.
            strict: Refuse such fields too.
        Raises:
            Problem: another model or an unsupported field is asked for.
        """
        check_model(self.model, model)
        if self.stream_options is not None and not self.stream:
            raise Problem(
                400, "stream_options: only with stream: true", "invalid_value", param="stream_options"
            )
        if self.best_of is not None and self.best_of != self.choices:
            raise unsupported("best_of")
        if self.choices > 1 and (self.num_beams or 1) > 1:
            raise Problem(400, "n: one answer is given with beams", "invalid_value", param="n")
        extra = self.model_extra or {}
        for name in extra.keys() & UNSUPPORTED.keys():
            if extra[name] is not None and extra[name] not in UNSUPPORTED[name]:
                raise unsupported(name)
        ignored = _without_effect(extra)
        if strict and (unknown := [name for name in ignored if name not in HARMLESS]):
            raise Problem(400, f"{unknown[0]}: no such field", "unsupported_parameter", param=unknown[0])
        return ignored


class ChatRequest(Sampling):
    """Body of `POST /v1/chat/completions`."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None

    @property
    def top(self) -> int | None:
        """See `Sampling`."""
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def begun(self) -> str:
        """Text that the answer goes on from: a last message of the assistant's."""
        last = self.messages[-1]
        return last.content if last.role == "assistant" else ""

    def conversation(self) -> list[Message]:
        """The messages as the model's side knows them, the last one the user's."""
        messages = self.messages[:-1] if self.messages[-1].role == "assistant" else self.messages
        at = max(len(messages) - 1, 0)
        if not messages or messages[-1].role != "user":
            message = "the last message, or the one before the assistant's that is to be continued, must be the user's"
            raise Problem(400, message, "invalid_value", param=f"messages[{at}].role")
        if not messages[-1].content.strip():
            param = f"messages[{at}].content"
            raise Problem(400, f"{param}: is empty", "invalid_value", param=param)
        return [
            Message("system" if message.role == "developer" else message.role, message.content)
            for message in messages
        ]


Ids = list[Annotated[int, Field(ge=0)]]


class CompletionRequest(Sampling):
    """Body of `POST /v1/completions`."""

    prompt: Text | list[Text] | Ids | list[Ids]
    decoder_prompt: Text | Ids | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None

    @property
    def top(self) -> int | None:
        """See `Sampling`."""
        return self.logprobs

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt, a text or ids.

        Raises:
            Problem: there are none, or too many.
        """
        prompt = self.prompt
        one = isinstance(prompt, str) or (prompt and isinstance(prompt[0], int))
        prompts: list[Any] = [prompt] if one else list(prompt)
        if not prompts or not all(prompts):
            raise Problem(400, "prompt: is empty", "invalid_value", param="prompt")
        if len(prompts) > MAX_MESSAGES:
            raise Problem(400, f"prompt: more than {MAX_MESSAGES} prompts", "invalid_value", param="prompt")
        return prompts


def check_model(asked: str | None, model: str) -> None:
    """Refuse another model than the one that is served."""
    if asked is not None and asked.removesuffix(":latest") != model and asked != model:
        raise Problem(
            404,
            f"no model is called {asked!r}; this server has {model!r}",
            "model_not_found",
            param="model",
        )


def _without_effect(extra: dict[str, Any]) -> list[str]:
    """Names of the fields that are neither honoured nor refused."""
    return sorted(
        name
        for name, value in extra.items()
        if value is not None and name not in UNSUPPORTED and not (name in CALLABLE and value == [])
    )


def unsupported(name: str) -> Problem:
    """The problem of a field that would change the answer if it worked."""
    return Problem(400, f"{name}: is not supported by this server", "unsupported_parameter", param=name)


# Fields that would change the answer if they worked, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[object, ...]] = {
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "suffix": ("",),
    "images": ([],),
    "format": ("",),
}

# What a model may call and this one never does: it answers in words, unless tool_choice forbids that.
CALLABLE = frozenset(["tools", "functions"])

# Fields of OpenAI's that change nothing here, also where unknown ones are refused.
HARMLESS = frozenset(
    [
        "user",
        "metadata",
        "store",
        "service_tier",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
        "reasoning_effort",
        "verbosity",
    ]
)


class LegacyRequest(_Body):
    """Body of `POST /api/chat` as the earlier project had it."""

    input_txt: Text


class OllamaOptions(_Body):
    """Ollama's names for how answers are made."""

    num_predict: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: Annotated[list[str], BeforeValidator(_list_of)] | None = None


class OllamaRequest(_Body):
    """Body of `POST /api/chat` as Ollama has it."""

    messages: Annotated[list[ChatMessage], Field(max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool | None = None
    options: OllamaOptions | None = None

    def ignored(self) -> list[str]:
        """Fields that have no effect."""
        extra = {**(self.model_extra or {}), **((self.options and self.options.model_extra) or {})}
        return _without_effect(extra)

    def as_chat(self) -> ChatRequest:
        """The same in OpenAI's words.

        Raises:
            Problem: an unsupported field is asked for.
        """
        extra = self.model_extra or {}
        for name in extra.keys() & UNSUPPORTED.keys():
            if extra[name] is not None and extra[name] not in UNSUPPORTED[name]:
                raise unsupported(name)
        for at, message in enumerate(self.messages):
            # Where Ollama has them, unlike OpenAI's parts of a content.
            if (message.model_extra or {}).get("images"):
                raise unsupported(f"messages[{at}].images")
        options = self.options or OllamaOptions()
        limit = options.num_predict
        return ChatRequest(
            messages=self.messages,
            model=self.model,
            max_tokens=limit if limit is not None and limit > 0 else None,
            repetition_penalty=options.repeat_penalty,
            **options.model_dump(
                include={
                    "temperature",
                    "top_k",
                    "top_p",
                    "min_p",
                    "presence_penalty",
                    "frequency_penalty",
                    "seed",
                    "stop",
                }
            ),
        )


class TokenizeRequest(_Body):
    """Body of `POST /tokenize`."""

    prompt: Text
    add_special_tokens: bool = True


class DetokenizeRequest(_Body):
    """Body of `POST /detokenize`."""

    tokens: Annotated[Ids, Field(max_length=MAX_TEXT)]
