"""BLEU-4 of a corpus."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sacrebleu")

from smolchat_fast.evaluate.bleu import score_bleu


def bleu_by_hand(answers: list[str], references: list[str]) -> float:
    """Papineni's formula on characters, counts summed over the corpus."""
    logs = []
    for n in range(1, 5):
        matched = total = 0
        for answer, reference in zip(answers, references, strict=True):
            grams = [
                Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in (answer, reference)
            ]
            matched += (grams[0] & grams[1]).total()
            total += grams[0].total()
        logs.append(math.log(matched / total))
    long, short = sum(map(len, references)), sum(map(len, answers))
    return 100 * min(1.0, math.exp(1 - long / short)) * math.exp(sum(logs) / 4)


@given(st.lists(st.text("湖南省的会是长沙", min_size=4, max_size=12), min_size=1, max_size=6), st.data())
def test_score_is_the_formula_of_the_paper(references: list[str], data: st.DataObject) -> None:
    same = data.draw(st.sampled_from(references))
    answers = [
        data.draw(st.sampled_from([reference, reference[:-1], reference + "省会", same]))
        for reference in references
    ]
    # A first answer that is right keeps every count above zero, where smoothing would set in.
    answers[0] = references[0]
    assert score_bleu(answers, references).score == pytest.approx(bleu_by_hand(answers, references))


def test_known_values() -> None:
    score = score_bleu(["湖南的省会是长沙市"], ["湖南省的省会是长沙。"])
    # 1- to 4-grams found: 8 of 9, 6 of 8, 4 of 7, 3 of 6; nine characters for ten.
    assert score.precisions == pytest.approx((800 / 9, 75, 400 / 7, 50))
    assert score.brevity_penalty == pytest.approx(math.exp(1 - 10 / 9))
    assert score.score == pytest.approx(100 * math.exp(1 - 10 / 9) * (8 / 9 * 0.75 * 4 / 7 * 0.5) ** 0.25)
    assert "tok:zh" in score.signature


def test_saying_the_same_is_a_hundred() -> None:
    assert score_bleu(["长沙是湖南省的省会。"], ["长沙是湖南省的省会。"]).score == pytest.approx(100)


def test_an_answer_twice_as_long_gains_nothing() -> None:
    reference = "湖南省的省会是长沙。"
    score = score_bleu([reference * 2], [reference])
    assert score.brevity_penalty == 1
    assert score.score < 60


def test_counts_are_of_the_corpus_not_a_mean_of_rows() -> None:
    answers, references = ["长沙是省会吗", "不知道他在哪里"], ["长沙是省会吗", "我们去武汉看江"]
    mean = (score_bleu(answers[:1], references[:1]).score + score_bleu(answers[1:], references[1:]).score) / 2
    assert score_bleu(answers, references).score == pytest.approx(bleu_by_hand(answers, references))
    assert score_bleu(answers, references).score != pytest.approx(mean, abs=1)


def test_words_of_other_scripts_are_whole_units() -> None:
    assert score_bleu(["abc 12 长沙"], ["abd 12 长沙"]).precisions[0] == pytest.approx(75)


def test_no_answer_at_all_is_zero() -> None:
    assert score_bleu([""], ["长沙"]).score == 0
