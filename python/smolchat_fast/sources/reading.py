"""Raw files of a named data set to its rows: read as published, then kept by its rule, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError
from smolchat_fast.progress import Progress
from smolchat_fast.sources.sets import DataSet, Rule, named
from smolchat_fast.stage import run_stage

# The stubs of its functions know neither numbers nor chunked columns as arguments.
pc: Any = pyarrow.compute
BATCH_ROWS = 16_384
TRIPLES = pa.schema([("sentence", pa.string()), ("triples", pa.string()), ("source", pa.string())])


@dataclass(frozen=True, kw_only=True, slots=True)
class SetReport:
    """What was read of a data set."""

    name: str
    records: int
    bad: dict[str, int]
    """Records that could not be read, by reason."""
    dropped: dict[str, int]
    """Rows that the rule leaves out, by its first part that does."""
    rows: int
    """Rows written."""
    samples: tuple[str, ...]
    """The first bad records, with file and line."""

    @property
    def rows_out(self) -> int:
        """Rows that go on to the next stage."""
        return self.rows

    @property
    def bad_share(self) -> float:
        """Share of the records that could not be read."""
        return sum(self.bad.values()) / max(1, self.records)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.records:,} records, {self.rows:,} rows kept"]
        lines += [f"  {count:>9,}  {reason}" for reason, count in self.dropped.items()]
        lines += [f"  {count:>9,}  bad: {reason}" for reason, count in self.bad.items()]
        return "\n".join([*lines, *(f"  {sample}" for sample in self.samples)])


@arguments
def read_set_files(
    name: str,
    inputs: Sequence[Path],
    out: Path,
    *,
    max_bad_share: float = 0.01,
    strict: bool = False,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SetReport:
    """Read the raw files of a named data set, as published, and keep the rows of its rule.

    Memory: a few megabytes per thread.

    Args:
        name: As `sources list` tells it.
        inputs: Its files, or patterns.
        out: Parquet file of the rows.
        max_bad_share: Share of the records that may be bad.
        strict: Stop at the first bad record.
        threads: Worker threads; all cores by default.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, bytes done, bytes in all).
    Returns:
        Records read, rows kept, and what was left out and why.
    Raises:
        ValueError: there is no such data set.
        DataError: a file cannot be read at all; or more than `max_bad_share` of the records were bad, in
            which case `out` is whole all the same; or, with `strict`, a record is bad.
        StageError: `out` exists and was made otherwise.
    """
    from smolchat_fast.sources import _to_report, expand

    found, files = named(name), expand(inputs)

    def work(partial: list[Path]) -> dict[str, Any]:
        if found.kind == "triples":
            return asdict(_read_triples(name, files, partial[0], strict=strict))
        raw = partial[0].with_name("raw-" + partial[0].name)
        options = asdict(found.options) | {"max_bad_share": max_bad_share, "strict": strict}
        options["source"] = options["source"] or name
        try:
            told = json.loads(
                _core.read_files(files, raw, json.dumps(options), threads=threads, progress=progress)
            )
            dropped, rows = _keep(raw, partial[0], found)
        finally:
            raw.unlink(missing_ok=True)
        return asdict(
            SetReport(
                name=name,
                records=told["records"],
                bad=told["bad"],
                dropped=dropped,
                rows=rows,
                samples=tuple(str(sample) for sample in _to_report(told).samples[:10]),
            )
        )

    options = {"set": name, "rule": found.rule, "source": found.options}
    options |= {"max_bad_share": max_bad_share, "strict": strict}
    finished = run_stage("sources", out, work, inputs=files, options=options, overwrite=overwrite)
    report = SetReport(**{**finished.report, "samples": tuple(finished.report["samples"])})
    if report.bad_share > max_bad_share:
        raise DataError(
            f"{report.bad_share:.2%} of the records are bad, over max_bad_share = {max_bad_share:.2%}; {out} "
            f"holds the {report.rows:,} good ones. Look at these, or allow more.\n{report}"
        )
    return report


def _keep(raw: Path, out: Path, found: DataSet) -> tuple[dict[str, int], int]:
    """The rows of the rule, and how many each of its parts left out."""
    file = pq.ParquetFile(raw)
    dropped: dict[str, int] = {}
    rows = 0
    with pq.ParquetWriter(out, file.schema_arrow, compression="zstd") as writer:
        for batch in file.iter_batches(BATCH_ROWS):
            table = pa.Table.from_batches([batch])
            for reason, prepare in _steps(found.rule):
                table, stays = prepare(table)
                kept = table.filter(stays)
                if gone := table.num_rows - kept.num_rows:
                    dropped[reason] = dropped.get(reason, 0) + gone
                table = kept
            rows += table.num_rows
            writer.write_table(table)
    return dropped, rows


Step = Callable[[pa.Table], tuple[pa.Table, Any]]


def _steps(rule: Rule) -> Iterator[tuple[str, Step]]:
    """The parts of a rule: each changes a table and says which rows stay."""
    if rule.min_score:
        yield f"score below {rule.min_score}", lambda table: _scored(table, rule.min_score)
    if rule.line_ends:
        yield (
            "",
            lambda table: (_each(table, lambda text: pc.replace_substring(text, r"\n", "\n")), _all(table)),
        )
    yield (
        "prompt too short or too long",
        lambda table: (
            table,
            _long_enough(table["prompt"], rule.min_prompt, rule.max_prompt),
        ),
    )
    yield (
        "answer too short or too long",
        lambda table: (
            table,
            _and(_long_enough(table[name], rule.min_response, rule.max_response) for name in _answers(table)),
        ),
    )
    if rule.without:
        yield "words that the rule leaves out", lambda table: (table, _without(table, rule.without))
    if rule.different_answers:
        yield (
            "both answers the same",
            lambda table: (
                table,
                pc.not_equal(
                    pc.utf8_trim_whitespace(table["chosen"]), pc.utf8_trim_whitespace(table["rejected"])
                ),
            ),
        )


def _answers(table: pa.Table) -> list[str]:
    return [name for name in ("response", "chosen", "rejected") if name in table.column_names]


def _scored(table: pa.Table, least: int) -> tuple[pa.Table, Any]:
    """Takes the score off the first line of the prompt."""
    prompt = table["prompt"]
    score = pc.replace_substring_regex(prompt, r"(?s)^\s*(\d{1,9})\n.*$", r"\1")
    known = pc.match_substring_regex(score, r"^\d{1,9}$")
    number = pc.cast(pc.if_else(known, score, "0"), pa.int64())
    bare = pc.replace_substring_regex(prompt, r"^\s*\d{1,9}\n", "")
    table = table.set_column(table.column_names.index("prompt"), "prompt", bare)
    return table, pc.greater_equal(number, least)


def _each(table: pa.Table, change: Callable[[Any], Any]) -> pa.Table:
    for name in ("prompt", *_answers(table)):
        table = table.set_column(table.column_names.index(name), name, change(table[name]))
    return table


def _long_enough(text: Any, least: int, most: int) -> Any:
    length = pc.utf8_length(pc.utf8_trim_whitespace(text))
    stays = pc.greater_equal(length, least)
    return pc.and_(stays, pc.less_equal(length, most)) if most else stays


def _without(table: pa.Table, words: Sequence[str]) -> Any:
    def lacks(text: Any, word: str) -> Any:
        return pc.invert(pc.match_substring(text, word, ignore_case=word.isascii()))

    in_prompts = [lacks(table["prompt"], word) for word in words]
    in_answers = [lacks(table[name], word) for name in _answers(table) for word in words if word == "-----"]
    return _and([*in_prompts, *in_answers])


def _all(table: pa.Table) -> Any:
    return pa.array([True] * table.num_rows, pa.bool_())


def _and(conditions: Any) -> Any:
    first, *others = conditions
    for other in others:
        first = pc.and_(first, other)
    return first


def _read_triples(name: str, files: Sequence[Path], out: Path, *, strict: bool) -> SetReport:
    """DuIE: a sentence and its triples as a JSON array of [subject, relation, object]."""
    records, rows, bad, samples = 0, 0, 0, []
    with pq.ParquetWriter(out, TRIPLES, compression="zstd") as writer:
        for path in files:
            made: list[dict[str, str]] = []
            with path.open(encoding="utf-8-sig", errors="replace") as lines:
                for number, line in enumerate(lines, 1):
                    if not line.strip():
                        continue
                    records += 1
                    try:
                        sentence, triples = _triples(json.loads(line))
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        problem = f"{path}, line {number}: no sentence with triples: {line[:60].strip()}"
                        if strict:
                            raise DataError(problem) from error
                        bad += 1
                        samples.append(problem)
                        continue
                    text = json.dumps(triples, ensure_ascii=False)
                    made.append({"sentence": sentence, "triples": text, "source": name})
                    if len(made) == BATCH_ROWS:
                        writer.write_table(pa.Table.from_pylist(made, TRIPLES))
                        rows, made = rows + len(made), []
            writer.write_table(pa.Table.from_pylist(made, TRIPLES))
            rows += len(made)
    reasons = {"no sentence with triples": bad} if bad else {}
    return SetReport(
        name=name, records=records, bad=reasons, dropped={}, rows=rows, samples=tuple(samples[:10])
    )


def _triples(record: dict[str, Any]) -> tuple[str, list[list[str]]]:
    sentence = record["text"]
    if not isinstance(sentence, str) or not sentence.strip():
        raise ValueError("no text")
    triples = []
    for spo in record["spo_list"]:
        object_ = spo["object"]
        # DuIE 2.0 gives an object one text for each of its roles, the main one under "@value".
        object_ = object_["@value"] if isinstance(object_, dict) else object_
        parts = [spo["subject"], spo["predicate"], object_]
        if not all(isinstance(part, str) and part for part in parts):
            raise ValueError("a part of a triple is no text")
        triples.append(parts)
    return sentence, triples
