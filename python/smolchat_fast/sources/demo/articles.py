"""Short articles that gather what several relations say about one entity or one value."""

from __future__ import annotations

from random import Random

from .options import DemoCorpusOptions
from .plan import Asked, Row

EXPLAIN = ("介绍一下{e}。", "请简单介绍{e}。", "说说你对{e}的了解。")
FEWEST_CHARACTERS = 14
MOST_NAMES = 7
"""Names in one list; more would make a long sentence that a small model cannot learn."""
# An article about one of these would mix two senses of a word, or say one thing only.
NOT_TITLES = {
    "abbreviation",
    "half_idiom",
    "word",
    "symbol",
    "number",
    "line",
    "sum",
    "product",
    "branch",
    "zodiac",
}


def listed(asked: list[Asked], rng: Random) -> list[tuple[str, str]]:
    """(value, sentence naming entities of that value), for relations that have such a sentence."""
    groups: dict[tuple[str, str], list[Asked]] = {}
    for item in asked:
        if item.relation.listing:
            groups.setdefault((item.relation.name, item.fact.value), []).append(item)
    sentences = []
    for (_, value), items in groups.items():
        if len(items) > 1:
            some = rng.sample(items, min(MOST_NAMES, len(items)))
            keys = "、".join(item.fact.entity for item in some[:-1]) + "和" + some[-1].fact.entity
            sentences.append((value, items[0].relation.listing.format(v=value, keys=keys)))
    return sentences


def build_articles(asked: list[Asked], options: DemoCorpusOptions) -> tuple[list[Row], list[Row]]:
    """(articles with the title as prompt, explanations with a question as prompt), of different titles."""
    rng = Random(f"articles {options.seed}")
    told = [(i.fact.entity, i.relation.whole(i.fact)) for i in asked if i.relation.kind not in NOT_TITLES]
    about: dict[str, list[str]] = {}
    for title, sentence in told + listed(asked, rng):
        sentences = about.setdefault(title, [])
        follows = bool(sentences) and sentence.startswith(title)
        sentences.append("它" + sentence[len(title) :] if follows else sentence)
    texts = [(title, "".join(s)) for title, s in about.items() if len(s) > 1 or "、" in s[0] or "和" in s[0]]
    texts = [(title, text) for title, text in texts if len(text) >= FEWEST_CHARACTERS]
    rng.shuffle(texts)
    articles = [Row(title, text, "article") for title, text in texts[: options.articles]]
    rest = texts[options.articles :]
    return articles, [Row(rng.choice(EXPLAIN).format(e=title), text, "explanation") for title, text in rest]
