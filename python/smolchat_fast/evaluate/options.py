"""Options of the evaluation; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateOptions:
    """What is measured, and on how much."""

    loss_rows: int = 2000
    """Rows for the loss, evenly spaced over the input; 0 takes all."""
    bleu_rows: int = 500
    """Rows of these that are also answered and scored with BLEU-4; 0 leaves BLEU out."""
    samples: int = 8
    """Answers shown on the card."""
    max_source: int = 320
    """Most tokens of a prompt, [EOS] included."""
    max_target: int = 320
    """Most tokens of a response that count for the loss, [EOS] included."""
    max_new_tokens: int = 128
    """Most tokens of an answer, [EOS] included."""
    batch_rows: int = 128
    """Rows worked on at a time."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        lowest = {"loss_rows": 0, "bleu_rows": 0, "samples": 0}
        for name in self.__dataclass_fields__:
            value, low = getattr(self, name), lowest.get(name, 1)
            if value < low:
                raise ValueError(f"option {name} = {value}: must be at least {low}")
