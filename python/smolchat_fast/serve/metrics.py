"""Counts and times of a server, as Prometheus reads them; names as other servers of language models use."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE

from smolchat_fast.serve.answer import (
    EngineError,
    QueueFullError,
    QueueTimeoutError,
    Reason,
    ShuttingDownError,
    TooLargeError,
)
from smolchat_fast.serve.meter import Stage

__all__ = ["CONTENT_TYPE", "Metrics"]

# The model is small: an answer's token takes milliseconds.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

REJECTIONS: dict[type[EngineError], str] = {
    QueueFullError: "queue_full",
    QueueTimeoutError: "queue_timeout",
    ShuttingDownError: "shutting_down",
    TooLargeError: "too_large",
}


class Metrics:
    """A meter that remembers. No label ever holds what a user sent.

    Args:
        model: Name of the model, the label of every value.
    """

    def __init__(self, model: str) -> None:
        self._registry, self._model = CollectorRegistry(), model
        self._running = self._gauge("num_requests_running", "Requests whose answers are being written")
        self._waiting = self._gauge("num_requests_waiting", "Requests in the queue")
        self._batch = self._gauge("batch_current_size", "Answers in the last decoding step")
        self._cache = self._gauge("cache_usage_bytes", "Bytes of keys and values promised to answers")
        self._prompt = self._counter("prompt_tokens", "Source tokens of finished requests")
        self._generated = self._counter("generation_tokens", "Tokens of finished answers")
        self._success = self._counter("request_success", "Finished requests", "finished_reason")
        self._rejected = self._counter("requests_rejected", "Requests refused or given up", "reason")
        self._cancelled = self._counter("requests_cancelled", "Requests whose client left", "stage")
        self._first = self._histogram("time_to_first_token_seconds", "From arrival to the first token")
        self._between = self._histogram("inter_token_latency_seconds", "Between two tokens of an answer")
        self._whole = self._histogram("e2e_request_latency_seconds", "From arrival to the end of an answer")
        self._queued = self._histogram("request_queue_time_seconds", "From arrival to encoding")
        self._prompts = self._histogram("request_prompt_tokens", "Source tokens of a request", TOKENS)
        self._answers = self._histogram("request_generation_tokens", "Tokens of an answer", TOKENS)

    def _gauge(self, name: str, text: str) -> Any:
        return Gauge(f"smolchat_{name}", text, ["model"], registry=self._registry).labels(self._model)

    def _counter(self, name: str, text: str, label: str | None = None) -> Any:
        labels = ["model", *([label] if label else [])]
        counter = Counter(f"smolchat_{name}", text, labels, registry=self._registry)
        return counter if label else counter.labels(self._model)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...] = SECONDS) -> Any:
        histogram = Histogram(f"smolchat_{name}", text, ["model"], buckets=buckets, registry=self._registry)
        return histogram.labels(self._model)

    def text(self, running: int, waiting: int, cache_bytes: int) -> bytes:
        """Everything, in the text format of Prometheus."""
        self._running.set(running)
        self._waiting.set(waiting)
        self._cache.set(cache_bytes)
        return generate_latest(self._registry)

    def rejected(self, error: EngineError) -> None:
        """See `Meter`."""
        self._rejected.labels(self._model, REJECTIONS.get(type(error), "other")).inc()

    def cancelled(self, stage: Stage) -> None:
        """See `Meter`."""
        self._cancelled.labels(self._model, stage).inc()

    def started(self, waited_s: float) -> None:
        """See `Meter`."""
        self._queued.observe(waited_s)

    def stepped(self, rows: int, took_s: float) -> None:
        """See `Meter`."""
        self._batch.set(rows)

    def token(self, after_s: float, *, first: bool) -> None:
        """See `Meter`."""
        (self._first if first else self._between).observe(after_s)

    def finished(self, reason: Reason, took_s: float, prompt_tokens: int, tokens: int) -> None:
        """See `Meter`."""
        self._success.labels(self._model, reason).inc()
        self._whole.observe(took_s)
        self._prompt.inc(prompt_tokens)
        self._generated.inc(tokens)
        self._prompts.observe(prompt_tokens)
        self._answers.observe(tokens)
