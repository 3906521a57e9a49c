"""The options of `chat` and `serve`, and what they come to for one answer; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

Preset = Literal["model", "greedy", "beam", "sample", "contrastive"]
Precision = Literal["auto", "float32", "bfloat16", "float16", "int8"]

MAX_STOPS = 16
MAX_ROWS = 8
MAX_LOGPROBS = 20
SEEDS = 1 << 63


class OptionError(ValueError):
    """An option is out of range; `name` is its field."""

    def __init__(self, name: str, value: object, rule: str) -> None:
        super().__init__(f"option {name} = {value}: {rule}")
        self.name = name


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """How the tokens of one answer are chosen, nothing left open."""

    max_new_tokens: int = 256
    """Tokens of the answer, the forced ones not counted; 0 only scores those."""
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    logit_bias: tuple[tuple[int, float], ...] = ()
    min_tokens: int = 0
    ignore_eos: bool = False
    seed: int | None = None
    choice: int = 0
    """Which of several answers to one question with one seed."""
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    """Log-probabilities of the tokens, and so many of the likeliest ones beside each."""
    num_beams: int = 1
    length_penalty: float = 1.0
    penalty_alpha: float = 0.0
    """Above 0: contrastive search among the `top_k` likeliest tokens."""
    forced: tuple[int, ...] = ()
    """Tokens the answer begins with."""

    def __post_init__(self) -> None:
        _check("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 0, "must be at least 0")
        _check("temperature", self.temperature, 0 <= self.temperature <= 2, "must be in [0, 2]")
        _check("top_k", self.top_k, self.top_k >= 0, "must be 0 (all tokens) or more")
        _check("top_p", self.top_p, 0 < self.top_p <= 1, "must be in (0, 1]")
        _check("min_p", self.min_p, 0 <= self.min_p <= 1, "must be in [0, 1]")
        penalty = self.repetition_penalty
        _check("repetition_penalty", penalty, 0 < penalty <= 10, "must be in (0, 10]; 1 is none")
        for name in ("presence_penalty", "frequency_penalty"):
            _check(name, getattr(self, name), -2 <= getattr(self, name) <= 2, "must be in [-2, 2]")
        size = self.no_repeat_ngram_size
        _check("no_repeat_ngram_size", size, size >= 0, "must be 0 (off) or more")
        biases = [bias for _, bias in self.logit_bias]
        _check("logit_bias", biases, all(-100 <= b <= 100 for b in biases), "values must be in [-100, 100]")
        _check("min_tokens", self.min_tokens, self.min_tokens >= 0, "must be at least 0")
        _check("seed", self.seed, self.seed is None or 0 <= self.seed < SEEDS, "must be in [0, 2**63)")
        _check("stop", self.stop, len(self.stop) <= MAX_STOPS, f"takes at most {MAX_STOPS} strings")
        _check("stop", self.stop, all(self.stop), "no string may be empty")
        top = self.logprobs
        _check("logprobs", top, top is None or 0 <= top <= MAX_LOGPROBS, f"must be in 0..{MAX_LOGPROBS}")
        _check("num_beams", self.num_beams, 1 <= self.num_beams <= MAX_ROWS, f"must be in 1..{MAX_ROWS}")
        _check("length_penalty", self.length_penalty, abs(self.length_penalty) <= 10, "must be in [-10, 10]")
        _check("penalty_alpha", self.penalty_alpha, 0 <= self.penalty_alpha < 1, "must be in [0, 1)")
        if self.penalty_alpha:
            rule = f"contrastive search compares 2..{MAX_ROWS} tokens"
            _check("top_k", self.top_k, 2 <= self.top_k <= MAX_ROWS, rule)
            _check("num_beams", self.num_beams, self.num_beams == 1, "goes not with contrastive search")
        elif self.num_beams > 1:
            _check("temperature", self.temperature, self.temperature == 0, "beams are not sampled, use 0")

    @property
    def rows(self) -> int:
        """Rows of the batch that the answer takes."""
        return self.top_k if self.penalty_alpha else self.num_beams


def _check(name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        raise OptionError(name, value, rule)


PRESETS: dict[Preset, Decoding] = {
    "greedy": Decoding(),
    "beam": Decoding(num_beams=4),
    # What ChatLM-mini-Chinese calls "sampling", for answers that compare with its own.
    "sample": Decoding(temperature=0.98, top_k=50, top_p=0.8, no_repeat_ngram_size=4),
    # As published (Su et al. 2022, https://arxiv.org/abs/2202.06417), which found 4 to 8 tokens enough.
    "contrastive": Decoding(top_k=4, penalty_alpha=0.6),
}
SAMPLE = PRESETS["sample"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeOptions:
    """How answers are made; a value given here wins over the preset."""

    preset: Preset = "model"
    """model: as the model's generation_config.json says; greedy: always the likeliest token; beam: the
    likeliest of 4 answers kept side by side; sample: temperature 0.98, top-k 50, top-p 0.8, no 4 tokens
    twice, as ChatLM-mini-Chinese samples; contrastive: of 4 likely tokens one that repeats little."""
    max_new_tokens: int = 512
    """Tokens of an answer at most."""
    temperature: float | None = None
    """0 takes the likeliest token; higher is more varied, up to 2."""
    top_k: int | None = None
    """Choose among this many likeliest tokens; 0: among all."""
    top_p: float | None = None
    """Choose among the likeliest tokens that together have this probability, in (0, 1]."""
    min_p: float | None = None
    """Leave out tokens with less than this share of the likeliest one's probability, in [0, 1]."""
    repetition_penalty: float | None = None
    """Above 1, tokens of the answer so far become less likely."""
    no_repeat_ngram_size: int | None = None
    """No run of so many tokens comes twice in an answer; 0: off."""
    num_beams: int | None = None
    """Answers kept side by side, of which the likeliest is given; 1..8."""
    seed: int | None = None
    """The same seed gives the same answer to the same question; by default every answer draws its own."""
    history_turns: int = 0
    """Earlier questions with their answers that the model is shown; 0 for models trained on single turns."""
    system: str = ""
    """Text put before every question; only for models trained with such texts."""
    max_input_tokens: int = 512
    """Tokens of a question at most; what it was trained with is the sensible limit."""
    precision: Precision = "auto"
    """Numbers the model computes with. auto: int8 by the Rust core for models over 20 M parameters on a
    CPU, bfloat16 on a GPU, else float32, which equals transformers token for token."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it computes; auto: a GPU if there is one."""
    threads: int | None = None
    """Threads of a matrix product; 1 for small models, else as many as torch takes, by default."""

    def __post_init__(self) -> None:
        _check(
            "preset",
            self.preset,
            self.preset in get_args(Preset),
            f"must be one of {', '.join(get_args(Preset))}",
        )
        _check("history_turns", self.history_turns, self.history_turns >= 0, "must be 0 or more")
        _check("max_input_tokens", self.max_input_tokens, self.max_input_tokens >= 2, "must be at least 2")
        _check("max_new_tokens", self.max_new_tokens, self.max_new_tokens >= 1, "must be at least 1")
        _check("threads", self.threads, self.threads is None or self.threads >= 1, "must be at least 1")
        if self.precision == "int8":
            _check("device", self.device, self.device != "cuda", "int8 is computed on the CPU")
        self.decoding(Decoding())  # refuses the other options before a model is loaded

    def decoding(self, model: Decoding) -> Decoding:
        """These options laid over what the model's folder asks for."""
        base = model if self.preset == "model" else PRESETS[self.preset]
        given = {
            "temperature": self.temperature,
            "top_k": self.top_k,
            "top_p": self.top_p,
            "min_p": self.min_p,
            "repetition_penalty": self.repetition_penalty,
            "no_repeat_ngram_size": self.no_repeat_ngram_size,
            "num_beams": self.num_beams,
            "seed": self.seed,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        return replace(base, max_new_tokens=self.max_new_tokens, **changes)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatOptions(DecodeOptions):
    """How the terminal chat behaves."""

    history: bool = True
    """Keep the questions typed on a terminal for the arrow keys of the next chat."""
    lines: bool = False
    """Without a terminal: every line is a question and every reply is one line, in the same order; line ends
    inside a reply become spaces."""
    json: bool = False
    """One JSON object for each reply: response, finish_reason, usage, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeOptions(DecodeOptions):
    """Where the server listens and what it takes on. Its key comes from the environment variable
    SMOLCHAT_API_KEY or from a file, never from the command line, where other users could read it."""

    host: str = "127.0.0.1"
    """Address to listen on; another than this machine's own needs a key."""
    allow_open: bool = False
    """Do without a key on an address of the network: anybody who reaches it can ask, by any name."""
    allowed_host: tuple[str, ...] = ()
    """Further names by which clients may call a server without a key, as a proxy in front of it would."""
    cors_origin: tuple[str, ...] = ()
    """Web pages of these origins (https://name:port) may ask the server."""
    strict: bool = False
    """Refuse request fields that are not known, instead of naming them in the header x-ignored-params."""
    log_text: bool = False
    """Write questions and answers to the log; else it has counts and times, and never a text."""
    port: int = 8812
    """Port to listen on; 0 takes a free one."""
    api_key_file: Path | None = None
    """File of keys, one a line, that only its owner can read."""
    model_name: str | None = None
    """Name of the model towards clients; its folder's name by default."""
    max_running: int = 16
    """Answers written at the same time; one with beams counts as so many."""
    cache_mb: int = 1024
    """Memory for the keys and values of the answers under way; one that would not fit waits."""
    max_queue: int = 64
    """Requests that may wait beside those; more are told to come back later."""
    queue_timeout_s: float = 30.0
    """Seconds a request waits at most."""
    timeout_s: float = 120.0
    """Seconds from its arrival until a request is given up."""
    drain_s: int = 20
    """Seconds that answers under way get when the server is asked to stop."""

    def __post_init__(self) -> None:
        # slots=True makes a new class, which a bare super() in this body does not know.
        DecodeOptions.__post_init__(self)
        _check("port", self.port, 0 <= self.port <= 65535, "must be in 0..65535")
        _check("max_running", self.max_running, self.max_running >= 1, "must be at least 1")
        _check("cache_mb", self.cache_mb, self.cache_mb >= 1, "must be at least 1")
        _check("max_queue", self.max_queue, self.max_queue >= 0, "must be 0 or more")
        _check("queue_timeout_s", self.queue_timeout_s, self.queue_timeout_s > 0, "must be above 0")
        _check("timeout_s", self.timeout_s, self.timeout_s > 0, "must be above 0")
        _check("drain_s", self.drain_s, self.drain_s >= 0, "must be 0 or more")
