"""The card, and the numbers on it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sacrebleu")

import torch

from smolchat_fast.errors import DataError
from smolchat_fast.evaluate import EvaluateOptions, evaluate_files
from smolchat_fast.evaluate.bleu import score_bleu
from smolchat_fast.evaluate.evaluate import pick_rows, spaced
from smolchat_fast.evaluate.loss import score_loss
from smolchat_fast.generate import generate_answers
from tiny import save_tiny, some_prompts, tiny_model, tiny_tokenizer, write_rows

OPTIONS = EvaluateOptions(loss_rows=0, bleu_rows=10, samples=3, max_new_tokens=8, batch_rows=7)
ROWS = [(prompt, "湖南的省会是长沙。"[: 3 + i % 7]) for i, prompt in enumerate(some_prompts(30))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "valid.parquet"
    return write_rows(path, [{"prompt": prompt, "response": response} for prompt, response in ROWS])


def nats_by_row() -> tuple[list[float], list[int]]:
    """Summed loss and target tokens of each row alone, as transformers computes them."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    nats, tokens = [], []
    for prompt, response in ROWS:
        labels = torch.tensor([tokenizer.encode(response)])
        with torch.no_grad():
            loss = model(input_ids=torch.tensor([tokenizer.encode(prompt)]), labels=labels).loss.item()
        tokens.append(labels.shape[1])
        nats.append(loss * tokens[-1])
    return nats, tokens


def test_loss_is_by_target_token_over_all_rows() -> None:
    score = score_loss(tiny_model(), tiny_tokenizer(), ROWS, OPTIONS)
    nats, tokens = nats_by_row()
    assert score.loss == pytest.approx(sum(nats) / sum(tokens), rel=1e-5)
    assert (score.rows, score.target_tokens, score.cut) == (30, sum(tokens), 0)
    assert score.bits_per_byte == pytest.approx(
        sum(nats) / math.log(2) / sum(len(response.encode()) for _, response in ROWS), rel=1e-5
    )
    assert score.perplexity == pytest.approx(math.exp(score.loss))


@pytest.mark.parametrize("batch_rows", [1, 30])
def test_loss_does_not_depend_on_the_batch(batch_rows: int) -> None:
    scores = [
        score_loss(tiny_model(), tiny_tokenizer(), ROWS, replace(OPTIONS, batch_rows=size))
        for size in (7, batch_rows)
    ]
    assert scores[0].loss == pytest.approx(scores[1].loss, rel=1e-6)


def test_cut_responses_are_counted_and_left_out_of_bits_per_byte() -> None:
    score = score_loss(tiny_model(), tiny_tokenizer(), ROWS, replace(OPTIONS, max_target=6))
    whole = [i for i, (_, response) in enumerate(ROWS) if len(response) + 1 <= 6]
    nats, _ = nats_by_row()
    assert score.cut == len(ROWS) - len(whole)
    assert score.target_tokens == sum(min(len(response) + 1, 6) for _, response in ROWS)
    assert score.bits_per_byte == pytest.approx(
        sum(nats[i] for i in whole) / math.log(2) / sum(len(ROWS[i][1].encode()) for i in whole), rel=1e-5
    )


