"""The main job on built-in data, with a check of every promise it makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from smolchat_fast.arguments import arguments
from smolchat_fast.pipeline import MissedError, RunReport, run_recipe
from smolchat_fast.progress import Progress
from smolchat_fast.recipe import Recipe, read_recipe

QUESTIONS = (
    "请告诉我湖南省的省会。",
    "7乘8等于多少？",
    "画蛇的下半句是什么？",
    "苹果用英语怎么说？",
    "明天的彩票号码是多少？",
)


@dataclass(frozen=True)
class DemoReport:
    """What the demo made, and what it answers."""

    run: RunReport
    answers: dict[str, str]

    def __str__(self) -> str:
        from smolchat_fast.demo import table

        before, after = self.run.report("evaluate before DPO"), self.run.report("evaluate model")
        asked = [["question", "answer"], *([q, a] for q, a in self.answers.items())]
        model = self.run.model
        return "\n\n".join(
            [
                table.stages_table(self.run),
                "planted in the raw files, and found:\n" + table.planted_table(self.run.planted),
                f"pre-training (curve: {self.run.out / 'pretrain' / 'curves.png'}):\n"
                + table.loss_lines(self.run.out / "pretrain" / "metrics.jsonl"),
                "unseen questions, exact match:\n" + table.answers_table(before, after),
                table.layout(asked),
                f"chat:   smolchat-fast chat {model}\n"
                f"serve:  smolchat-fast serve {model}      then open http://127.0.0.1:8812",
            ]
        )


@arguments
def demo(
    out: Path = Path("runs/demo"),
    *,
    seed: int = 1,
    threads: int | None = None,
    overwrite: bool = False,
    tell: Callable[[str], object] | None = None,
    progress: Progress | None = None,
) -> DemoReport:
    """Make a chat model from built-in raw text and check what it can do.

    The corpus is dirty on purpose and what was planted is known, so that cleaning and dedup are checked;
    the questions asked at the end were not seen in training. The recipe is the one named `demo`.

    Args:
        out: Folder of everything that the demo makes; finished stages are skipped.
        seed: Seed of the corpus, the split, the weights and the order of the rows.
        threads: Worker threads; all cores by default.
        overwrite: Make stages again that were made with other options.
        tell: Called with one line about each finished stage, and with the table at the end.
        progress: Called with (stage and phase, done, in all).
    Raises:
        MissedError: a check was missed; says which, by how much.
    """
    recipe = seeded(read_recipe(Path("demo")), seed)
    missed: MissedError | None = None
    try:
        run = run_recipe(recipe, out, threads=threads, overwrite=overwrite, tell=tell, progress=progress)
    except MissedError as error:
        missed, run = error, error.report
    report = DemoReport(run, ask(run.model, QUESTIONS))
    (out / "demo.json").write_text(_json(report) + "\n", "utf-8")
    if missed:
        if tell:
            tell(str(report))
        raise missed
    return report


def seeded(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with one seed for everything that is drawn."""
    return replace(
        recipe,
        corpus=replace(recipe.corpus, seed=seed),
        split=replace(recipe.split, seed=seed),
        pretrain=replace(recipe.pretrain, seed=seed, stream=replace(recipe.pretrain.stream, seed=seed)),
        sft=replace(recipe.sft, seed=seed, stream=replace(recipe.sft.stream, seed=seed)),
        dpo=replace(recipe.dpo, seed=seed),
    )


def ask(model: Path, questions: tuple[str, ...]) -> dict[str, str]:
    """The model's answers."""
    from transformers import AutoTokenizer

    from smolchat_fast.generate import generate_answers
    from smolchat_fast.model import load_model

    answers = generate_answers(load_model(model), AutoTokenizer.from_pretrained(model), questions, 64)
    return dict(zip(questions, answers, strict=True))


def _json(report: DemoReport) -> str:
    plain: dict[str, Any] = {
        "answers": report.answers,
        "missed": report.run.missed,
        "planted": [asdict(p) | {"share": p.share} for p in report.run.planted],
    }
    return json.dumps(plain, ensure_ascii=False, indent=2)
