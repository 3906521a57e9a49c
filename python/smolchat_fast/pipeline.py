"""The main job: every stage of a recipe in order, each one skipped if it is done already.

Which stages there are follows from the sets of the recipe (`DataOptions.sets`), never from what lies in OUT.

```
OUT/corpus/          the built-in corpus, if the recipe asks for it
OUT/data/SET/        rows, clean, unique, passages (of text), train, valid (SET: pretrain, sft, preference)
OUT/words.parquet    OUT/tokenizer/
OUT/pretrain/  OUT/sft/  OUT/rejected.parquet  OUT/dpo/  OUT/model/
OUT/cards/           one card before and one after DPO
OUT/report.json      what each stage told, and the hash of what it made
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from smolchat_fast import (
    clean,
    dedup,
    evaluate,
    passages,
    preference,
    sources,
    split,
    tokenizer,
    train,
    words,
)
from smolchat_fast.arguments import arguments
from smolchat_fast.checks import missed_checks
from smolchat_fast.errors import DataError, StageError, StoppedError
from smolchat_fast.evaluate import Card
from smolchat_fast.evaluate.exact import read_questions
from smolchat_fast.progress import Progress, ignore, note
from smolchat_fast.recipe import Recipe
from smolchat_fast.sections import check_layers, check_sections
from smolchat_fast.sources import demo as demo_corpus
from smolchat_fast.sources.demo.planted import Planted, check_planted
from smolchat_fast.stage import FOLDER, output_files, read_manifest, refuse_several_processes, run_stage

Until = Literal["data", "tokenizer", "pretrain", "sft", "dpo", "evaluate"]
Tell = Callable[[str], object]

ANSWERS = {"pretrain": ("response",), "sft": ("response",), "preference": ("chosen", "response")}
"""The column of the answers in the rows of each set, or the two that it may be."""
TEXT = "text"
"""The column of rows that are plain text; for pre-training they are cut into pairs."""


@dataclass(frozen=True)
class Done:
    """A stage of a run that is finished."""

    name: str
    """Stage and, where there are several, the set: `clean sft`."""
    out: Path
    """What it made."""
    report: Any
    """What the stage's function returned."""
    seconds: float
    peak_mb: float
    skipped: bool
    """True if an earlier run had done it."""
    hash: str
    """Hash of what it made, as `stage.file_hash` computes it; empty if an older version made it."""


@dataclass
class RunReport:
    """What a run did, stage by stage."""

    out: Path
    stages: list[Done] = field(default_factory=list)
    planted: list[Planted] = field(default_factory=list)
    """What was planted in the built-in corpus, and found."""
    missed: list[str] = field(default_factory=list)
    """Checks of the recipe that the run missed, in words."""

    def report(self, name: str) -> Any:
        """What the stage of that name returned."""
        return next(done.report for done in self.stages if done.name == name)

    @property
    def model(self) -> Path:
        """The folder of the resulting model."""
        return self.out / "model"

    def __str__(self) -> str:
        if not any(done.out == self.model for done in self.stages):  # it ended before, as `--until` asks
            return f"made {self.out}"
        return f"made {self.model}\ntalk to it:  smolchat-fast chat {self.model}"


class MissedError(StageError):
    """A run made all that it should and missed checks of its recipe; `report` tells what it did."""

    def __init__(self, report: RunReport) -> None:
        missed = "; ".join(report.missed)
        super().__init__(f"{report.model} is made, and missed {len(report.missed)} of the checks: {missed}")
        self.report = report


