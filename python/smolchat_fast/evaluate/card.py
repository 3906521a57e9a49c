"""The card of a model: what it is and how well it does, as a file for programs and one for people."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TIMES = ("answers_per_s", "seconds", "peak_mb")
"""Fields that are other on each run: `card.md` and the manifest have them, `card.json` has not."""
CELL_CHARS = 80
"""Longest text in a cell of the table of answers; `answers.jsonl` has all of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossScore:
    """Cross-entropy of the responses."""

    rows: int
    cut: int
    """Rows whose response was longer than allowed; its rest does not count."""
    target_tokens: int
    loss: float
    """Nats by target token."""
    bits_per_byte: float | None
    """Bits by byte of UTF-8, over the rows that were not cut; None if all were."""

    @property
    def perplexity(self) -> float:
        """e to the loss."""
        return math.exp(self.loss)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactScore:
    """Exact match of one question set."""

    n: int
    right: int
    share: float
    low: float
    """Lower end of the 95 % confidence interval of the share."""
    high: float
    preferred: float | None
    """Share of answers that are the preferred one; None if no question prefers one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BleuScore:
    """BLEU-4 of the answers, 0 to 100."""

    rows: int
    score: float
    precisions: tuple[float, ...]
    brevity_penalty: float
    signature: str
    """Settings of sacrebleu; scores compare only under the same ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A prompt, the model's answer and the one expected."""

    prompt: str
    answer: str
    expected: str
    right: bool | None
    """None where the answer is free text and not right or wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """What is known of a model."""

    model: str
    parameters: int
    vocabulary: int
    dtype: str
    weights_mb: float
    loss: LossScore | None
    exact: Mapping[str, ExactScore]
    bleu: BleuScore | None
    samples: tuple[Sample, ...]
    versions: Mapping[str, str]
    device: str
    answers_per_s: float | None
    seconds: float
    peak_mb: float

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Card:
        """A card as `asdict` and JSON leave it."""
        return cls(
            **{
                **fields,
                "loss": LossScore(**fields["loss"]) if fields["loss"] else None,
                "exact": {name: ExactScore(**score) for name, score in fields["exact"].items()},
                "bleu": _bleu(fields["bleu"]),
                "samples": tuple(Sample(**sample) for sample in fields["samples"]),
            }
        )

    def write(self, folder: Path) -> None:
        """Write `card.json`, the same for the same model and rows, and `card.md`."""
        same = {name: value for name, value in asdict(self).items() if name not in TIMES}
        text = json.dumps(same, ensure_ascii=False, indent=2)
        (folder / "card.json").write_text(text + "\n", "utf-8")
        (folder / "card.md").write_text(markdown(self), "utf-8")

    def __str__(self) -> str:
        lines = [f"{self.model}: {self.parameters:,} parameters, {self.weights_mb:.1f} MB ({self.dtype})"]
        if self.loss:
            lines.append(f"loss {self.loss.loss:.4f} by target token ({self.loss.rows:,} rows)")
        for name, score in self.exact.items():
            style = "" if score.preferred is None else f", preferred style {score.preferred:.3f}"
            lines.append(
                f"exact match {name}: {score.share:.3f} ({score.low:.3f} to {score.high:.3f}, "
                f"n = {score.n}){style}"
            )
        if self.bleu:
            lines.append(f"BLEU-4 {self.bleu.score:.2f} ({self.bleu.rows:,} rows)")
        return "\n".join(lines)


def _bleu(fields: Mapping[str, Any] | None) -> BleuScore | None:
    return BleuScore(**{**fields, "precisions": tuple(fields["precisions"])}) if fields else None


def markdown(card: Card) -> str:
    """The card for people."""
    parts = [
        f"# {card.model}",
        _table(
            ("parameters", "vocabulary", "weights"),
            [(f"{card.parameters:,}", f"{card.vocabulary:,}", f"{card.weights_mb:.1f} MB, {card.dtype}")],
        ),
    ]
    if card.loss:
        bits = "-" if card.loss.bits_per_byte is None else f"{card.loss.bits_per_byte:.4f}"
        row = (
            card.loss.loss,
            card.loss.perplexity,
            bits,
            card.loss.rows,
            card.loss.target_tokens,
            card.loss.cut,
        )
        cells = (f"{row[0]:.4f}", f"{row[1]:.2f}", bits, *(f"{count:,}" for count in row[3:]))
        heads = ("loss by target token", "perplexity", "bits per byte", "rows", "target tokens", "rows cut")
        parts += ["## Loss", _table(heads, [cells])]
    if card.exact:
        heads = ("set", "exact match", "95 % interval", "preferred style", "right", "n")
        parts += ["## Exact match", _table(heads, [_exact_row(*item) for item in card.exact.items()])]
    if card.bleu:
        precisions = " / ".join(f"{precision:.1f}" for precision in card.bleu.precisions)
        scores = (
            f"{card.bleu.score:.2f}",
            precisions,
            f"{card.bleu.brevity_penalty:.3f}",
            f"{card.bleu.rows:,}",
        )
        parts += [
            "## BLEU",
            _table(("BLEU-4", "1 to 4-gram precision", "brevity penalty", "rows"), [scores]),
            f"sacrebleu: `{card.bleu.signature}`",
        ]
    if card.samples:
        marks = {True: "right", False: "wrong", None: ""}
        rows = [(s.prompt, s.answer, s.expected, marks[s.right]) for s in card.samples]
        parts += ["## Answers", _table(("prompt", "answer", "expected", ""), rows)]
    speed = "" if card.answers_per_s is None else f", {card.answers_per_s:,.0f} answers/s"
    versions = ", ".join(f"{name} {version}" for name, version in card.versions.items())
    parts += [
        "## Made with",
        f"{card.seconds:.1f} s on {card.device}{speed}, peak memory {card.peak_mb:,.0f} MiB; {versions}.",
    ]
    return "\n\n".join(parts) + "\n"


def _exact_row(name: str, score: ExactScore) -> tuple[str, ...]:
    preferred = "-" if score.preferred is None else f"{score.preferred:.3f}"
    interval = f"{score.low:.3f} to {score.high:.3f}"
    return name, f"{score.share:.3f}", interval, preferred, f"{score.right:,}", f"{score.n:,}"


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    line = " ".join(text.split())
    shown = line if len(line) <= CELL_CHARS else line[: CELL_CHARS - 1] + "…"
    return shown.replace("|", "\\|")
