"""The main job: every stage of a recipe in order, each one skipped if it is done already.

```
OUT/corpus/          the built-in corpus, if the recipe asks for it
OUT/data/SET/        rows, clean, unique, train, valid (SET: pretrain, sft, preference)
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

from smolchat_fast import clean, dedup, evaluate, preference, sources, split, tokenizer, train, words
from smolchat_fast.errors import StageError, StoppedError
from smolchat_fast.progress import Progress, ignore, note
from smolchat_fast.recipe import Recipe
from smolchat_fast.sources import demo as demo_corpus
from smolchat_fast.stage import read_manifest, run_stage

Until = Literal["data", "tokenizer", "pretrain", "sft", "dpo", "evaluate"]
Tell = Callable[[str], object]


@dataclass(frozen=True)
class Done:
    """A stage of a run that is finished."""

    name: str
    """Stage and, where there are several, the set: `clean sft`."""
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

    def ran(self, name: str) -> bool:
        """Whether the recipe had use for that stage."""
        return any(done.name == name for done in self.stages)

    def report(self, name: str) -> Any:
        """What the stage of that name returned."""
        return next(done.report for done in self.stages if done.name == name)

    @property
    def model(self) -> Path:
        """The folder of the resulting model."""
        return self.out / "model"

    def __str__(self) -> str:
        if not self.model.is_dir():  # a run that ends before, as `--until` asks
            return f"made {self.out}"
        return f"made {self.model}\ntalk to it:  smolchat-fast chat {self.model}"


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
        StageError: a stage was made with other options, or missed a check of the recipe.
    """
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
    return run.report