def test_the_card_holds_what_was_measured(tmp_path: Path, model: Path, rows: Path) -> None:
    prompts = some_prompts(12, seed=2)
    answers = generate_answers(tiny_model(), tiny_tokenizer(), prompts, 8)
    questions = tmp_path / "questions.jsonl"
    # Every third question accepts what the model says; every sixth prefers it.
    lines = [
        {
            "set": "AB"[i % 2],
            "prompt": prompt,
            "accepted": [answer if i % 3 == 0 else "长沙。", "没有这个答案"],
            "preferred": answer if i % 6 == 0 else "长沙。",
        }
        for i, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    card = evaluate_files([rows], tmp_path / "card", OPTIONS, model=model, questions=questions)
    assert {name: (score.n, score.right, score.preferred) for name, score in card.exact.items()} == {
        "A": (6, 2, 2 / 6),
        "B": (6, 2, 0.0),
    }
    scored = spaced(ROWS, 10)
    replies = generate_answers(tiny_model(), tiny_tokenizer(), [prompt for prompt, _ in scored], 8)
    assert card.bleu == score_bleu(replies, [response for _, response in scored])
    assert card.loss is not None
    assert card.loss.rows == 30
    assert card.parameters == sum(p.numel() for p in tiny_model().parameters())
    assert card.vocabulary == len(tiny_tokenizer())
    assert card.weights_mb == pytest.approx((model / "model.safetensors").stat().st_size / 1e6)
    assert [(sample.prompt, sample.answer) for sample in card.samples] == [
        (prompts[i], answers[i]) for i in (0, 4, 8)
    ]
    assert card.answers_per_s
    assert card.peak_mb > 100
    assert torch.__version__.startswith(card.versions["torch"])

    stored = json.loads((tmp_path / "card" / "card.json").read_text("utf-8"))
    assert stored["exact"]["A"]["share"] == pytest.approx(2 / 6)
    assert "seconds" not in stored, "nothing that differs when it is measured again"
    assert evaluate_files([rows], tmp_path / "card", OPTIONS, model=model, questions=questions) == card, (
        "read back"
    )
    kept = [
        json.loads(line) for line in (tmp_path / "card" / "answers.jsonl").read_text("utf-8").splitlines()
    ]
    assert [line["answer"] for line in kept] == answers
    assert [line["right"] for line in kept] == [i % 3 == 0 for i in range(12)]


def test_the_card_is_readable(tmp_path: Path, model: Path, rows: Path) -> None:
    card = evaluate_files([rows], tmp_path / "card", OPTIONS, model=model)
    text = (tmp_path / "card" / "card.md").read_text("utf-8")
    assert card.loss is not None
    assert f"| {card.loss.loss:.4f} |" in text
    assert "## BLEU" in text
    assert "## Exact match" not in text
    assert all(len(line) < 400 for line in text.splitlines())
    assert "loss" in str(card)


def test_questions_alone_are_enough(tmp_path: Path, model: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text('{"set": "A", "prompt": "湖南", "accepted": ["长沙"]}\n', "utf-8")
    card = evaluate_files([], tmp_path / "card", OPTIONS, model=model, questions=questions)
    assert (card.loss, card.bleu, card.exact["A"].n) == (None, None, 1)


def test_nothing_to_measure_on_is_refused(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="nothing to measure on"):
        evaluate_files([], tmp_path / "card", model=model)


def test_a_faulty_row_leaves_no_card(tmp_path: Path, model: Path) -> None:
    rows = write_rows(
        tmp_path / "rows.parquet", [{"prompt": "甲", "response": None}, {"prompt": "乙", "response": "丙"}]
    )
    with pytest.raises(DataError, match="row 1: column 'response' is null"):
        evaluate_files([rows], tmp_path / "card", OPTIONS, model=model)
    assert not list(tmp_path.glob("card*"))


def test_rows_are_picked_evenly_over_all_files(tmp_path: Path) -> None:
    paths = [
        write_rows(
            tmp_path / f"{part}.parquet", [{"prompt": f"{part}{i}", "response": "长"} for i in range(count)]
        )
        for part, count in (("a", 5), ("b", 15))
    ]
    assert [prompt for prompt, _ in pick_rows(paths, 4)] == ["a0", "b0", "b5", "b10"]
    assert len(pick_rows(paths, 0)) == 20
    assert len(pick_rows(paths, 99)) == 20


def test_an_option_out_of_range_is_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="option batch_rows = 0: must be at least 1"):
        evaluate_files([], tmp_path / "card", EvaluateOptions(batch_rows=0), model=model)