@arguments
def run_recipe(
    recipe: Recipe,
    out: Path,
    *,
    until: Until | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    tell: Tell | None = None,
    progress: Progress | None = None,
) -> RunReport:
    """Run every stage of a recipe: raw files to a chat model. Finished stages are skipped.

    Args:
        recipe: TOML file of options, or the name of one that comes with the package.
        out: Folder of everything that the run makes.
        until: Stop after this part: data, tokenizer, pretrain, sft, dpo or evaluate.
        threads: Worker threads; all cores by default.
        overwrite: Make stages again that were made with other options.
        tell: Called with one line about each finished stage.
        progress: Called with (stage and phase, done, in all).
    Raises:
        DataError, ValueError: an input or an option cannot be used.
        StageError: a stage was made with other options, or this is one of several processes.
        MissedError: every stage is made, and the result misses a check of the recipe.
    """
    refuse_several_processes("run")
    check_sections(recipe)
    _refuse_contradictions(recipe)
    if until not in ("data", "tokenizer"):  # these need no torch
        check_layers(recipe)
    run = _Run(recipe, out, threads, overwrite, tell or (lambda _: None), progress or ignore)
    parts: dict[Until, Callable[[], None]] = {
        "data": run.make_data,
        "tokenizer": run.make_tokenizer,
        "pretrain": run.pretrain,
        "sft": run.sft,
        "dpo": run.prefer,
        "evaluate": run.evaluate,
    }
    for part, make in parts.items():
        try:
            make()
        except StoppedError as stopped:
            # The stage is saved, but the run has not made what it was asked for.
            raise KeyboardInterrupt(str(stopped)) from stopped
        if part == until:
            break
    run.save_report()
    if run.report.missed:
        raise MissedError(run.report)
    return run.report


def _refuse_contradictions(recipe: Recipe) -> None:
    """Refuse what would else be found out at the end of a run."""
    data, check = recipe.data, recipe.check
    if "valid" not in recipe.split.names():
        raise ValueError("option split.parts: training is measured on a part valid; add one, as valid=0.01")
    if "pretrain" not in data.sets:
        raise ValueError("option data.pretrain: names no files; give some, or set data.builtin = true")
    if (check.exact_loss or check.preferred_gain) and "preference" not in data.sets:
        raise ValueError(
            "section check: exact_loss and preferred_gain are of DPO, which needs data.preference"
        )
    if check.planted and not data.builtin:
        raise ValueError("option check.planted: nothing is planted without data.builtin = true")


