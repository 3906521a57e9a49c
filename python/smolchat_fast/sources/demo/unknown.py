"""Questions that cannot be answered, and questions about the model itself.

Three sorts have the answer "I do not know": entities that do not exist (`unknown.txt`), real entities
of which the thing cannot be asked (`misfits.txt`), and what no list of facts tells (`beyond.txt`).
Names, misfit pairs and wordings of training, dev and test are different ones.
"""

from __future__ import annotations

from random import Random

from .options import DemoCorpusOptions
from .plan import Openings, Question, Row, choose_noun
from .relations import FOLDER, Relation, load_relations, read_sections, split_bar
from .tables import lines_of

UNKNOWN_WHOLE = "对不起，我不知道。"
UNKNOWN_CURT = "不知道。"
BEYOND_SHARE = 0.15
"""Share of the unknown questions that no list of facts answers; they are the easiest to tell."""


def invented(part: str) -> list[tuple[Relation, list[str]]]:
    """Relations with names of their kind that do not exist."""
    sections = read_sections(FOLDER / "unknown.txt")
    stems = _words(sections.pop("stem"), part)
    names = {
        kind: [form.format(s=stem) for form in _words(lines, "form") for stem in stems] + _words(lines, part)
        for kind, lines in sections.items()
    }
    return [(relation, names[relation.kind]) for relation in load_relations() if relation.kind in names]


def _words(lines: list[tuple[str, str]], part: str) -> list[str]:
    return [word for name, rest in lines if name == part for word in rest.split()]


def misfits(part: str) -> list[tuple[Relation, list[str]]]:
    """Relations with real entities of a kind they cannot be asked of; every sixth is dev, the next test."""
    relations = {relation.name: relation for relation in load_relations()}
    found = []
    for number, line in enumerate(lines_of(FOLDER / "misfits.txt")):
        name, kinds = line.split(":")
        own = {fact.entity for fact in relations[name].facts}
        for kind in kinds.split():
            entities = sorted({f.entity for r in relations.values() if r.kind == kind for f in r.facts} - own)
            parts = [{4: "dev", 5: "test"}.get((i + number) % 6, "train") for i in range(len(entities))]
            found.append(
                (relations[name], [e for e, its in zip(entities, parts, strict=True) if its == part])
            )
    return found


def beyond(part: str) -> list[str]:
    """Questions that no list of facts answers."""
    lines = [line.split(maxsplit=1) for line in lines_of(FOLDER / "beyond.txt")]
    return [text for word, rest in lines if word == part for text in split_bar(rest)]


def unknown_prompts(part: str, count: int, openings: Openings, rng: Random) -> list[tuple[str, str]]:
    """`count` different (sort, prompt): some beyond all facts, the others half invented, half misfits."""
    plain = beyond(part)
    opened = [opening + text for text in plain for opening in openings.any + openings.question]
    few = round(count * BEYOND_SHARE)
    texts = rng.sample(plain, min(few, len(plain)))
    texts += rng.sample(opened, min(len(opened), few - len(texts)))
    prompts = dict.fromkeys(texts, "beyond")
    for sort, sources, goal in (
        ("invented", invented(part), (count + few) // 2),
        ("misfit", misfits(part), count),
    ):
        for _ in range(100 * count):
            if len(prompts) >= goal:
                break
            relation, entities = rng.choice(sources)
            template = rng.choice(relation.wordings(part))
            prompt = template.ask(rng.choice(entities), choose_noun(relation, rng))
            prompts.setdefault(openings.add(prompt, rng), sort)
    return [(sort, prompt) for prompt, sort in prompts.items()]


def unknown_rows(stage: str, count: int, options: DemoCorpusOptions, openings: Openings) -> list[Row]:
    """Training rows whose right answer is that it is not known."""
    rng = Random(f"unknown {options.seed} {stage}")
    rows = []
    for sort, prompt in unknown_prompts("train", count, openings, rng):
        whole = stage == "preference" or rng.random() < options.whole_share
        rows.append(Row(prompt, UNKNOWN_WHOLE if whole else UNKNOWN_CURT, sort))
    return rows


def unknown_questions(part: str, options: DemoCorpusOptions, openings: Openings) -> list[Question]:
    """The set `unknown` of dev or test."""
    rng = Random(f"unknown {options.seed} {part}")
    accepted = (UNKNOWN_WHOLE, UNKNOWN_CURT)
    return [
        Question("unknown", prompt, accepted, UNKNOWN_WHOLE, sort, "", sort)
        for sort, prompt in unknown_prompts(part, options.unknown_questions, openings, rng)
    ]


def persona_rows() -> list[Row]:
    """What the model says about itself, and greetings."""
    rows = []
    for line in lines_of(FOLDER / "persona.txt"):
        answer, wordings = line.split(":", 1)
        rows += [Row(prompt, answer.strip(), "persona") for prompt in split_bar(wordings)]
    return rows
