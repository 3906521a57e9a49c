"""What a recipe says a run has to reach, held against what the run measured."""

from __future__ import annotations

from collections.abc import Sequence

from smolchat_fast.evaluate import Card
from smolchat_fast.recipe import CheckOptions
from smolchat_fast.sources.demo.planted import Planted


def missed_checks(
    check: CheckOptions, before: Card | None, after: Card, planted: Sequence[Planted]
) -> list[str]:
    """In words, what a run did not reach.

    Args:
        check: What it has to reach; each question set that it names is on the cards.
        before: Card of the model before DPO; None only if nothing is compared with it.
        after: Card of the resulting model.
        planted: What was planted in the built-in corpus, and found.
    """
    missed = [
        f"{p.kind} ({p.set}): {p.share:.3f} of the planted rows found, {check.planted} wanted"
        for p in planted
        if p.share < check.planted
    ]
    for name, least in (check.exact or {}).items():
        share = after.exact[name].share
        if share < least:
            missed.append(f"questions {name}: {share:.3f} right, {least} wanted")
    if before is None:
        return missed
    for name, most in (check.exact_loss or {}).items():
        old, new = before.exact[name].share, after.exact[name].share
        if old - new > most:
            missed.append(f"questions {name}: {old:.3f} -> {new:.3f} by DPO, a fall of {most} allowed")
    for name, least in (check.preferred_gain or {}).items():
        gain = (after.exact[name].preferred or 0.0) - (before.exact[name].preferred or 0.0)
        if gain < least:
            missed.append(f"questions {name}: {gain:+.3f} preferred by DPO, +{least} wanted")
    return missed