class _Run:
    def __init__(
        self, recipe: Recipe, out: Path, threads: int | None, overwrite: bool, tell: Tell, progress: Progress
    ) -> None:
        self.recipe, self.out, self.tell, self.progress = recipe, out, tell, progress
        self.common: dict[str, Any] = {"threads": threads, "overwrite": overwrite}
        self.report = RunReport(out)
        self.questions = recipe.data.questions
        self.base = out / "pretrain"

    def make_data(self) -> None:
        """Raw files of each set to rows for training and validation."""
        if "valid" not in self.recipe.split.names():
            raise ValueError(
                "option split.parts: training is measured on a part valid; add one, as valid=0.01"
            )
        data = self.recipe.data
        raw: dict[str, Sequence[str]] = {
            "pretrain": data.pretrain,
            "sft": data.sft,
            "preference": data.preference,
        }
        if data.builtin:
            raw = self._write_corpus()
        if not raw["pretrain"]:
            raise ValueError("option data.pretrain: names no files; give some, or set data.builtin = true")
        for name, patterns in raw.items():
            if patterns:
                self._make_set(name, sources.expand(patterns))

    def _write_corpus(self) -> dict[str, Sequence[str]]:
        folder = self.out / "corpus"

        def write(partial: list[Path]) -> dict[str, Any]:
            return asdict(demo_corpus.write_corpus(partial[0], self.recipe.corpus)) | {"folder": str(folder)}

        def stage() -> Any:
            options = self.recipe.corpus
            return run_stage(
                "corpus", folder, write, options=options, overwrite=self.common["overwrite"]
            ).report

        self._do("corpus", folder, stage)
        self.questions = self.questions or folder / "questions" / "test.jsonl"
        return {kind: [str(folder / "raw" / kind / "*")] for kind in ("pretrain", "sft", "preference")}

    def _make_set(self, name: str, files: Sequence[Path]) -> None:
        recipe, folder = self.recipe, self.out / "data" / name
        rows, cleaned, unique = (folder / f"{step}.parquet" for step in ("rows", "clean", "unique"))
        self._do(f"sources {name}", rows, lambda: self._call(sources.read_files, files, rows, recipe.sources))
        removed = folder / "dirty.parquet"
        self._do(
            f"clean {name}",
            cleaned,
            lambda: self._call(clean.clean_files, [rows], cleaned, recipe.clean, removed=removed),
        )
        twins = folder / "duplicates.parquet"
        self._do(
            f"dedup {name}",
            unique,
            lambda: self._call(dedup.deduplicate_files, [cleaned], unique, recipe.dedup, removed=twins),
        )
        if name != "preference":
            self._do(
                f"split {name}",
                folder / "train.parquet",
                lambda: self._call(split.split_files, [unique], folder / "train.parquet", recipe.split),
            )

    def make_tokenizer(self) -> None:
        """Word counts and a tokenizer from the rows for training."""
        counts, folder = self.out / "words.parquet", self.out / "tokenizer"
        rows = [self._rows(name) for name in ("pretrain", "sft") if self._rows(name).exists()]
        # A merge list is made of counted words; the other kinds learn from the text itself.
        source = [counts] if self.recipe.tokenizer.kind == "merges" else rows
        self._do(
            "count", counts, lambda: self._call(words.count_words_files, rows, counts, self.recipe.words)
        )
        self._do(
            "tokenizer",
            folder,
            lambda: self._call(tokenizer.build_tokenizer_files, source, folder, self.recipe.tokenizer),
        )

    def pretrain(self) -> None:
        """A model from scratch."""
        self._do(
            "pretrain",
            self.base,
            lambda: self._call(
                train.pretrain_files,
                [self._rows("pretrain")],
                self.base,
                self.recipe.pretrain,
                valid=self._rows("pretrain", "valid"),
                tokenizer=self.out / "tokenizer",
                model=self.recipe.model,
            ),
        )

    def sft(self) -> None:
        """The pre-trained model, taught to answer."""
        if not self._rows("sft").exists():
            return
        source, folder = self.base, self.out / "sft"
        self._do(
            "sft",
            folder,
            lambda: self._call(
                train.sft_files,
                [self._rows("sft")],
                folder,
                self.recipe.sft,
                model=source,
                valid=self._rows("sft", "valid"),
            ),
        )
        self.base = folder

    def prefer(self) -> None:
        """The model's own answers against the chosen ones: an adapter, then the merged model."""
        prompts, final = self._rows("preference", "unique"), self.out / "model"
        if not prompts.exists():
            if not final.exists():
                shutil.copytree(self.base, final)
            return
        recipe, rejected, adapter = self.recipe, self.out / "rejected.parquet", self.out / "dpo"
        self._do(
            "reject",
            rejected,
            lambda: self._call(preference.reject_files, [prompts], rejected, recipe.reject, model=self.base),
        )
        self._do(
            "dpo",
            adapter,
            lambda: self._call(preference.dpo_files, [rejected], adapter, recipe.dpo, model=self.base),
        )
        self._do(
            "merge",
            final,
            lambda: self._call(preference.merge_files, [adapter], final, recipe.merge, model=self.base),
        )

    def evaluate(self) -> None:
        """A card of the result, and one of the model before DPO to compare."""
        models = {"model": self.out / "model"}
        if self.report.ran("dpo"):
            models = {"before DPO": self.base} | models
        valid = self._rows("sft" if self._rows("sft").exists() else "pretrain", "valid")
        for name, model in models.items():
            card = self.out / "cards" / name.replace(" ", "-")

            def stage(model: Path = model, card: Path = card) -> Any:
                options, questions = self.recipe.evaluate, self.questions
                return self._call(
                    evaluate.evaluate_files, [valid], card, options, model=model, questions=questions
                )

            self._do(f"evaluate {name}", card, stage)

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
        text = json.dumps({"stages": stages}, ensure_ascii=False, indent=2, default=str)
        (self.out / "report.json").write_text(text + "\n", "utf-8")

    def _rows(self, name: str, part: str = "train") -> Path:
        return self.out / "data" / name / f"{part}.parquet"

    def _call(
        self, function: Callable[..., Any], inputs: Sequence[Path], out: Path, options: Any, **more: Any
    ) -> Any:
        return function(
            inputs, out, options, **more, **self.common, progress=_StageProgress(self._stage, self.progress)
        )

    def _do(self, name: str, out: Path, stage: Callable[[], Any]) -> None:
        """Run one stage, keep what it returns, and tell."""
        self._stage = name
        before = read_manifest(out)
        report = stage()
        manifest = read_manifest(out)
        if manifest is None:
            raise StageError(f"{out} was not finished by the stage {name}")
        skipped = manifest == before
        made_hash = next((made.get("hash", "") for made in manifest.get("outputs", ())), "")
        done = Done(name, report, manifest["seconds"], manifest["peak_mb"], skipped, made_hash)
        self.report.stages.append(done)
        told = f"{done.seconds:.1f} s" if not skipped else "done before"
        self.tell(f"{name:<19} {first_line(report)}   ({told}, hash {made_hash[:12]})")


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
