"""Exact match and its intervals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smolchat_fast.errors import DataError
from smolchat_fast.evaluate.exact import Question, read_questions, score_exact, wilson_interval

FULL, CURT = "湖南省的省会是长沙。", "长沙。"


def question(name: str = "A", preferred: str | None = FULL) -> Question:
    return Question(name, "湖南的省会？", (FULL, CURT), preferred)


def test_each_set_counts_right_and_preferred_answers() -> None:
    questions = [question("A")] * 4 + [question("B")] * 2
    scores = score_exact(questions, [FULL, CURT, "武汉。", f" {FULL} ", CURT, "长沙"])
    assert list(scores) == ["A", "B"]
    assert (scores["A"].n, scores["A"].right, scores["A"].share, scores["A"].preferred) == (4, 3, 0.75, 0.5)
    assert (scores["B"].n, scores["B"].right, scores["B"].share, scores["B"].preferred) == (2, 1, 0.5, 0.0)


def test_a_refusal_counts_where_the_question_accepts_it() -> None:
    unknown = Question("unknown", "火星的省会？", ("我不知道。", "这个我不知道。"))
    score = score_exact([unknown] * 2, ["这个我不知道。", "巴金。"])["unknown"]
    assert (score.share, score.preferred) == (0.5, None)


def test_the_interval_holds_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 0 of 20, 1 of 29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_around_the_share(counts: tuple[int, int]) -> None:
    right, n = counts
    low, high = wilson_interval(right, n)
    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    # Right and wrong are the same question turned round.
    assert wilson_interval(n - right, n) == pytest.approx((1 - high, 1 - low))


def test_questions_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    line = {"set": "A", "prompt": "湖南的省会？", "accepted": [FULL, CURT], "preferred": FULL}
    path.write_text(
        json.dumps(line, ensure_ascii=False) + "\n\n" + json.dumps(line | {"preferred": None}) + "\n", "utf-8"
    )
    assert read_questions(path) == [question(), question(preferred=None)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: found list, expected"),
        ('{"set": "A", "prompt": "?", "accepted": []}', "line 2: expected"),
        ('{"set": "A", "prompt": "?", "accepted": "长沙"}', "line 2: expected"),
        ('{"set": "A", "prompt": "?", "accepted": ["x"], "preferred": 1}', "line 2: expected"),
        ('{"prompt": "?", "accepted": ["x"]}', "line 2: expected"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str, problem: str) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text('{"set": "A", "prompt": "?", "accepted": ["x"]}\n' + line + "\n", "utf-8")
    with pytest.raises(DataError, match=problem):
        read_questions(path)


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no question"):
        read_questions(path)