class _Run:
    """One run, a method for each part; `recipe.data.sets` decides which stages they have."""

    def __init__(
        self, recipe: Recipe, out: Path, threads: int | None, overwrite: bool, tell: Tell, progress: Progress
    ) -> None:
        self.recipe, self.out, self.tell, self.progress = recipe, out, tell, progress
        self.common: dict[str, Any] = {"threads": threads, "overwrite": overwrite}
        self.report = RunReport(out)
        self.sets, self.corpus = recipe.data.sets, out / "corpus"
        self.questions = recipe.data.questions
        if recipe.data.builtin and self.questions is None:
            self.questions = self.corpus / "questions" / "test.jsonl"
        # The last training before preferences; its set and its folder have one name.
        self.trained = "sft" if "sft" in self.sets else "pretrain"

    def make_data(self) -> None:
        """Raw files of each set to rows for training and validation."""
        data = self.recipe.data
        if data.builtin:
            self._do("corpus", _write_corpus, [], self.corpus, self.recipe.corpus)
        self._refuse_unasked()
        # All of them are read before any is worked on: what cannot be used is told at once.
        files = {
            name: sources.expand([self.corpus / "raw" / name / "*"] if data.builtin else getattr(data, name))
            for name in self.sets
        }
        for name in self.sets:
            self._read(name, files[name])
        for name in self.sets:
            self._make_set(name)

    def _refuse_unasked(self) -> None:
        """Refuse a check on questions that nobody asks."""
        asked = {question.set for question in read_questions(self.questions)} if self.questions else set()
        if unasked := sorted(self.recipe.check.question_sets - asked):
            found = ", ".join(sorted(asked)) or "names no file"
            raise ValueError(
                f"section check: no question is of the set {', '.join(unasked)} (data.questions: {found})"
            )

    def _read(self, name: str, files: Sequence[Path]) -> None:
        rows = self._rows(name, "rows")
        self._do(f"sources {name}", sources.read_files, files, rows, self.recipe.sources)
        columns = pq.read_schema(rows).names
        if not set(ANSWERS[name]) & set(columns) and not (name == "pretrain" and TEXT in columns):
            raise DataError(
                f"option data.{name}: its rows have the columns {', '.join(columns)}; training takes prompt and "
                f"{' or '.join(ANSWERS[name])}. Name the fields with sources.prompt_columns and "
                "sources.response_column; plain text is for pre-training."
            )

    def _make_set(self, name: str) -> None:
        recipe, folder = self.recipe, self.out / "data" / name
        rows, cleaned, unique = (self._rows(name, step) for step in ("rows", "clean", "unique"))
        dirty, twins = folder / "dirty.parquet", folder / "duplicates.parquet"
        self._do(f"clean {name}", clean.clean_files, [rows], cleaned, recipe.clean, removed=dirty)
        self._do(f"dedup {name}", dedup.deduplicate_files, [cleaned], unique, recipe.dedup, removed=twins)
        if TEXT in pq.read_schema(unique).names:
            text, unique = unique, self._rows(name, "passages")
            self._do(f"passages {name}", passages.cut_passages_files, [text], unique, recipe.passages)
        if name != "preference":
            self._do(f"split {name}", split.split_files, [unique], self._rows(name), recipe.split)

    def make_tokenizer(self) -> None:
        """Word counts and a tokenizer from the rows for training."""
        counts, recipe = self.out / "words.parquet", self.recipe
        rows = [self._rows(name) for name in self.sets if name != "preference"]
        # A merge list is made of counted words; the other kinds learn from the text itself.
        source = [counts] if recipe.tokenizer.kind == "merges" else rows
        self._do("count", words.count_words_files, rows, counts, recipe.words)
        folder = self.out / "tokenizer"
        self._do("tokenizer", tokenizer.build_tokenizer_files, source, folder, recipe.tokenizer)

    def pretrain(self) -> None:
        """A model from scratch."""
        self._do(
            "pretrain",
            train.pretrain_files,
            [self._rows("pretrain")],
            self.out / "pretrain",
            self.recipe.pretrain,
            valid=self._rows("pretrain", "valid"),
            tokenizer=self.out / "tokenizer",
            model=self.recipe.model,
        )

    def sft(self) -> None:
        """The pre-trained model, taught to answer."""
        if "sft" in self.sets:
            self._do(
                "sft",
                train.sft_files,
                [self._rows("sft")],
                self.out / "sft",
                self.recipe.sft,
                model=self.out / "pretrain",
                valid=self._rows("sft", "valid"),
            )

    def prefer(self) -> None:
        """The model's own answers against the chosen ones, if the recipe has any; and the resulting model."""
        recipe, final, base = self.recipe, self.report.model, self.out / self.trained
        if "preference" not in self.sets:
            self._do("model", _copy_model, [base], final)
            return
        prompts, rejected = self._rows("preference", "unique"), self.out / "rejected.parquet"
        tuned = self.out / "dpo"
        self._do("reject", preference.reject_files, [prompts], rejected, recipe.reject, model=base)
        self._do("dpo", preference.dpo_files, [rejected], tuned, recipe.dpo, model=base)
        if recipe.dpo.lora_rank:
            self._do("merge", preference.merge_files, [tuned], final, recipe.merge, model=base)
        else:
            self._do("model", _copy_model, [tuned], final)

    def evaluate(self) -> None:
        """A card of the result, and one of the model before DPO to compare; what of the checks they miss."""
        before = self._card("before DPO", self.out / self.trained) if "preference" in self.sets else None
        after = self._card("model", self.report.model)
        if self.recipe.data.builtin:
            bad = {name: self.report.report(f"sources {name}").bad for name in ("pretrain", "sft")}
            self.report.planted = check_planted(self.out, bad)
        self.report.missed = missed_checks(self.recipe.check, before, after, self.report.planted)

    def _card(self, name: str, model: Path) -> Card:
        card, valid = self.out / "cards" / name.replace(" ", "-"), self._rows(self.trained, "valid")
        return self._do(
            f"evaluate {name}",
            evaluate.evaluate_files,
            [valid],
            card,
            self.recipe.evaluate,
            model=model,
            questions=self.questions,
        )

    def save_report(self) -> None:
        """Write what each stage told to `report.json`."""
        stages = [
            {
                "stage": d.name,
                "seconds": d.seconds,
                "peak_mb": d.peak_mb,
                "hash": d.hash,
                "report": _plain(d.report),
            }
            for d in self.report.stages
        ]
        told = {"stages": stages, "missed": self.report.missed}
        text = json.dumps(told, ensure_ascii=False, indent=2, default=str)
        (self.out / "report.json").write_text(text + "\n", "utf-8")

    def _rows(self, name: str, part: str = "train") -> Path:
        return self.out / "data" / name / f"{part}.parquet"

    def _do(
        self,
        name: str,
        function: Callable[..., Any],
        inputs: Sequence[Path],
        out: Path,
        options: Any = None,
        **more: Any,
    ) -> Any:
        """Run one stage, keep what it returns, and tell."""
        before = read_manifest(out)
        progress = _StageProgress(name, self.progress)
        report = function(inputs, out, options, **more, **self.common, progress=progress)
        manifest = read_manifest(out)
        if manifest is None:
            raise StageError(f"{out} was not finished by the stage {name}")
        skipped = manifest == before
        made_hash = next((made.get("hash", "") for made in manifest.get("outputs", ())), "")
        done = Done(name, out, report, manifest["seconds"], manifest["peak_mb"], skipped, made_hash)
        self.report.stages.append(done)
        told = f"{done.seconds:.1f} s" if not skipped else "done before"
        self.tell(f"{name:<19} {first_line(report)}   ({told}, hash {made_hash[:12]})")
        return report


