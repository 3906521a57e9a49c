"""What a precision costs: loss and greedy answers of a trained model, by the very networks that `serve` computes with.

Needs what `make demo` or `smolchat-fast run` left: the model, rows that it was not trained on, and questions.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from smolchat_fast.errors import DataError
from smolchat_fast.evaluate.card import LossScore
from smolchat_fast.evaluate.evaluate import pick_rows
from smolchat_fast.evaluate.exact import Question, is_right, read_questions
from smolchat_fast.evaluate.options import EvaluateOptions
from smolchat_fast.serve.options import Decoding, Precision

from .measure import machine, table

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from smolchat_fast.serve.decoder import Row, T5Decoder

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "float16", "int8")
OPTIONS = EvaluateOptions(loss_rows=0, max_new_tokens=64, batch_rows=64)
ROUNDING = 1e-4
"""The loss of float32 may differ so much from that of `evaluate`, relative to it, by the order of its sums."""


@dataclass(frozen=True)
class Trained:
    """A trained model, and what it was not trained on."""

    model: Path
    rows: Sequence[tuple[str, str]]
    questions: Sequence[Question]


@dataclass(frozen=True)
class Outcome:
    """What a model does in one precision."""

    precision: str
    loss: float
    """Nats by target token."""
    answers: list[list[int]]
    """Greedy answers to the questions, without the token that ends them."""
    right: int


def read_trained(folder: Path) -> Trained:
    """What `demo` or `run` left in a folder."""
    valid = [folder / "data" / name / "valid.parquet" for name in ("pretrain", "sft")]
    questions = folder / "corpus" / "questions" / "test.jsonl"
    for path in (folder / "model", questions, *valid):
        if not path.exists():
            raise DataError(f"{path} is missing; `make demo` leaves it in runs/demo")
    return Trained(folder / "model", pick_rows(valid, OPTIONS.loss_rows), read_questions(questions))


def run(folder: Path) -> str:
    """Measure all precisions and return the report.

    Raises:
        DataError: the folder lacks something; says what.
        RuntimeError: float32 has not the loss that `evaluate` finds.
    """
    trained = read_trained(folder)
    found = [outcome(trained, precision) for precision in PRECISIONS]
    told, same = check_reference(trained, found[0])
    sizes = f"{len(trained.rows):,} validation rows, {len(trained.questions):,} unseen questions"
    return "\n".join(
        [
            f"precision: {trained.model}, {sizes}; each token of a row given all before it, and greedy answers",
            f"{machine(['smolchat-fast', 'torch', 'transformers'])}, {platform.machine()}",
            "",
            compared(found),
            "",
            f"`evaluate` finds a loss of {told.loss:.4f} in float32, over {told.target_tokens:,} target tokens, and "
            f"`generate` gives the answer of float32 to {same:,} of {len(trained.questions):,} questions.",
        ]
    )


def compared(found: Sequence[Outcome]) -> str:
    """A table of precisions beside the first one."""
    first, asked = found[0], len(found[0].answers)
    lines = []
    for each in found:
        same = sum(a == b for a, b in zip(first.answers, each.answers, strict=True))
        lines.append(
            [
                each.precision,
                f"{each.loss:.4f}",
                f"{each.loss / first.loss - 1:+.2%}",
                f"{same:,} ({same / asked:.1%})",
                f"{each.right:,} ({each.right / asked:.1%})",
            ]
        )
    return table(["precision", "loss by target token", "change", "answers as in float32", "right"], lines)


def outcome(trained: Trained, precision: Precision) -> Outcome:
    """Loss and answers of one precision."""
    from transformers import AutoTokenizer

    from smolchat_fast.encode import encode
    from smolchat_fast.serve.loading import load

    loaded = load(trained.model, precision=precision, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    prompts = encode(tokenizer, [question.prompt for question in trained.questions], OPTIONS.max_source)
    answers = greedy(loaded.decoder, prompts, OPTIONS.max_new_tokens)
    replies = tokenizer.batch_decode(answers, skip_special_tokens=True)
    return Outcome(
        precision=loaded.precision,
        loss=loss_by_steps(trained, loaded.decoder, tokenizer),
        answers=answers,
        right=sum(is_right(*pair) for pair in zip(trained.questions, replies, strict=True)),
    )


def loss_by_steps(trained: Trained, decoder: T5Decoder, tokenizer: PreTrainedTokenizerBase) -> float:
    """Loss by target token, the targets fed to the network a step at a time as answers are."""
    import torch
    from transformers import T5Config

    from smolchat_fast.encode import IGNORED, batches_by_length, encode, label_nats, pad, shifted_right

    config, network = T5Config.from_pretrained(trained.model), decoder.network
    sources = encode(tokenizer, [prompt for prompt, _ in trained.rows], OPTIONS.max_source)
    targets = encode(tokenizer, [response for _, response in trained.rows], OPTIONS.max_target)
    nats = 0.0
    for batch in batches_by_length([len(ids) for ids in targets], OPTIONS.batch_rows):
        for row in batch:
            encoding = network.encode(sources[row])
            encoding.advance(network.layers)
            network.join(encoding, 1)
        labels = pad([targets[row] for row in batch], IGNORED)  # [B, T]
        fed = shifted_right(labels, config.decoder_start_token_id, config.pad_token_id)
        for place in range(labels.shape[1]):
            with torch.inference_mode():
                logits = network.step(fed[:, place].tolist())[:, None]  # [B, 1, V]
                nats += float(label_nats(logits, labels[:, place : place + 1]).double().sum())
        network.select([])
    return nats / sum(map(len, targets))


def greedy(decoder: T5Decoder, prompts: Sequence[list[int]], max_new_tokens: int) -> list[list[int]]:
    """The tokens of greedy answers, many rows at a time, which leave as they end."""
    answers: list[list[int]] = []
    for first in range(0, len(prompts), OPTIONS.batch_rows):
        batch = prompts[first : first + OPTIONS.batch_rows]
        said: dict[Row, list[int]] = {
            decoder.start(prompt, Decoding(max_new_tokens=max_new_tokens)): [] for prompt in batch
        }
        for row in said:
            decoder.encode(row)
        running = len(said)
        while running:
            step = decoder.step()
            for row, emission in step:
                said[row] += [scored.id for scored in emission.tokens]
            ended = [row for row, emission in step if emission.reason]
            decoder.leave(ended)
            running -= len(ended)
        answers += said.values()
    return answers


def check_reference(trained: Trained, reference: Outcome) -> tuple[LossScore, int]:
    """The loss of `evaluate`, which float32 must have, and the number of answers that are those of `generate`."""
    from transformers import AutoTokenizer

    from smolchat_fast.evaluate.loss import score_loss
    from smolchat_fast.generate import generate_answers
    from smolchat_fast.model import load_model

    model, tokenizer = load_model(trained.model), AutoTokenizer.from_pretrained(trained.model)
    told = score_loss(model, tokenizer, trained.rows, OPTIONS)
    if abs(reference.loss / told.loss - 1) > ROUNDING:
        raise RuntimeError(
            f"the loss of {reference.precision} is {reference.loss}, that of `evaluate` {told.loss}"
        )
    prompts = [question.prompt for question in trained.questions]
    texts = generate_answers(model, tokenizer, prompts, OPTIONS.max_new_tokens, OPTIONS.batch_rows)
    replies = tokenizer.batch_decode(reference.answers, skip_special_tokens=True)
    return told, sum(map(str.__eq__, texts, replies))
