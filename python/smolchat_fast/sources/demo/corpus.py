"""Writes the demo corpus: dirty raw files, clean questions, and a record of what was planted.

```
raw/pretrain/  articles.txt (WikiExtractor)  forum.csv (GB18030)  instructions.jsonl  qa.jsonl
raw/sft/       instructions.jsonl
raw/preference/prompts.jsonl                 prompt, chosen (a whole sentence)
questions/     dev.jsonl  test.jsonl         set, prompt, accepted, preferred
planted.json                                 what was planted where
```

Wanted rows must outlive deduplication, so none is written that is `WANTED_BELOW` or more similar to an
earlier one of its stage: exact Jaccard of character 5-grams of prompt, line feed and response, also
without punctuation. Measured with seed 1: of 19,555 rows for pre-training 145 would go at 0.8 (two
wordings of one fact with a long answer, or one question behind two openings) and 236 at 0.75. Rows that
differ in numbers alone reach 0.54, so nothing needs to be known of numbers as long as digits are compared
as they are; masked, 800 rows would be lost. Prompts alone are too alike (57 rows). Deduplicate the
pre-training files together, in the order of their names, and the fine-tuning file by itself, both at
threshold 0.8 over prompt and response.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

from .articles import build_articles
from .dirt import KINDS, edit_slightly
from .options import DemoCorpusOptions
from .plan import Asked, Openings, Question, Row, fact_questions, fact_rows, plan_facts, preference_rows
from .raw_files import (
    BROKEN,
    CSV_HEADER,
    Record,
    article_block,
    forum_line,
    instruction_line,
    qa_line,
    write_records,
)
from .similar import jaccard, similar_pairs
from .unknown import persona_rows, unknown_questions, unknown_rows

DEFAULTS = DemoCorpusOptions()
WANTED_BELOW = 0.75
PUNCTUATION = re.compile(r"[，。？！；：、《》·]")
NEAR_AT_LEAST = 0.82
"""A planted near-duplicate is this similar to its original, also without the prompt."""
LABELS = {
    "geography": "地理", "nature": "自然", "calendar": "历法", "literature": "文学", "language": "语言",
    "invented": "其他", "misfit": "其他", "beyond": "其他", "persona": "聊天", "explanation": "百科",
}  # fmt: skip
FORUM_SHARE, INSTRUCTION_SHARE = 0.3, 0.3


@dataclass(frozen=True)
class DemoCorpusReport:
    """What was written."""

    folder: Path
    relations: int
    facts: int
    pretrain_only_facts: int
    wanted: dict[str, int]
    """Stage (`pretrain`, `sft`, `preference`) -> rows to be left after cleaning and deduplication."""
    written: dict[str, int]
    """File -> records, header not counted."""
    planted: dict[str, dict[str, int]]
    """File -> kind -> records."""
    questions: dict[str, dict[str, int]]
    """Part (`dev`, `test`) -> set -> questions."""


def drop_similar(rows: list[Row]) -> list[Row]:
    """The rows without those that are too similar to an earlier one, with or without their punctuation."""
    texts = [f"{row.prompt}\n{row.response}" for row in rows]
    pairs = similar_pairs(texts, WANTED_BELOW)
    pairs += similar_pairs([PUNCTUATION.sub("", text) for text in texts], WANTED_BELOW)
    removed: set[int] = set()
    for earlier, later, _ in sorted(pairs, key=lambda pair: pair[1]):
        if earlier not in removed:
            removed.add(later)
    return [row for i, row in enumerate(rows) if i not in removed]


def stage_rows(asked: list[Asked], stage: str, options: DemoCorpusOptions, openings: Openings) -> list[Row]:
    """All wanted question rows of a stage, shuffled: facts, unknown, persona."""
    facts = fact_rows(asked, stage, options, openings)
    unknown = round(len(facts) * options.unknown_share / (1 - options.unknown_share))
    rows = facts + unknown_rows(stage, unknown, options, openings) + persona_rows()
    Random(f"order {options.seed} {stage}").shuffle(rows)
    return rows


def soil(rows: list[Row], scale: float, options: DemoCorpusOptions, rng: Random) -> list[Record]:
    """One record for each row, some of them dirty; records stay in order."""
    records = [
        Record(r.prompt, r.response, LABELS.get(r.label, r.label), clean=(r.prompt, r.response)) for r in rows
    ]
    shares = asdict(options.dirt)
    order = rng.sample(records, len(records))
    for kind, make_dirty in KINDS.items():
        wanted = round(len(records) * shares[kind] * scale)
        kept_back = []
        while order and wanted:
            record = order.pop()
            dirty = make_dirty(record.prompt, record.response, rng)
            if dirty is None or dirty == (record.prompt, record.response):
                kept_back.append(record)
                continue
            record.prompt, record.response, record.kind = *dirty, kind
            wanted -= 1
        order = kept_back + order
    return records


def insert_later(records: list[Record], record: Record, after: int, rng: Random) -> None:
    """Puts a record somewhere behind position `after`."""
    records.insert(rng.randint(after + 1, len(records)), record)


def removable_shares(options: DemoCorpusOptions, scale: float) -> dict[str, float]:
    """Kind of removable row -> its share."""
    return {kind: getattr(options.dirt, kind) * scale for kind in ("exact_duplicate", "empty_field", BROKEN)}


def add_removable(
    records: list[Record], shares: dict[str, float], rng: Random, *, titled: bool = False
) -> None:
    """Adds rows that go again, made of clean ones.

    Args:
        records: The records of one file, changed in place.
        shares: Kind (`exact_duplicate`, `empty_field`, `broken_row`) -> share of the clean records.
        rng: Source of every choice.
        titled: The prompt is a title, so that only the response can be empty.
    """
    clean = [record for record in records if record.kind is None]
    for kind, share in shares.items():
        for source in rng.sample(clean, round(len(clean) * share)):
            prompt, response = source.prompt, source.response
            if kind == "empty_field":
                prompt, response = (prompt, "") if titled or rng.random() < 0.5 else ("", response)
            copy = Record(prompt, response, source.label, kind)
            if kind == "exact_duplicate":
                copy.original = source
            insert_later(records, copy, records.index(source), rng)


def add_near_duplicates(records: list[Record], options: DemoCorpusOptions, rng: Random) -> None:
    """Repeats some long clean records with a tiny edit."""
    long = [r for r in records if r.kind is None and len(r.response) >= 20]
    for source in rng.sample(long, round(len(long) * options.dirt.near_duplicate)):
        edited = edit_slightly(source.response, rng)
        whole = jaccard(f"{source.prompt}\n{source.response}", f"{source.prompt}\n{edited}")
        if min(whole, jaccard(source.response, edited)) < NEAR_AT_LEAST:
            continue
        copy = Record(source.prompt, edited, source.label, "near_duplicate", original=source)
        insert_later(records, copy, records.index(source), rng)


def pretrain_records(
    asked: list[Asked], options: DemoCorpusOptions, openings: Openings
) -> dict[str, list[Record]]:
    """File name -> records of the pre-training files."""
    rng = Random(f"dirt {options.seed} pretrain")
    rows = stage_rows(asked, "pretrain", options, openings)
    articles, told = build_articles(asked, options)
    wanted = drop_similar([*articles, *told, *rows])
    articles = [row for row in wanted if row.label == "article"]
    told = [row for row in wanted if row.label == "explanation"]
    rows = [row for row in wanted if row.label not in ("article", "explanation")]
    forum = round(len(rows) * FORUM_SHARE)
    instructions = forum + round(len(rows) * INSTRUCTION_SHARE)
    qa = [*rows[instructions:], *told]
    rng.shuffle(qa)
    files = {
        "raw/pretrain/articles.txt": soil(articles, 0.0, options, rng),
        "raw/pretrain/forum.csv": soil(rows[:forum], 1.0, options, rng),
        "raw/pretrain/instructions.jsonl": soil(rows[forum:instructions], 1.0, options, rng),
        "raw/pretrain/qa.jsonl": soil(qa, 1.0, options, rng),
    }
    shares = removable_shares(options, 1.0)
    for name, records in files.items():
        if name.endswith(".txt"):
            few = {kind: min(1.0, 4 * share) for kind, share in shares.items() if kind != BROKEN}
            add_removable(records, few, rng, titled=True)
        else:
            add_removable(records, shares, rng)
        if name.endswith((".txt", "qa.jsonl")):
            add_near_duplicates(records, options, rng)
    return files


def sft_records(
    asked: list[Asked], options: DemoCorpusOptions, openings: Openings
) -> dict[str, list[Record]]:
    """File name -> records of the fine-tuning file, half as dirty."""
    rng = Random(f"dirt {options.seed} sft")
    records = soil(drop_similar(stage_rows(asked, "sft", options, openings)), 0.5, options, rng)
    add_removable(records, removable_shares(options, 0.5), rng)
    return {"raw/sft/instructions.jsonl": records}


WRITERS = {
    "qa.jsonl": qa_line,
    "instructions.jsonl": instruction_line,
    "forum.csv": forum_line,
    "articles.txt": article_block,
}
REMOVED = (BROKEN, "empty_field", "exact_duplicate", "near_duplicate")


def describe(record: Record) -> dict[str, Any]:
    """One entry of the list in `planted.json`."""
    entry: dict[str, Any] = {"file": record.file, "line": record.line, "kind": record.kind}
    if record.clean is not None:
        entry["clean_prompt"], entry["clean_response"] = record.clean
    if record.original is not None:
        entry["duplicate_of"] = {"file": record.original.file, "line": record.original.line}
    return entry


def planted_summary(files: dict[str, list[Record]]) -> dict[str, Any]:
    """Counts for each file, and every planted row."""
    summary = {}
    for name, records in files.items():
        counts = Counter(record.kind for record in records if record.kind is not None)
        summary[name] = {
            "records": len(records),
            "readable": len(records) - counts[BROKEN],
            "kept": sum(record.clean is not None for record in records),
            "removed": {kind: counts[kind] for kind in REMOVED},
            "changed": {kind: counts[kind] for kind in KINDS},
        }
    rows = [describe(record) for records in files.values() for record in records if record.kind is not None]
    return {"files": summary, "rows": rows}


def write_json_lines(path: Path, values: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_text(text, encoding="utf-8", newline="\n")


def write_corpus(out: Path, options: DemoCorpusOptions = DEFAULTS) -> DemoCorpusReport:
    """Writes the whole corpus under a folder.

    Args:
        out: Folder, made if need be; files of an earlier corpus are replaced.
        options: Sizes, shares and seed; the files depend on nothing else.
    Returns:
        Counts of everything written.
    Raises:
        ValueError: a fact list or a template file contradicts itself.
    """
    openings = Openings(options.opening_share)
    asked = plan_facts(options)
    files = {**pretrain_records(asked, options, openings), **sft_records(asked, options, openings)}
    for name, records in files.items():
        write_records(
            out / name, name, records, WRITERS[Path(name).name], CSV_HEADER if name.endswith(".csv") else ""
        )

    unknown = round(options.preference_prompts * options.preference_unknown_share)
    preference = preference_rows(asked, options.preference_prompts - unknown, options, openings)
    preference += unknown_rows("preference", unknown, options, openings)
    Random(f"order {options.seed} preference").shuffle(preference)
    chosen = [{"prompt": row.prompt, "chosen": row.response} for row in preference]
    write_json_lines(out / "raw/preference/prompts.jsonl", chosen)

    questions: dict[str, list[Question]] = {}
    for part in ("dev", "test"):
        questions[part] = fact_questions(asked, part, options, openings) + unknown_questions(
            part, options, openings
        )
        write_json_lines(out / f"questions/{part}.jsonl", [asdict(q) for q in questions[part]])

    planted = planted_summary(files)
    text = json.dumps({"options": asdict(options), **planted}, ensure_ascii=False, indent=1)
    (out / "planted.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    return report(out, asked, files, len(preference), questions)


def report(
    out: Path,
    asked: list[Asked],
    files: dict[str, list[Record]],
    preference: int,
    questions: dict[str, list[Question]],
) -> DemoCorpusReport:
    """Counts what was written."""
    wanted = Counter({"preference": preference})
    for name, records in files.items():
        wanted[name.split("/")[1]] += sum(record.clean is not None for record in records)
    return DemoCorpusReport(
        folder=out,
        relations=len({item.relation.name for item in asked}),
        facts=len(asked),
        pretrain_only_facts=sum(item.pretrain_only for item in asked),
        wanted=dict(wanted),
        written={name: len(records) for name, records in files.items()},
        planted={
            n: dict(Counter(r.kind for r in records if r.kind is not None)) for n, records in files.items()
        },
        questions={part: dict(Counter(q.set for q in items)) for part, items in questions.items()},
    )
