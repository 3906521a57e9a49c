"""A recipe is read whole, and what is wrong with it is said by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from smolchat_fast.recipe import RECIPES, Recipe, read_recipe


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
    ],
)
def test_a_wrong_recipe_is_refused_by_name(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told) as error:
        read_recipe(written(tmp_path, text))
    assert "mine.toml" in str(error.value)


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_the_recipes_that_come_along_are_valid_and_found_by_name(path: Path) -> None:
    assert read_recipe(path) == read_recipe(Path(path.stem))


def test_a_run_needs_rows_for_validation(tmp_path: Path) -> None:
    pipeline = pytest.importorskip("smolchat_fast.pipeline", exc_type=ImportError)
    recipe = read_recipe(written(tmp_path, "[split]\nparts = ['test=0.1']\n"))
    with pytest.raises(ValueError, match=r"option split\.parts: .* add one, as valid=0\.01"):
        pipeline.run_recipe(recipe, tmp_path / "run")


def test_a_run_that_stops_early_does_not_tell_of_a_model(tmp_path: Path) -> None:
    pipeline = pytest.importorskip("smolchat_fast.pipeline", exc_type=ImportError)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(
        "".join(f'{{"prompt": "第{i}个问题？", "response": "第{i}个回答。"}}\n' for i in range(60))
    )
    recipe = read_recipe(
        written(tmp_path, f"[data]\npretrain = ['{rows}']\n[split]\nparts = ['valid=0.2']\n")
    )
    report = pipeline.run_recipe(recipe, tmp_path / "run", until="data")
    assert str(report) == f"made {tmp_path / 'run'}"
