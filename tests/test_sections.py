"""What is wrong in any section of a recipe is said before anything is done, by `run` and by `doctor`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from smolchat_fast.preference.options import DpoOptions
from smolchat_fast.recipe import RECIPES, DataOptions, Recipe, read_recipe
from smolchat_fast.sections import check_sections
from smolchat_fast.train.options import TrainOptions
from smolchat_fast.words import WordOptions, count_words

OUT_OF_RANGE: list[tuple[str, Mapping[str, Any], str]] = [
    ("sources", {"max_bad_share": 2.0}, r"[sources] max_bad_share = 2: must be in [0, 1]"),
    ("clean", {"min_han_share": -1.0}, r"[clean] min_han_share = -1: must be in [0, 1]"),
    ("dedup", {"threshold": 0.0}, r"[dedup] threshold = 0: must be in (0, 1]"),
    ("passages", {"min_chars": 1}, r"[passages] min_chars = 1: must be at least 2"),
    ("words", {"memory_mb": 0}, r"[words] memory_mb = 0: must be at least 1"),
    ("tokenizer", {"vocab_size": 100}, r"[tokenizer] vocab_size = 100: must be over"),
    ("tokenizer", {"kind": "tokenizers-bpe", "train_mb": 0}, r"[tokenizer] train_mb = 0: must be"),
    ("split", {"parts": ("valid",)}, r"[split] parts = valid: must be NAME=ROWS"),
    ("model", {"num_heads": 7}, r"[model] num_heads = 7: must divide"),
    ("pretrain", {"lr": -1.0}, r"[pretrain] lr = -1.0: must be at least 0"),
    ("sft", {"lr": -1.0}, r"[sft] lr = -1.0: must be at least 0"),
    ("sft.stream", {"bucket_batches": 0}, r"[sft.stream] bucket_batches = 0: must be from 1"),
    ("reject", {"max_new_tokens": 0}, r"[reject] max_new_tokens = 0: must be at least 1"),
    ("dpo", {"lora_rank": -1}, r"[dpo] lora_rank = -1: must be at least 0"),
    ("dpo", {"beta": -1.0}, r"[dpo] beta = -1.0: must be above 0"),
    ("merge", {"rows": 0}, r"[merge] rows = 0: must be at least 1"),
    ("evaluate", {"bleu_rows": -1}, r"[evaluate] bleu_rows = -1: must be at least 0"),
]
NO_LAYER: list[tuple[str, Mapping[str, Any], str]] = [
    ("sft", {"freeze": ("encodr",)}, r"[sft] freeze = 'encodr': matches no parameter"),
    (
        "dpo",
        {"lora_targets": ("nope",)},
        r"[dpo] lora_targets = ('nope',): matches none of the model's layers",
    ),
    ("pretrain", {"trackers": ("paper",)}, r"[pretrain] trackers = 'paper': must be of"),
]
NEGATIVE = ("sft.stream", {"batch_rows": -1}, r"[sft.stream] batch_rows = -1: must be at least 0")
READY = Recipe(data=DataOptions(pretrain=("a",), sft=("b",), preference=("c",)))


def with_options(options: Any, section: str, changed: Mapping[str, Any]) -> Any:
    """The options with those of a section below them changed."""
    if not section:
        return replace(options, **changed)
    name, _, below = section.partition(".")
    return replace(options, **{name: with_options(getattr(options, name), below, changed)})


@pytest.mark.parametrize(("section", "changed", "told"), OUT_OF_RANGE)
def test_an_option_out_of_range_is_told_with_its_section(
    section: str, changed: Mapping[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
        check_sections(with_options(Recipe(), section, changed))


def test_a_file_that_an_option_names_has_to_be_there() -> None:
    with pytest.raises(FileNotFoundError, match="no_such_words"):
        check_sections(with_options(Recipe(), "words", {"user_dict": Path("no_such_words")}))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_the_recipes_that_come_along_pass(path: Path) -> None:
    check_sections(read_recipe(path))


@pytest.mark.parametrize(("section", "changed", "told"), [OUT_OF_RANGE[-1], NEGATIVE, *NO_LAYER])
def test_run_and_doctor_refuse_it_before_anything_is_done(
    section: str, changed: Mapping[str, Any], told: str, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from smolchat_fast.doctor import diagnose
    from smolchat_fast.pipeline import run_recipe

    recipe, out = with_options(READY, section, changed), tmp_path / "run"
    for refuse in (run_recipe, diagnose):
        with pytest.raises(ValueError, match=f"^{re.escape(told)}"):
            refuse(recipe, out=out)
    assert not out.exists()


def test_layers_are_those_of_the_trainings_that_a_run_has(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from smolchat_fast.sections import check_layers

    recipe = with_options(READY, "sft", {"freeze": ("encodr",)})
    check_layers(replace(recipe, data=DataOptions(pretrain=("a",))))


@pytest.mark.parametrize(
    ("refuse", "told"),
    [
        (lambda: count_words(["你好"], WordOptions(columns="prompt")), "option columns = 'prompt'"),
        (lambda: TrainOptions(freeze="encoder").check(), "option freeze = 'encoder'"),
        (lambda: DpoOptions(lora_targets="decoder").check(), "option lora_targets = 'decoder'"),
    ],
)
def test_one_string_is_not_taken_for_the_list_of_its_characters(
    refuse: Callable[[], object], told: str
) -> None:
    with pytest.raises(ValueError, match=f"{told}: must be a list"):
        refuse()
