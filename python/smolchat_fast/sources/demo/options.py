"""What can be set about the demo corpus."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class DirtShares:
    """Shares of rows, each in [0, 1], that are planted with one kind of dirt."""

    html: float = 0.02
    """Kept rows with HTML tags or entities."""
    width: float = 0.02
    """Kept rows with full-width letters and digits, or ASCII punctuation beside Chinese."""
    control: float = 0.02
    """Kept rows with control characters or zero-width spaces."""
    repeated_marks: float = 0.015
    """Kept rows with a mark repeated several times."""
    spaces: float = 0.02
    """Kept rows with spaces between Chinese characters."""
    template: float = 0.015
    """Kept rows with the leftover of a prompt template."""
    exact_duplicate: float = 0.03
    """Rows added that repeat another one."""
    near_duplicate: float = 0.4
    """Articles and explanations added once more with a tiny edit, as a share of them."""
    empty_field: float = 0.006
    """Rows added without question or answer."""
    broken_row: float = 0.006
    """Rows added that cannot be read."""

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0 <= share <= 1:
                raise ValueError(f"option dirt.{field.name} = {share}: must be in [0, 1]")


@dataclass(frozen=True, kw_only=True)
class DemoCorpusOptions:
    """Size and dirt of the demo corpus."""

    seed: int = 1
    """Seed of every choice; the same seed gives the same files."""
    fact_share: float = 1.0
    """Share of each relation's facts that is used, in (0, 1]."""
    templates_per_fact_pretrain: int = 8
    """Wordings in which pre-training asks each fact."""
    templates_per_fact_sft: int = 3
    """Wordings in which fine-tuning asks each fact."""
    pretrain_only_share: float = 0.15
    """Share of a relation's facts that fine-tuning never sees (question set P)."""
    pretrain_only_min_facts: int = 20
    """Relations with fewer facts keep none of them from fine-tuning."""
    opening_share: float = 0.33
    """Share of questions that begin with a polite opening."""
    whole_share: float = 0.6
    """Share of training answers that are whole sentences; the others are curt."""
    unknown_share: float = 0.08
    """Share of training rows whose right answer is that it is not known."""
    articles: int = 250
    """Encyclopedia articles in the WikiExtractor file, at most."""
    preference_prompts: int = 1500
    """Prompts for preference training."""
    preference_unknown_share: float = 0.04
    """Share of these that cannot be answered. More of them, and a model refuses what it knows."""
    questions_per_set: int = 400
    """Questions in each of the sets A, B, C and P."""
    unknown_questions: int = 200
    """Questions in the set `unknown`."""
    style_questions: int = 200
    """Questions in the set `style`."""
    dirt: DirtShares = DirtShares()
    """What is planted in the raw files of pre-training; fine-tuning gets half of each share."""

    def __post_init__(self) -> None:
        if not 0 < self.fact_share <= 1:
            raise ValueError(f"option fact_share = {self.fact_share}: must be in (0, 1]")
        for name in ("templates_per_fact_pretrain", "templates_per_fact_sft"):
            if not 1 <= getattr(self, name) <= 20:
                raise ValueError(f"option {name} = {getattr(self, name)}: must be from 1 to 20")
        for name in (
            "pretrain_only_share",
            "opening_share",
            "whole_share",
            "unknown_share",
            "preference_unknown_share",
        ):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"option {name} = {getattr(self, name)}: must be in [0, 1)")