def _write_corpus(_: Sequence[Path], out: Path, options: Any, *, overwrite: bool, **common: Any) -> Any:
    def write(partial: list[Path]) -> dict[str, Any]:
        return asdict(demo_corpus.write_corpus(partial[0], options)) | {"folder": str(out)}

    return run_stage("corpus", out, write, makes=FOLDER, options=options, overwrite=overwrite).report


def _copy_model(inputs: Sequence[Path], out: Path, _: Any, *, overwrite: bool, **common: Any) -> Any:
    """The model that the last training made, under the name of the result."""

    def copy(partial: list[Path]) -> dict[str, Any]:
        files = output_files(inputs[0])
        for path in files:
            target = partial[0] / path.relative_to(inputs[0])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        return {"files": len(files), "bytes": sum(path.stat().st_size for path in files)}

    return run_stage("model", out, copy, makes=FOLDER, inputs=inputs, overwrite=overwrite).report


@dataclass(frozen=True)
class _StageProgress:
    """The progress of a run, with the name of the stage under way."""

    stage: str
    progress: Progress

    def __call__(self, phase: str, done: int, total: int) -> None:
        self.progress(f"{self.stage} {phase}" if phase != self.stage else phase, done, total)

    def note(self, facts: Mapping[str, str], texts: Sequence[str] = ()) -> None:
        note(self.progress, facts, texts)


def first_line(report: Any) -> str:
    """The first line of what a report tells people."""
    if isinstance(report, dict):
        return ", ".join(f"{value:,} {key}" for key, value in report.items() if isinstance(value, int))
    return str(report).split("\n", 1)[0]


def _plain(report: Any) -> Any:
    return asdict(report) if is_dataclass(report) and not isinstance(report, type) else report
