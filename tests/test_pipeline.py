"""A run makes what its recipe says, all of it and nothing else, on a model of a few thousand parameters."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

from disk import disk_of
from smolchat_fast.errors import DataError, StageError
from smolchat_fast.evaluate.options import EvaluateOptions
from smolchat_fast.model_options import ModelOptions
from smolchat_fast.pipeline import MissedError, RunReport, Until, run_recipe
from smolchat_fast.preference import DpoOptions, RejectOptions
from smolchat_fast.recipe import CheckOptions, DataOptions, Recipe
from smolchat_fast.split import SplitOptions
from smolchat_fast.stage import file_hash
from smolchat_fast.tokenizer import TokenizerOptions
from smolchat_fast.train.options import SftOptions, TrainOptions

SUMS = [(f"{a}加{b}等于几？", f"{a}加{b}等于{a + b}。") for a in range(9) for b in range(9)]
TINY = Recipe(
    tokenizer=TokenizerOptions(vocab_size=300),
    split=SplitOptions(parts=("valid=10",)),
    model=ModelOptions(preset="demo", d_model=16, d_ff=32, num_heads=2, num_layers=1, num_decoder_layers=1),
    pretrain=TrainOptions(steps=2),
    sft=SftOptions(steps=1, freeze=()),
    reject=RejectOptions(max_new_tokens=4),
    dpo=DpoOptions(steps=1, batch_rows=8, lora_rank=2),
    evaluate=EvaluateOptions(loss_rows=5, bleu_rows=2, max_new_tokens=4),
)


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataOptions:
    """Pairs for both trainings, chosen answers, and questions of the set sums."""
    folder = tmp_path_factory.mktemp("data")
    pairs = lines(folder / "pairs.jsonl", *({"prompt": p, "response": r} for p, r in SUMS))
    chosen = lines(folder / "chosen.jsonl", *({"prompt": p, "chosen": r} for p, r in SUMS[:12]))
    questions = lines(
        folder / "questions.jsonl", {"set": "sums", "prompt": "1加1等于几？", "accepted": ["2"]}
    )
    return DataOptions(
        pretrain=(str(pairs),), sft=(str(pairs),), preference=(str(chosen),), questions=questions
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="module")
def until_sft(data: DataOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, data, until="sft")
    return folder


@pytest.fixture
def trained(until_sft: Path, out: Path) -> Path:
    """The folder of a run that has come to the end of fine-tuning."""
    shutil.copytree(until_sft, out)
    return out


def made(report: RunReport) -> list[str]:
    return [done.name for done in report.stages]


def run(out: Path, data: DataOptions, until: Until = "dpo", **options: Any) -> RunReport:
    return run_recipe(replace(TINY, data=data), out, until=until, threads=1, **options)


def test_without_preferences_the_last_training_is_the_model(trained: Path, data: DataOptions) -> None:
    data, model = replace(data, preference=()), trained / "model"
    report = run(trained, data)
    assert made(report)[-2:] == ["sft", "model"]
    assert str(model) in str(report)
    assert file_hash(model) == file_hash(trained / "sft")
    assert all(done.skipped for done in run(trained, data).stages)

    data = replace(data, sft=())
    with pytest.raises(StageError, match=r"words\.parquet exists and differs in: inputs.*--overwrite"):
        run(trained, data)
    run(trained, data, overwrite=True)
    assert file_hash(model) == file_hash(trained / "pretrain"), "made again of other weights"


def test_a_model_that_was_half_copied_is_no_model(trained: Path, data: DataOptions) -> None:
    data = replace(data, preference=())
    weights = (trained / "sft" / "model.safetensors").stat().st_size
    with disk_of(weights - 1), pytest.raises(OSError, match=r"File too large"):
        run(trained, data)
    assert not (trained / "model").exists()
    run(trained, data)
    assert file_hash(trained / "model") == file_hash(trained / "sft")


@pytest.mark.parametrize(("rank", "last"), [(2, "merge"), (0, "model")])
def test_preferences_make_an_adapter_that_is_merged_or_the_model_itself(
    rank: int, last: str, trained: Path, data: DataOptions
) -> None:
    recipe = replace(TINY, data=data, dpo=replace(TINY.dpo, lora_rank=rank))
    report = run_recipe(recipe, trained, until="dpo", threads=1)
    assert made(report)[-3:] == ["reject", "dpo", last]
    assert (trained / "model" / "model.safetensors").exists()
    assert (file_hash(trained / "model") == file_hash(trained / "dpo")) is (rank == 0)


def test_what_an_earlier_recipe_left_in_the_folder_is_not_used(out: Path, data: DataOptions) -> None:
    run(out, data, until="data")
    report = run(out, replace(data, sft=(), preference=()))
    data_stages = [f"{stage} pretrain" for stage in ("sources", "clean", "dedup", "split")]
    assert made(report) == [*data_stages, "count", "tokenizer", "pretrain", "model"]
    assert report.report("count").rows == report.report("split pretrain").train_rows
    assert file_hash(out / "model") == file_hash(out / "pretrain")


def test_a_run_that_ends_early_does_not_tell_of_a_model_of_before(out: Path, data: DataOptions) -> None:
    (out / "model").mkdir(parents=True)
    assert str(run(out, data, until="data")) == f"made {out}"


def test_a_check_that_is_missed_ends_the_run_with_an_error(trained: Path, data: DataOptions) -> None:
    check = CheckOptions(exact={"sums": 0.9}, exact_loss={"sums": 0.0})
    recipe = replace(TINY, data=data, check=check)
    with pytest.raises(
        MissedError, match=r"model is made, and missed 1 .*questions sums: 0\.000 right, 0\.9"
    ) as e:
        run_recipe(recipe, trained, threads=1)
    assert made(e.value.report)[-2:] == ["evaluate before DPO", "evaluate model"]
    assert len(json.loads((trained / "report.json").read_text("utf-8"))["missed"]) == 1
    recipe = replace(recipe, check=CheckOptions(exact={"sums": 0.0}))
    assert run_recipe(recipe, trained, threads=1).missed == []


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (
            CheckOptions(exact={"poems": 0.5}),
            r"no question is of the set poems \(data\.questions: sums",
        ),
        (CheckOptions(preferred_gain={"sums": 0.1}), "needs data.preference"),
        (CheckOptions(planted=0.9), "nothing is planted"),
    ],
)
def test_a_check_that_no_run_can_answer_is_refused_before_it_begins(
    check: CheckOptions, told: str, out: Path, data: DataOptions
) -> None:
    with pytest.raises(ValueError, match=told):
        run_recipe(replace(TINY, data=replace(data, preference=()), check=check), out)
    assert not out.exists()


@pytest.mark.parametrize("name", ["sft", "preference"])
def test_plain_text_is_refused_at_once_where_answers_are_needed(
    name: str, out: Path, data: DataOptions, tmp_path: Path
) -> None:
    text = tmp_path / "articles.txt"
    text.write_text("长沙是湖南省的省会。\n武汉是湖北省的省会。\n", "utf-8")
    told: list[str] = []
    with pytest.raises(
        DataError, match=rf"data\.{name}: its rows have the columns text.*plain text is for pre-training"
    ):
        run(out, replace(data, **{name: (str(text),)}), tell=told.append)
    assert all(line.startswith("sources") for line in told), "before anything is worked on"


def test_several_processes_are_refused_at_once(
    out: Path, data: DataOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StageError, match="run is for one process; this is one of 2: leave out torchrun"):
        run(out, data)
    assert not out.exists()


def test_a_model_is_pretrained_on_plain_text(out: Path, tmp_path: Path) -> None:
    text = tmp_path / "articles.txt"
    text.write_text("".join(f"第{n}天，天气很好。我们走了{n}里路。\n" for n in range(200)), "utf-8")
    report = run(out, DataOptions(pretrain=(str(text),)))
    assert made(report)[:5] == [
        f"{stage} pretrain" for stage in ("sources", "clean", "dedup", "passages", "split")
    ]
    assert report.report("passages pretrain").rows_out == 200
    assert (report.model / "model.safetensors").exists()


def test_the_same_recipe_gives_the_same_hashes(trained: Path, data: DataOptions, tmp_path: Path) -> None:
    """On a CPU; what holds times, and where a run lies, are no part of them."""
    again = tmp_path / "elsewhere"
    recipe = replace(TINY, data=data)
    hashes = [
        {done.name: done.hash for done in run_recipe(recipe, out, threads=1).stages}
        for out in (trained, again)
    ]
    assert {"pretrain", "sft", "dpo", "evaluate before DPO", "evaluate model"} <= hashes[0].keys()
    assert all(hashes[0].values())
    assert hashes[0] == hashes[1]
    adapter = json.loads((again / "dpo" / "adapter_config.json").read_text("utf-8"))
    assert adapter["target_modules"] == sorted(adapter["target_modules"])
    assert str(tmp_path) not in json.dumps(adapter)
