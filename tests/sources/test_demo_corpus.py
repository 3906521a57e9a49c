"""The demo corpus: true to its promises, checked on the written files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from smolchat_fast.sources.demo import DemoCorpusOptions, DemoCorpusReport, load_relations, write_corpus
from smolchat_fast.sources.demo.plan import Openings
from smolchat_fast.sources.demo.relations import PARTS
from smolchat_fast.sources.demo.similar import jaccard, similar_pairs
from smolchat_fast.sources.demo.unknown import UNKNOWN_CURT, UNKNOWN_WHOLE

PRETRAIN = ("articles.txt", "forum.csv", "instructions.jsonl", "qa.jsonl")
FACT_SETS = ("A", "B", "C", "P", "style")

Rows = dict[tuple[str, int], tuple[str, str]]
"""(file, line) -> (prompt, response)."""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> DemoCorpusReport:
    return write_corpus(tmp_path_factory.mktemp("demo"), DemoCorpusOptions())


@pytest.fixture(scope="module")
def planted(report: DemoCorpusReport) -> dict[str, Any]:
    return json.loads((report.folder / "planted.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def read(report: DemoCorpusReport) -> Rows:
    """Every readable row of the raw files as it stands there, dirt included."""
    rows: Rows = {}
    for name in report.written:
        reader = {".txt": read_articles, ".csv": read_forum, ".jsonl": read_json_lines}[Path(name).suffix]
        rows |= {(name, line): row for line, row in reader(report.folder / name).items()}
    return rows


@pytest.fixture(scope="module")
def wanted(read: Rows, planted: dict[str, Any]) -> Rows:
    """The rows that should be left, with their clean text."""
    rows = dict(read)
    for entry in planted["rows"]:
        place = entry["file"], entry["line"]
        if "clean_prompt" in entry:
            rows[place] = entry["clean_prompt"], entry["clean_response"]
        else:
            rows.pop(place, None)
    return rows


@pytest.fixture(scope="module")
def preference(report: DemoCorpusReport) -> list[tuple[str, str]]:
    lines = (report.folder / "raw/preference/prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [(row["prompt"], row["chosen"]) for row in map(json.loads, lines)]


@pytest.fixture(scope="module")
def questions(report: DemoCorpusReport) -> dict[str, list[dict[str, Any]]]:
    read = {
        part: (report.folder / f"questions/{part}.jsonl").read_text(encoding="utf-8")
        for part in ("dev", "test")
    }
    return {part: [json.loads(line) for line in text.splitlines()] for part, text in read.items()}


def read_json_lines(path: Path) -> dict[int, tuple[str, str]]:
    rows = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            values = json.loads(line.decode())
        except ValueError:
            continue
        rows[number] = (
            values.get("prompt", values.get("instruction")),
            values.get("response", values.get("output")),
        )
    return rows


def read_forum(path: Path) -> dict[int, tuple[str, str]]:
    rows = {}
    for number, line in enumerate(path.read_bytes().split(b"\n")[1:-1], start=2):
        try:
            fields = next(csv.reader([line.decode("gb18030")]))
        except UnicodeDecodeError:
            continue
        if len(fields) == 4:
            rows[number] = fields[2], fields[3]
    return rows


def read_articles(path: Path) -> dict[int, tuple[str, str]]:
    text, rows = path.read_text(encoding="utf-8"), {}
    for match in re.finditer(r'<doc id="\d+" url="[^"]+" title="([^"]+)">\n\1\n\n(.*)\n\n</doc>\n', text):
        rows[text.count("\n", 0, match.start()) + 1] = match[1], match[2]
    return rows


def stage(rows: Rows, name: str) -> list[tuple[str, str]]:
    return [row for (file, _), row in sorted(rows.items()) if file.startswith(f"raw/{name}/")]


def places(rows: list[tuple[str, str]]) -> set[tuple[str, str, str]]:
    """(relation, entity, template) of all rows that ask a fact."""
    asked, strip = by_question(), Openings(0).strip
    return {asked[prompt] for prompt in (strip(row[0]) for row in rows) if prompt in asked}


def by_question() -> dict[str, tuple[str, str, str]]:
    """Every question that can be put, without opening -> (relation, entity, template)."""
    asked: dict[str, tuple[str, str, str]] = {}
    for relation in load_relations():
        for fact in relation.facts:
            for template in relation.templates:
                for noun in relation.nouns:
                    place = relation.name, fact.entity, template.text
                    asked.setdefault(template.ask(fact.entity, noun), place)
    return asked


# facts and templates


def test_no_question_has_two_answers() -> None:
    answers: dict[str, str] = {}
    for relation in load_relations():
        for fact in relation.facts:
            for template in relation.templates:
                for noun in relation.nouns:
                    asked = template.ask(fact.entity, noun)
                    assert answers.setdefault(asked, fact.value) == fact.value, asked


def test_there_are_some_two_thousand_facts_in_thirty_to_forty_relations() -> None:
    relations = load_relations()
    assert 30 <= len(relations) <= 40
    assert 1900 <= sum(len(relation.facts) for relation in relations) <= 2400
    assert len({relation.name for relation in relations}) == len(relations)


def test_facts_hold_no_stray_characters() -> None:
    for relation in load_relations():
        for fact in relation.facts:
            assert re.fullmatch(r"[\u4e00-\u9fff\u00b7A-Za-z0-9《》]+", fact.entity), fact
            assert re.fullmatch(r"[\u4e00-\u9fff\u00b7A-Za-z0-9《》]+", fact.value), fact


def test_every_relation_has_wordings_of_both_sorts_in_all_three_parts() -> None:
    for relation in load_relations():
        texts = [template.text for template in relation.templates]
        assert len(set(texts)) == len(texts), relation.name
        assert len(relation.nouns) >= 2
        for part in PARTS:
            assert len(relation.wordings(part, general=True)) >= 1, relation.name
            assert len(relation.wordings(part, general=False)) >= (8 if part == "train" else 2), relation.name


def test_each_general_phrasing_is_trained_by_most_relations() -> None:
    trained = Counter(t.text for r in load_relations() for t in r.wordings("train", general=True))
    assert min(trained.values()) >= len(load_relations()) * 3 // 4


def test_held_out_own_wordings_are_trained_by_no_relation() -> None:
    trained = {t.text for r in load_relations() for t in r.wordings("train")}
    dev = {t.text for r in load_relations() for t in r.wordings("dev", general=False)}
    test = {t.text for r in load_relations() for t in r.wordings("test", general=False)}
    assert not (trained & dev)
    assert not (trained & test)
    assert not (dev & test)


# questions against training


def test_no_question_stands_in_training(wanted: Rows, questions: dict[str, list[dict[str, Any]]]) -> None:
    strip = Openings(0).strip
    trained = {strip(prompt) for prompt, _ in wanted.values()}
    for part, items in questions.items():
        assert not [q["prompt"] for q in items if strip(q["prompt"]) in trained], part


def test_dev_and_test_share_no_question(questions: dict[str, list[dict[str, Any]]]) -> None:
    assert not {q["prompt"] for q in questions["dev"]} & {q["prompt"] for q in questions["test"]}


def test_every_question_has_its_true_answers(questions: dict[str, list[dict[str, Any]]]) -> None:
    values = {(r.name, f.entity): (r.whole(f), r.curt(f)) for r in load_relations() for f in r.facts}
    for items in questions.values():
        for q in items:
            assert q["preferred"] == q["accepted"][0]
            assert len(q["accepted"]) == 2
            if q["set"] == "unknown":
                assert q["accepted"] == [UNKNOWN_WHOLE, UNKNOWN_CURT]
            else:
                assert tuple(q["accepted"]) == values[q["relation"], q["entity"]]


def test_question_sets_are_what_they_claim(
    wanted: Rows, preference: list[tuple[str, str]], questions: dict[str, list[dict[str, Any]]]
) -> None:
    strip, asked = Openings(0).strip, by_question()
    sft, preferred = places(stage(wanted, "sft")), places(preference)
    trained = places(stage(wanted, "pretrain")) | sft
    known = {(relation, entity) for relation, entity, _ in trained}
    used = {(relation, template) for relation, _, template in trained}
    general = {template.text for template in load_relations()[0].templates if template.general}
    tuned = {(r, e) for r, e, _ in sft | preferred}
    for items in questions.values():
        for q in (q for q in items if q["set"] in FACT_SETS):
            relation, entity, template = place = asked[strip(q["prompt"])]
            assert (relation, entity) == (q["relation"], q["entity"])
            assert (relation, entity) in known
            assert place not in trained
            assert place not in preferred
            assert ((relation, entity) in tuned) == (q["set"] != "P")
            assert ((relation, template) in used) == (q["phrasing"] == "A")
            assert (template in general) or q["phrasing"] != "B"
            assert (template not in general) or q["phrasing"] != "C"
            assert q["phrasing"] == {"style": "B", "P": q["phrasing"]}.get(q["set"], q["set"])


def test_every_trained_wording_of_a_relation_occurs_in_pretraining(wanted: Rows) -> None:
    used = {(relation, template) for relation, _, template in places(stage(wanted, "pretrain"))}
    missing = [
        (r.name, t.text)
        for r in load_relations()
        for t in r.wordings("train")
        if (r.name, t.text) not in used
    ]
    assert not missing


def test_unknown_rows_are_a_few_percent_and_their_names_are_not_asked_again(
    wanted: Rows, questions: dict[str, list[dict[str, Any]]]
) -> None:
    for name in ("pretrain", "sft"):
        rows = stage(wanted, name)
        unknown = [prompt for prompt, response in rows if response in (UNKNOWN_WHOLE, UNKNOWN_CURT)]
        assert 0.05 <= len(unknown) / len(rows) <= 0.08
    assert all(sum(q["set"] == "unknown" for q in items) >= 150 for items in questions.values())


def test_sets_are_large_enough(questions: dict[str, list[dict[str, Any]]]) -> None:
    for items in questions.values():
        counts = Counter(q["set"] for q in items)
        assert all(counts[name] >= 400 for name in "ABCP")
        assert counts["style"] >= 150


# raw files and what was planted in them


def test_same_seed_gives_the_same_files_and_another_seed_others(
    report: DemoCorpusReport, tmp_path: Path
) -> None:
    def digest(folder: Path) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    again, other = tmp_path / "again", tmp_path / "other"
    write_corpus(again, DemoCorpusOptions())
    write_corpus(other, DemoCorpusOptions(seed=2, fact_share=0.1))
    assert digest(again) == digest(report.folder) != digest(other)


def test_planted_counts_are_what_the_files_hold(read: Rows, planted: dict[str, Any]) -> None:
    listed = Counter((entry["file"], entry["kind"]) for entry in planted["rows"])
    for name, counts in planted["files"].items():
        readable = {line: row for (file, line), row in read.items() if file == name}
        assert len(readable) == counts["readable"] == counts["records"] - counts["removed"]["broken_row"]
        assert counts["kept"] == counts["records"] - sum(counts["removed"].values())
        assert sum("" in row for row in readable.values()) == counts["removed"]["empty_field"]
        for kind, count in (counts["removed"] | counts["changed"]).items():
            assert listed[name, kind] == count, (name, kind)


def test_every_kind_of_dirt_is_planted_in_pretraining(planted: dict[str, Any]) -> None:
    kinds = Counter(entry["kind"] for entry in planted["rows"] if entry["file"].startswith("raw/pretrain/"))
    assert len(kinds) == 10
    assert min(kinds.values()) >= 50


def test_planted_rows_lie_where_the_record_says(read: Rows, planted: dict[str, Any]) -> None:
    for entry in planted["rows"]:
        place, kind = (entry["file"], entry["line"]), entry["kind"]
        if kind == "broken_row":
            assert place not in read
        elif kind == "empty_field":
            assert "" in read[place]
        elif kind == "exact_duplicate":
            original = entry["duplicate_of"]["file"], entry["duplicate_of"]["line"]
            assert read[place] == read[original]
            assert original < place
        elif kind == "near_duplicate":
            original = entry["duplicate_of"]["file"], entry["duplicate_of"]["line"]
            assert read[place] != read[original]
            assert original < place
            assert jaccard("\n".join(read[place]), "\n".join(read[original])) >= 0.8
        else:
            assert read[place] != (entry["clean_prompt"], entry["clean_response"])


def test_clean_rows_hold_none_of_the_dirt(wanted: Rows) -> None:
    dirt = re.compile(
        r"[<>&#\[\]\u0000-\u0020\u200b-\u200f\ufeff\u3000\uff10-\uff19\uff21-\uff3a\uff41-\uff5a?,!.;:]"
    )
    marks = re.compile(r"([，。？！；：])\1")
    for prompt, response in wanted.values():
        assert prompt
        assert response
        assert not dirt.search(prompt + response), (prompt, response)
        assert not marks.search(prompt + response), (prompt, response)


@pytest.mark.parametrize("name", ["pretrain", "sft"])
def test_no_wanted_row_looks_like_a_near_duplicate(wanted: Rows, name: str) -> None:
    assert not similar_pairs(["\n".join(row) for row in stage(wanted, name)], 0.8)


def test_similar_pairs_are_those_of_all_comparisons() -> None:
    texts = [
        "湖南省的省会是长沙。",
        "湖南省的省会是长沙！",
        "湖北省的省会是武汉。",
        "短",
        "短",
        "湖南省的省会是长沙吗",
    ]
    for threshold in (0.5, 0.8, 1.0):
        pairs = [
            (i, j) for j in range(len(texts)) for i in range(j) if jaccard(texts[i], texts[j]) >= threshold
        ]
        assert sorted((i, j) for i, j, _ in similar_pairs(texts, threshold)) == sorted(pairs)


def test_forum_file_is_gb18030_and_not_gbk(report: DemoCorpusReport) -> None:
    lines = (report.folder / "raw/pretrain/forum.csv").read_bytes().split(b"\n")
    assert lines[0].decode("gb18030") == "department,title,ask,answer"
    undecodable = 0
    with_four_bytes = 0
    for line in lines:
        try:
            text = line.decode("gb18030")
            with_four_bytes += "\u200b" in text
        except UnicodeDecodeError:
            undecodable += 1
    assert 0 < undecodable < 40
    assert with_four_bytes
    with pytest.raises(UnicodeDecodeError):
        b"\n".join(lines).decode("utf-8")


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="fact_share"):
        DemoCorpusOptions(fact_share=0)
    with pytest.raises(ValueError, match="templates_per_fact_sft"):
        DemoCorpusOptions(templates_per_fact_sft=0)
