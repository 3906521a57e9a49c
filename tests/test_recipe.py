"""A recipe is read whole, and what is wrong with it is said by name."""

from __future__ import annotations

import re
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from smolchat_fast.recipe import RECIPES, DataOptions, Recipe, read_recipe


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, "utf-8")
    return path


def test_what_a_recipe_does_not_name_keeps_its_default(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, "[dedup]\nthreshold = 0.7\n"))
    assert recipe.dedup.threshold == 0.7
    assert recipe.clean == Recipe().clean


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[dedup]\nthreshhold = 0.7", "'dedup.threshhold' is not an option; did you mean 'threshold'"),
        ("[dedupe]\nthreshold = 0.7", "'dedupe' is not an option; did you mean 'dedup'"),
        ("dedup = 3", r"write \[dedup\]"),
        ("[pretrain]\nsteps = 'many'", "steps"),
        ("[pretrain]\nsteps = 1.5", "expected int, found 1.5"),
        ("[pretrain\n", "not valid TOML"),
        ("[data]\nsft = 'raw/qa.jsonl'", r"'data.sft' is a list: write \['raw/qa.jsonl'\]"),
        ("[split]\nparts = 'valid=20'", r"'split.parts' is a list: write \['valid=20'\]"),
        ("[check]\nexact = 0.5", r"'check.exact' is a table: write { NAME = 0.5 }"),
        ("[model]\npreset = 'huge'", "expected one of demo, 0.2b, chatlm-mini, found 'huge' in model.preset"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told) as error:
        read_recipe(written(tmp_path, text))
    assert "mine.toml" in str(error.value)


def one_of_each_type(cls: type, above: str = "") -> dict[object, tuple[str, str]]:
    """Section and name of an option of each type that there is."""
    found: dict[object, tuple[str, str]] = {}
    for name, hint in get_type_hints(cls).items():
        if is_dataclass(hint):
            found |= one_of_each_type(hint, f"{above}.{name}".strip("."))
        else:
            found[hint] = above, name
    return found


@pytest.mark.parametrize("value", ["3", "-1.5", "true", "'x'", "[3]", "{ a = 'x' }", "1979-05-27"])
def test_a_value_of_the_wrong_type_is_refused_in_words(value: str, tmp_path: Path) -> None:
    told: dict[str, str] = {}
    for section, name in one_of_each_type(Recipe).values():
        try:
            read_recipe(written(tmp_path, f"[{section}]\n{name} = {value}\n"))
        except ValueError as error:
            told[name] = str(error).replace(str(tmp_path), "")
    assert told
    for name, problem in told.items():
        assert name in problem
        assert not re.search(r"typing|collections|<class|object|literal", problem)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_the_recipes_that_come_along_are_valid_and_found_by_name(path: Path) -> None:
    assert read_recipe(path) == read_recipe(Path(path.stem))


def test_a_recipe_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file.*\(0\.2b, chatlm-mini, demo\): 'nofile'"):
        read_recipe(Path("nofile"))


def test_a_folder_of_the_same_name_does_not_hide_a_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_recipe(Path("demo")) == read_recipe(RECIPES / "demo.toml")


def test_the_sets_of_a_run_follow_from_its_files() -> None:
    assert DataOptions(pretrain=("a",), preference=("b",)).sets == ("pretrain", "preference")
    assert DataOptions(builtin=True).sets == ("pretrain", "sft", "preference")


def test_a_run_needs_rows_for_validation(tmp_path: Path) -> None:
    pipeline = pytest.importorskip("smolchat_fast.pipeline", exc_type=ImportError)
    recipe = read_recipe(written(tmp_path, "[split]\nparts = ['test=0.1']\n"))
    with pytest.raises(ValueError, match=r"option split\.parts: .* add one, as valid=0\.01"):
        pipeline.run_recipe(recipe, tmp_path / "run")
