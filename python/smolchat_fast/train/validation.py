"""How good a model is while it trains: loss, bits per byte, and answers to a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from smolchat_fast.encode import IGNORED, LossSums, encode, label_nats, shifted_right
from smolchat_fast.evaluate.bleu import score_bleu
from smolchat_fast.generate import generate_answers
from smolchat_fast.model import PAD
from smolchat_fast.stream import Batch

SHOWN = 5
"""Answers that a metrics line shows."""

ROOM = 8
"""Tokens by which an answer may be longer than the longest expected one."""


@dataclass(frozen=True)
class Valid:
    """Rows that the model is not trained on."""

    batches: Callable[[], Iterable[Batch]]
    """All of them, from the start; each rank its own share."""
    row_bytes: NDArray[np.int64] | None = None
    """UTF-8 bytes of each row's target [R], by the row numbers of the batches; None: bits are not counted."""
    max_target: int = 0
    """A target of this many tokens may have been cut, so its bytes do not count."""
    answers: Answers | None = None
    """Rows that are answered as well."""


@torch.no_grad()
def validate(
    model: nn.Module,
    valid: Valid,
    accelerator: Accelerator,
    *,
    most_batches: int = 0,
    stopped: Callable[[], bool] = lambda: False,
) -> LossSums | None:
    """Loss and bits per byte over the ranks' batches.

    Args:
        model: Left in evaluation mode.
        valid: The rows.
        accelerator: Sums over the ranks.
        most_batches: Batches of each rank at most; 0: all.
        stopped: Asked before each batch whether to leave off.
    Returns:
        None if a rank left off.
    """
    model.eval()
    sums, left_off = LossSums(), False
    for number, batch in enumerate(valid.batches()):
        if most_batches and number >= most_batches:
            break
        if stopped():
            left_off = True
            break
        nats = row_nats(model, batch, accelerator).double().cpu().numpy()  # [B]
        tokens = (batch.labels != IGNORED).sum(1)  # [B]
        sums.add(nats, tokens)
        if valid.row_bytes is not None:
            whole = (batch.rows >= 0) & (tokens < valid.max_target)
            sums.add_whole(nats[whole], valid.row_bytes[batch.rows[whole]])
    mine = torch.tensor([*astuple(sums), left_off], dtype=torch.float64, device=accelerator.device)
    *totals, leavers = accelerator.reduce(mine, "sum").tolist()  # type: ignore[union-attr]
    return None if leavers else LossSums(*totals)


def row_nats(model: nn.Module, batch: Batch, accelerator: Accelerator) -> Tensor:
    """Cross-entropy of each row, summed over its target tokens; float32 [B]."""
    labels, logits = run_batch(model, batch, accelerator)
    return label_nats(logits, labels).sum(1)


def run_batch(model: nn.Module, batch: Batch, accelerator: Accelerator) -> tuple[Tensor, Tensor]:
    """Labels [B, T] and what the model says in their place, [B, T, V]."""
    labels = torch.from_numpy(batch.labels).to(accelerator.device, non_blocking=True)  # [B, T]
    source = torch.from_numpy(batch.input_ids).to(accelerator.device, non_blocking=True)  # [B, S]
    mask = None
    if not batch.attention_mask.all():  # without padding, attention is cheaper without a mask
        mask = torch.from_numpy(batch.attention_mask).to(accelerator.device, non_blocking=True)
    logits = model(
        input_ids=source,
        attention_mask=mask,
        decoder_input_ids=shifted_right(labels, PAD, PAD),
        use_cache=False,
    ).logits
    return labels, logits


@dataclass(frozen=True)
class Answers:
    """A fixed sample of rows that the model answers, greedily."""

    tokenizer: Any
    prompts: Sequence[str]
    expected: Sequence[str]
    max_source: int
    max_target: int

    def ask(self, model: PreTrainedModel) -> dict[str, Any]:
        """Exact match, BLEU-4 and a few answers, as JSON types; the model is left as it was.

        No answer gets longer than the longest expected one and a little: a model that has not learnt to end
        yet would hold up its own training.
        """
        longest = max(map(len, encode(self.tokenizer, self.expected, self.max_target))) + ROOM
        answers = generate_answers(
            model, self.tokenizer, self.prompts, longest, len(self.prompts), max_source=self.max_source
        )
        right = sum(a.strip() == e.strip() for a, e in zip(answers, self.expected, strict=True))
        shown = list(zip(self.prompts, answers, self.expected, strict=True))[:: -(-len(answers) // SHOWN)]
        return {
            "exact": right / len(answers),
            "bleu": round(score_bleu(answers, self.expected).score, 2),
            "samples": [{"prompt": p, "answer": a, "expected": e} for p, a, e in shown],
        }
