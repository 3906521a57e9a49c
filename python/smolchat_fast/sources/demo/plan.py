"""Decides which fact is asked in which words where: the heart of the demo's honesty.

For each fact two trained wordings are set aside, one for a dev and one for a test question of kind A;
pre-training and fine-tuning choose among the others. A share of the facts stays out of fine-tuning (P).

- A: fact and wording are trained, never together.
- B: a general phrasing that this relation never trains on.
- C: an own wording of the relation that is never trained.
- P: a fact that fine-tuning never sees, asked in one of the three ways.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from .options import DemoCorpusOptions
from .relations import FOLDER, Fact, Relation, Template, load_relations, split_bar
from .tables import lines_of


@dataclass(frozen=True)
class Row:
    """One training row."""

    prompt: str
    response: str
    label: str
    """Family of the question, the `department` of the CSV file."""


@dataclass(frozen=True)
class Question:
    """One question of the dev or test set."""

    set: str
    prompt: str
    accepted: tuple[str, ...]
    preferred: str
    relation: str
    entity: str
    phrasing: str
    """A, B or C for questions about facts; where the words come from otherwise."""


@dataclass(frozen=True)
class Asked:
    """A fact with the wordings it is given."""

    relation: Relation
    fact: Fact
    pretrain_only: bool
    reserved: dict[str, Template]
    """Part (`dev`, `test`) -> the trained wording kept for its A question."""
    pretrain: tuple[Template, ...]
    sft: tuple[Template, ...]
    spare: Template
    """The wording of its preference prompt."""


class Openings:
    """Polite openings, put before a share of the questions."""

    def __init__(self, share: float) -> None:
        lines = dict(line.split(maxsplit=1) for line in lines_of(FOLDER / "openings.txt"))
        self.share = share
        self.any = split_bar(lines["any"])
        self.question = split_bar(lines["question"])
        self.never = tuple(split_bar(lines["never"]))

    def add(self, prompt: str, rng: Random) -> str:
        """The prompt, with an opening now and then."""
        if rng.random() >= self.share:
            return prompt
        asks = prompt.endswith("？") and not prompt.startswith(self.never)
        return rng.choice(self.any + self.question if asks else self.any) + prompt

    def strip(self, prompt: str) -> str:
        """The prompt without its opening."""
        for opening in self.any + self.question:
            if prompt.startswith(opening) and len(prompt) > len(opening) + 1:
                return prompt[len(opening) :]
        return prompt


def least_used(choices: list[Template], count: int, used: Counter[str], rng: Random) -> tuple[Template, ...]:
    """`count` of the choices, those used least so far first, ties by chance; counts them as used."""
    order = sorted(rng.sample(choices, len(choices)), key=lambda t: used[t.text])
    used.update(t.text for t in order[:count])
    return tuple(order[:count])


def plan_relation(relation: Relation, options: DemoCorpusOptions) -> list[Asked]:
    """Gives every fact of a relation its wordings."""
    rng = Random(f"plan {options.seed} {relation.name}")
    facts = list(relation.facts[: max(1, round(len(relation.facts) * options.fact_share))])
    aside: set[Fact] = set()
    if len(facts) >= options.pretrain_only_min_facts:
        aside = set(rng.sample(facts, round(len(facts) * options.pretrain_only_share)))
    trained = relation.wordings("train")
    used: dict[str, Counter[str]] = {name: Counter() for name in ("reserved", "pretrain", "sft", "spare")}
    planned = []
    for fact in facts:
        dev, test = least_used(trained, 2, used["reserved"], rng)
        free = [t for t in trained if t not in (dev, test)]
        planned.append(
            Asked(
                relation=relation,
                fact=fact,
                pretrain_only=fact in aside,
                reserved={"dev": dev, "test": test},
                pretrain=least_used(free, options.templates_per_fact_pretrain, used["pretrain"], rng),
                sft=()
                if fact in aside
                else least_used(free, options.templates_per_fact_sft, used["sft"], rng),
                spare=least_used(free, 1, used["spare"], rng)[0],
            )
        )
    return planned


def plan_facts(options: DemoCorpusOptions) -> list[Asked]:
    """Every fact with its wordings."""
    return [asked for relation in load_relations() for asked in plan_relation(relation, options)]


def choose_noun(relation: Relation, rng: Random) -> str:
    """What is asked, in one of its words; the first word half of the time."""
    return relation.nouns[0] if rng.random() < 0.5 else rng.choice(relation.nouns[1:])


def ask(relation: Relation, fact: Fact, template: Template, openings: Openings, rng: Random) -> str:
    """The question as a user would put it."""
    return openings.add(template.ask(fact.entity, choose_noun(relation, rng)), rng)


def fact_rows(
    asked: Iterable[Asked], stage: str, options: DemoCorpusOptions, openings: Openings
) -> list[Row]:
    """The rows of one stage (`pretrain` or `sft`) about facts."""
    rng = Random(f"rows {options.seed} {stage}")
    rows = []
    for item in asked:
        for template in item.pretrain if stage == "pretrain" else item.sft:
            prompt = ask(item.relation, item.fact, template, openings, rng)
            whole = rng.random() < options.whole_share
            answer = item.relation.whole(item.fact) if whole else item.relation.curt(item.fact)
            rows.append(Row(prompt, answer, item.relation.family))
    return rows


def preference_rows(
    asked: Iterable[Asked], count: int, options: DemoCorpusOptions, openings: Openings
) -> list[Row]:
    """Prompts for preference training with the preferred answer; no facts of P."""
    rng = Random(f"preference {options.seed}")
    known = [item for item in asked if not item.pretrain_only]
    chosen = rng.sample(known, min(count, len(known)))
    return [
        Row(ask(i.relation, i.fact, i.spare, openings, rng), i.relation.whole(i.fact), i.relation.family)
        for i in chosen
    ]


def question(item: Asked, name: str, phrasing: str, part: str, openings: Openings, rng: Random) -> Question:
    """One question about a fact, phrased in way A, B or C."""
    if phrasing == "A":
        template = item.reserved[part]
    else:
        template = rng.choice(item.relation.wordings(part, general=phrasing == "B"))
    prompt = ask(item.relation, item.fact, template, openings, rng)
    whole, curt = item.relation.whole(item.fact), item.relation.curt(item.fact)
    return Question(name, prompt, (whole, curt), whole, item.relation.name, item.fact.entity, phrasing)


def fact_questions(
    asked: list[Asked], part: str, options: DemoCorpusOptions, openings: Openings
) -> list[Question]:
    """The sets A, B, C, P and style of one part."""
    rng = Random(f"questions {options.seed} {part}")
    known = [item for item in asked if not item.pretrain_only]
    aside = [item for item in asked if item.pretrain_only]
    questions = []
    for phrasing in "ABC":
        for item in rng.sample(known, min(options.questions_per_set, len(known))):
            questions.append(question(item, phrasing, phrasing, part, openings, rng))
    pairs = [(item, phrasing) for item in aside for phrasing in "ABC"]
    for item, phrasing in rng.sample(pairs, min(options.questions_per_set, len(pairs))):
        questions.append(question(item, "P", phrasing, part, openings, rng))
    asked_in_b = {(q.relation, q.entity) for q in questions if q.set == "B"}
    others = [item for item in known if (item.relation.name, item.fact.entity) not in asked_in_b]
    for item in rng.sample(others, min(options.style_questions, len(others))):
        questions.append(question(item, "style", "B", part, openings, rng))
    return questions
