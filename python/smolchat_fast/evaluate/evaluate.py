"""Measures a model folder: loss, exact match and BLEU-4, on one card."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from smolchat_fast import __version__, device
from smolchat_fast.arguments import arguments
from smolchat_fast.evaluate.bleu import score_bleu
from smolchat_fast.evaluate.card import Card, LossScore, Sample
from smolchat_fast.evaluate.exact import Question, is_preferred, is_right, read_questions, score_exact
from smolchat_fast.evaluate.options import EvaluateOptions
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.rows import count_rows, read_texts
from smolchat_fast.stage import FOLDER, Report, peak_mb, run_stage

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
LIBRARIES = ("torch", "transformers", "tokenizers")


@arguments
def evaluate_files(
    inputs: Sequence[Path],
    out: Path,
    options: EvaluateOptions = EvaluateOptions(),
    *,
    model: Path,
    questions: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Card:
    """Measure a model and write its card.

    Args:
        inputs: Parquet files of rows (prompt, response) that it was not trained on, for loss and BLEU;
            none leaves both out.
        out: Folder of `card.json`, `card.md` and `answers.jsonl`, which has every question's answer.
        options: What is measured, and on how much.
        model: Folder of the model and its tokenizer.
        questions: JSON lines of questions (set, prompt, accepted, preferred) for exact match.
        threads: CPU threads of torch.
        overwrite: Replace an output that was made otherwise.
        progress: Called with ("loss", "answers" or "questions", rows done, rows in all).
    Returns:
        The card.
    Raises:
        DataError: a file lacks a column or has a null, or a question cannot be read; names the place.
        ValueError: an option is out of range, or there is nothing to measure on.
        StageError: `out` exists and was made otherwise.
    """
    options.check()
    if not inputs and questions is None:
        raise ValueError("nothing to measure on: name row files, or --questions, or both")

    def work(partials: list[Path]) -> Report:
        with device.session(threads) as place:
            card = _card(_Measured(model, place, options, progress or ignore), inputs, questions, partials[0])
        card.write(partials[0])
        return asdict(card)

    read = [*inputs, model, *([questions] if questions else [])]
    finished = run_stage(
        "evaluate", out, work, makes=FOLDER, inputs=read, options=options, overwrite=overwrite
    )
    return Card.from_json(finished.report)


class _Measured:
    """One model under measurement."""

    def __init__(
        self, folder: Path, place: torch.device, options: EvaluateOptions, progress: Progress
    ) -> None:
        from transformers import AutoTokenizer

        from smolchat_fast.model import load_model

        self.folder, self.place, self.options, self.progress = folder, place, options, progress
        self.model = load_model(folder)
        self.model.to(place)  # type: ignore[arg-type]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.answered, self.answer_seconds = 0, 0.0

    def facts(self) -> dict[str, Any]:
        """What the model is, and how fast it answered."""
        return {
            "model": self.folder.name,
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "vocabulary": len(self.tokenizer),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "weights_mb": sum(path.stat().st_size for path in self.folder.glob("*.safetensors")) / 1e6,
            "device": str(self.place),
            "answers_per_s": self.answered / self.answer_seconds if self.answered else None,
        }

    def loss(self, rows: Sequence[tuple[str, str]]) -> LossScore | None:
        """Loss of the responses; None without rows."""
        from smolchat_fast.evaluate.loss import score_loss

        return score_loss(self.model, self.tokenizer, rows, self.options, self.progress) if rows else None

    def answers(self, asked: str, prompts: list[str]) -> list[str]:
        """Greedy answers, in the order of the prompts; `asked` names them in the progress."""
        from smolchat_fast.generate import generate_answers

        def told(phase: str, done: int, total: int) -> None:
            self.progress(asked, done, total)

        began = time.monotonic()
        answers = generate_answers(
            self.model,
            self.tokenizer,
            prompts,
            self.options.max_new_tokens,
            self.options.batch_rows,
            max_source=self.options.max_source,
            progress=told,
        )
        self.answered += len(answers)
        self.answer_seconds += time.monotonic() - began
        return answers


def _card(measured: _Measured, inputs: Sequence[Path], questions: Path | None, out: Path) -> Card:
    began, options = time.monotonic(), measured.options
    rows = pick_rows(inputs, options.loss_rows)
    loss = measured.loss(rows)
    scored = spaced(rows, options.bleu_rows)
    answers = measured.answers("answers", [prompt for prompt, _ in scored])
    asked = read_questions(questions) if questions else []
    replies = measured.answers("questions", [question.prompt for question in asked])
    if asked:
        _write_answers(out / "answers.jsonl", asked, replies)
    samples = [_question_sample(question, reply) for question, reply in zip(asked, replies, strict=True)] or [
        Sample(prompt=prompt, answer=answer, expected=response, right=None)
        for (prompt, response), answer in zip(scored, answers, strict=True)
    ]
    return Card(
        **measured.facts(),
        loss=loss,
        exact=score_exact(asked, replies),
        bleu=score_bleu(answers, [response for _, response in scored]) if scored else None,
        samples=tuple(spaced(samples, options.samples)),
        versions={"smolchat-fast": __version__} | {name: metadata.version(name) for name in LIBRARIES},
        seconds=time.monotonic() - began,
        peak_mb=peak_mb(),
    )


def pick_rows(
    paths: Sequence[Path], most: int, columns: tuple[str, str] = ("prompt", "response")
) -> list[tuple[str, str]]:
    """Rows evenly spaced over the files.

    Args:
        paths: Parquet files of rows.
        most: Rows at most; 0 takes all.
        columns: Columns of prompt and response.
    Returns:
        Pairs of prompt and response, in input order.
    """
    total = count_rows(paths)
    wanted = set(spaced(range(total), most or total))
    picked, first = [], 0
    for prompts, responses in read_texts(paths, columns):
        pairs = enumerate(zip(prompts, responses, strict=True), first)
        picked += [pair for row, pair in pairs if row in wanted]
        first += len(prompts)
    return picked


def spaced(items: Sequence[T], most: int) -> list[T]:
    """At most so many items, evenly spaced, the first of them among them."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _question_sample(question: Question, reply: str) -> Sample:
    expected = question.preferred or question.accepted[0]
    return Sample(prompt=question.prompt, answer=reply, expected=expected, right=is_right(question, reply))


def _write_answers(path: Path, questions: Sequence[Question], replies: Sequence[str]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for question, reply in zip(questions, replies, strict=True):
            line = {
                "set": question.set,
                "prompt": question.prompt,
                "answer": reply,
                "right": is_right(question, reply),
                "preferred": is_preferred(question, reply),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
