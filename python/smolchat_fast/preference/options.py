"""Options and reports of the preference stages; imports no torch."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any, Literal

from smolchat_fast.errors import refuse_one_string


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectOptions:
    """How a model writes the rejected answers."""

    max_source: int = 320
    """Most tokens of a prompt, [EOS] included."""
    max_new_tokens: int = 128
    """Most tokens of an answer, [EOS] included."""
    batch_rows: int = 128
    """Prompts answered at a time."""
    chunk_rows: int = 1024
    """Rows after which progress is kept; an interrupted run loses at most one such chunk."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        _at_least(self, 1, "max_source", "max_new_tokens", "batch_rows", "chunk_rows")


@dataclass(frozen=True, kw_only=True, slots=True)
class RejectReport:
    """What became of the rows."""

    rows_in: int
    pairs: int
    dropped_equal: int
    """Rows whose own answer was already the chosen one: nothing to prefer."""

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.pairs

    def __str__(self) -> str:
        return (
            f"{self.rows_in:,} rows: {self.pairs:,} pairs, {self.dropped_equal:,} already answered as chosen"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class DpoOptions:
    """How preferences are trained (direct preference optimisation)."""

    beta: float = 0.1
    """Strength of the tie to the reference model; higher strays less."""
    sft_weight: float = 0.0
    """Weight of the chosen answers' own loss by token, added to the loss of the pairs. Preferences alone
    also push up answers that are neither chosen nor rejected; this keeps what is known."""
    steps: int = 0
    """Steps in all; 0: as many as `epochs` takes."""
    epochs: int = 1
    """Passes over the pairs, if `steps` is 0."""
    batch_rows: int = 32
    """Pairs of a batch."""
    accumulate: int = 1
    """Batches of a step."""
    max_source: int = 320
    """Most tokens of a prompt, [EOS] included."""
    max_target: int = 320
    """Most tokens of an answer, [EOS] included."""
    lora_rank: int = 16
    """Rank of the low-rank adapter; 0 trains all weights."""
    lora_alpha: int = 32
    """The adapter's output is scaled by lora_alpha / lora_rank."""
    lora_dropout: float = 0.0
    """Dropout before the adapter while training."""
    lora_targets: tuple[str, ...] = ("encoder", "decoder")
    """Regular expressions; a linear layer whose name begins with a match gets an adapter."""
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    """adafactor needs less memory."""
    lr: float = 1e-4
    """Highest learning rate."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Course of the learning rate after the warm-up."""
    warmup_share: float = 0.1
    """Share of the run in which the learning rate rises."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    max_norm: float = 1.0
    """Gradients are scaled down to this norm; 0: never."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward and backward pass; weights stay float32."""
    log_every: int = 10
    """Steps between lines of `metrics.jsonl`."""
    save_every: int = 500
    """Steps between checkpoints; 0: none unless asked to stop."""
    seed: int = 1
    """Seed of the order of the pairs, the adapter's start and dropout."""

    def deciding(self) -> dict[str, Any]:
        """The options that decide the weights or what is told of them."""
        return {name: value for name, value in asdict(self).items() if name != "save_every"}

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        _at_least(self, 1, "batch_rows", "accumulate", "max_source", "max_target", "log_every")
        _at_least(self, 0, "sft_weight", "steps", "lora_rank", "lr", "weight_decay", "max_norm", "save_every")
        _above(self, 0, "beta", "lora_alpha")
        refuse_one_string("lora_targets", self.lora_targets)
        for pattern in self.lora_targets:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(
                    f"option lora_targets = {pattern!r}: not a regular expression ({error})"
                ) from error
        if not self.steps:
            _at_least(self, 1, "epochs")
        _check(self, ("warmup_share", "lora_dropout"), lambda share: 0 <= share < 1, "must be in [0, 1)")


@dataclass(frozen=True, kw_only=True, slots=True)
class DpoReport:
    """What the training came to; rewards are means over the last logged steps, in nats times beta."""

    pairs: int
    cut: int
    """Pairs of which the prompt or an answer was longer than allowed and was cut."""
    steps: int
    loss: float
    chosen_reward: float
    rejected_reward: float
    accuracy: float
    """Share of pairs whose chosen answer has the higher reward."""
    trained_parameters: int
    parameters: int
    adapter: bool
    """True if the output is a LoRA adapter, False if it is a whole model."""
    base_sha256: str
    """Hash of the weights that training began with; `merge` takes no others."""

    @property
    def margin(self) -> float:
        """Chosen reward minus rejected reward."""
        return self.chosen_reward - self.rejected_reward

    def __str__(self) -> str:
        what = "adapter" if self.adapter else "model"
        return (
            f"{what} of {self.trained_parameters:,} trained of {self.parameters:,} parameters, "
            f"{self.pairs:,} pairs, {self.steps:,} steps: loss {self.loss:.3f}, reward chosen "
            f"{self.chosen_reward:+.2f}, rejected {self.rejected_reward:+.2f}, margin {self.margin:.2f}, "
            f"chosen ahead in {self.accuracy:.1%}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeOptions:
    """How a merge is proved."""

    rows: int = 16
    """Sample rows on which merged and adapted logits are compared."""
    max_tokens: int = 64
    """Most tokens of a sample's prompt and answer."""
    tolerance: float = 1e-4
    """Largest difference of a logit, as a share of the largest logit."""
    seed: int = 1
    """Seed of the samples where no file of rows is given."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        _at_least(self, 1, "rows")
        _at_least(self, 2, "max_tokens")
        _above(self, 0, "tolerance")


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeReport:
    """The proof of a merge."""

    dtype: str
    rows: int
    largest_logit: float
    largest_difference: float
    """Between a merged and an adapted logit, over all sample positions and words."""
    largest_change: float
    """Between an adapted and a base logit: what the adapter does at all."""
    tolerance: float

    def __str__(self) -> str:
        return (
            f"merged in {self.dtype}: logits differ from the adapted model's by at most "
            f"{self.largest_difference:.2g} on {self.rows} rows (allowed {self.tolerance:g} of "
            f"{self.largest_logit:.3g}; the adapter itself moves them by up to {self.largest_change:.2g})"
        )


def _at_least(options: Any, low: int, *names: str) -> None:
    _check(options, names, lambda value: value >= low, f"must be at least {low}")


def _above(options: Any, low: int, *names: str) -> None:
    _check(options, names, lambda value: value > low, f"must be above {low}")


def _check(options: Any, names: Collection[str], holds: Any, rule: str) -> None:
    for name in names:
        value = getattr(options, name)
        if not holds(value):
            raise ValueError(f"option {name} = {value}: {rule}")
