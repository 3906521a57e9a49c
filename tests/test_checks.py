"""What a run missed is told with its measure and with what was wanted."""

from __future__ import annotations

import pytest

from smolchat_fast.checks import missed_checks
from smolchat_fast.evaluate.card import Card, ExactScore
from smolchat_fast.recipe import CheckOptions
from smolchat_fast.sources.demo.planted import Planted


def card(**shares: tuple[float, float | None]) -> Card:
    """A card with the shares of right and of preferred answers of each question set."""
    exact = {
        name: ExactScore(n=100, right=0, share=right, low=0.0, high=1.0, preferred=preferred)
        for name, (right, preferred) in shares.items()
    }
    return Card(
        model="m",
        parameters=1,
        vocabulary=1,
        dtype="float32",
        weights_mb=1.0,
        loss=None,
        exact=exact,
        bleu=None,
        samples=(),
        versions={},
        device="cpu",
        answers_per_s=None,
        seconds=1.0,
        peak_mb=1.0,
    )


BEFORE, AFTER = card(A=(0.90, None), mine=(0.5, 0.25)), card(A=(0.86, None), mine=(0.5, 0.375))


@pytest.mark.parametrize(
    ("check", "missed"),
    [
        (CheckOptions(), []),
        (CheckOptions(exact={"A": 0.86}), []),
        (CheckOptions(exact={"A": 0.87, "mine": 0.5}), ["questions A: 0.860 right, 0.87 wanted"]),
        (CheckOptions(exact_loss={"A": 0.05, "mine": 0.0}), []),
        (
            CheckOptions(exact_loss={"A": 0.03}),
            ["questions A: 0.900 -> 0.860 by DPO, a fall of 0.03 allowed"],
        ),
        (CheckOptions(preferred_gain={"mine": 0.125}), []),
        (
            CheckOptions(preferred_gain={"mine": 0.2}),
            ["questions mine: +0.125 preferred by DPO, +0.2 wanted"],
        ),
        (CheckOptions(planted=0.9), ["html (sft): 0.500 of the planted rows found, 0.9 wanted"]),
    ],
)
def test_each_check_is_held_against_the_cards(check: CheckOptions, missed: list[str]) -> None:
    planted = [Planted("sft", "html", planted=4, found=2), Planted("sft", "width", planted=4, found=4)]
    assert missed_checks(check, BEFORE, AFTER, planted) == missed


def test_without_dpo_the_result_alone_is_checked() -> None:
    assert missed_checks(CheckOptions(exact={"A": 0.8}), None, AFTER, []) == []
    assert len(missed_checks(CheckOptions(exact={"A": 0.9}), None, AFTER, [])) == 1
