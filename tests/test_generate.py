"""Greedy generation: what `transformers` says token for token, whatever the batch."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from smolchat_fast.encode import encode, pad_sources
from smolchat_fast.generate import generate_answers, greedy_tokens
from tiny import some_prompts, tiny_model, tiny_tokenizer

TOKENS = 20


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_tokens_equal_those_of_transformers(model) -> None:
    tokenizer, prompts = tiny_tokenizer(), some_prompts(40)
    ids, mask = pad_sources(encode(tokenizer, prompts, 64), 0)
    ours = greedy_tokens(model, ids, mask, TOKENS)
    theirs = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False)
    assert len(set(map(tuple, ours.tolist()))) > 10, "answers that differ show more"
    ended = (ours == 1).any(1).sum()
    assert 0 < ended < 40, "some answers must end before the others"
    assert torch.equal(ours, theirs[:, 1:])


@pytest.mark.parametrize("batch_rows", [1, 7, 64])
def test_answers_do_not_depend_on_the_batch(model, batch_rows: int) -> None:
    tokenizer, prompts = tiny_tokenizer(), some_prompts(40)
    together = generate_answers(model, tokenizer, prompts, TOKENS, 256)
    assert generate_answers(model, tokenizer, prompts, TOKENS, batch_rows) == together


def test_answers_come_in_the_order_of_the_prompts(model) -> None:
    tokenizer, prompts = tiny_tokenizer(), some_prompts(24)
    forth = generate_answers(model, tokenizer, prompts, TOKENS, 8)
    back = generate_answers(model, tokenizer, prompts[::-1], TOKENS, 8)
    assert forth == back[::-1]


def test_an_answer_is_never_longer_than_allowed(model) -> None:
    ids, mask = pad_sources(encode(tiny_tokenizer(), some_prompts(24), 64), 0)
    assert greedy_tokens(model, ids, mask, 3).shape == (24, 3)


def test_nothing_asked_nothing_answered(model) -> None:
    assert generate_answers(model, tiny_tokenizer(), []) == []


def test_the_model_stays_in_the_mode_it_was_in() -> None:
    model = tiny_model(dropout=0.5).train()
    prompts = some_prompts(8)
    first = generate_answers(model, tiny_tokenizer(), prompts, TOKENS)
    assert first == generate_answers(model, tiny_tokenizer(), prompts, TOKENS), "no dropout while answering"
    assert model.training


def test_a_prompt_that_is_too_long_keeps_its_end_mark() -> None:
    (ids,) = encode(tiny_tokenizer(), ["湖南省的省会是？"], 4)
    assert len(ids) == 4
    assert ids[-1] == 1


def test_progress_ends_at_the_number_of_prompts(model) -> None:
    seen: list[tuple[str, int, int]] = []
    generate_answers(
        model, tiny_tokenizer(), some_prompts(10), 4, 4, progress=lambda *told: seen.append(told)
    )
    assert seen == [("answers", 4, 10), ("answers", 8, 10), ("answers", 10, 10)]
