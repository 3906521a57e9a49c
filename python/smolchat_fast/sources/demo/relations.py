"""Relations: what is asked, of which facts, in which words. Read from `templates/`.

Wordings are split three ways where they are written, never by chance: `train`, `dev` (tuning looks at
it) and `test` (nobody tunes on it). The general phrasings in `generic.txt` are shared; each relation
keeps one of them for dev and one for test, in turn, so that each is trained with the other relations.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .tables import lines_of, read_facts

FOLDER = Path(__file__).parent / "templates"
FAMILIES = ("geography", "nature", "calendar", "literature", "language")
PARTS = ("train", "dev", "test")
DEV_SHIFT = 5
"""Distance, in the list of general phrasings, between the one kept for test and the one for dev."""


@dataclass(frozen=True)
class Fact:
    """One answerable thing: `entity` as it stands in a question, `value` as it stands in the answer."""

    entity: str
    value: str


@dataclass(frozen=True)
class Template:
    """One wording, with `{e}` for the entity and, if it is a general one, `{a}` for what is asked."""

    text: str
    part: str
    general: bool

    def ask(self, entity: str, noun: str) -> str:
        return self.text.format(e=entity, a=noun)


@dataclass(frozen=True)
class Relation:
    """A kind of fact with its wordings."""

    name: str
    family: str
    kind: str
    nouns: tuple[str, ...]
    answer: str
    listing: str
    """A true sentence about all entities `{keys}` of one value `{v}`; empty if there is none."""
    facts: tuple[Fact, ...]
    templates: tuple[Template, ...]

    def whole(self, fact: Fact) -> str:
        """The preferred answer, a whole sentence."""
        return self.answer.format(e=fact.entity, v=fact.value)

    @staticmethod
    def curt(fact: Fact) -> str:
        """The short answer."""
        return f"{fact.value}。"

    def wordings(self, part: str, *, general: bool | None = None) -> list[Template]:
        """The templates of one part; `general` narrows to the shared phrasings or to the own ones."""
        return [t for t in self.templates if t.part == part and general in (None, t.general)]


def split_bar(text: str) -> list[str]:
    """The items of a line separated by ` | `."""
    return [item.strip() for item in text.split("|") if item.strip()]


def read_sections(path: Path) -> dict[str, list[tuple[str, str]]]:
    """`[name]` sections of `word rest-of-line` lines."""
    sections: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in lines_of(path):
        if line.startswith("["):
            name = line.strip("[]")
            sections[name] = []
        else:
            word, rest = line.split(maxsplit=1)
            sections[name].append((word, rest))
    return sections


def general_templates(index: int) -> list[Template]:
    """The shared phrasings with the parts they have for relation number `index`."""
    texts = lines_of(FOLDER / "generic.txt")
    kept = {index % len(texts): "test", (index + DEV_SHIFT) % len(texts): "dev"}
    return [Template(text, kept.get(i, "train"), general=True) for i, text in enumerate(texts)]


def build_relation(name: str, family: str, index: int, lines: list[tuple[str, str]]) -> Relation:
    """One relation from the lines of its section."""
    single = {word: rest for word, rest in lines if word not in PARTS}
    own = [
        Template(text, word, general=False)
        for word, rest in lines
        if word in PARTS
        for text in split_bar(rest)
    ]
    entity, value = single.get("entity", "{key}"), single.get("value", "{value}")
    facts = tuple(Fact(entity.format(key=k), value.format(value=v)) for k, v in read_facts(single["facts"]))
    return Relation(
        name=name,
        family=family,
        kind=single["kind"],
        nouns=tuple(split_bar(single["nouns"])),
        answer=single["answer"],
        listing=single.get("list", ""),
        facts=facts,
        templates=(*general_templates(index), *own),
    )


@lru_cache(maxsize=1)
def load_relations() -> tuple[Relation, ...]:
    """All relations, checked: one answer for a question.

    Raises:
        ValueError: an entity stands twice in one relation.
    """
    sections = [(f, n, ls) for f in FAMILIES for n, ls in read_sections(FOLDER / f"{f}.txt").items()]
    relations = tuple(build_relation(n, f, i, ls) for i, (f, n, ls) in enumerate(sections))
    for relation in relations:
        counts = Counter(fact.entity for fact in relation.facts)
        twice = [entity for entity, count in counts.items() if count > 1]
        if twice:
            raise ValueError(f"{relation.name}: more than one answer for {', '.join(twice)}")
    return relations


def look() -> str:
    """All facts as a table for a person to check: relation, entity, value and the sentence that is taught."""
    return "\n".join(
        "\t".join((relation.name, fact.entity, fact.value, relation.whole(fact)))
        for relation in load_relations()
        for fact in relation.facts
    )
