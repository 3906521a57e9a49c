"""The sections of a recipe, each refused before any stage has begun by the rule that its stage has.

A stage has its rules in the `check` of its options, for stages of the core in the core. What depends on
the model's layers is tried on a model without memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast.errors import DataError, section

if TYPE_CHECKING:
    from smolchat_fast.recipe import Recipe

NOWHERE = Path()
"""Output of work on no input files: it is never opened."""


def check_sections(recipe: Recipe) -> None:
    """Refuse options that their stage would refuse.

    Raises:
        ValueError: an option is out of range; names section, option and rule.
        FileNotFoundError: a file that an option names is not there.
    """
    for field in fields(recipe):
        with section(field.name):
            _check(getattr(recipe, field.name))


def check_layers(recipe: Recipe) -> None:
    """Refuse options of the trainings of a recipe that fit no layer of its model, and unknown trackers. Needs torch.

    Raises:
        ValueError: an option matches nothing; names section and option.
        MissingExtraError: the package of a tracker is not installed.
    """
    from smolchat_fast.memory import model_on_meta
    from smolchat_fast.model import t5_config
    from smolchat_fast.train.trackers import trackers_for

    config = t5_config(recipe.model, recipe.tokenizer.vocab_size)
    for name, options in recipe.trainings().items():
        with section(name):
            model_on_meta(config, options.freeze)
            trackers_for(options.trackers, NOWHERE)
    if "preference" in recipe.data.sets and recipe.dpo.lora_rank:
        from smolchat_fast.preference.dpo import adapted_layers

        with section("dpo"):
            adapted_layers(model_on_meta(config), recipe.dpo)


def check_by_core(work: Callable[..., object], *arguments: object) -> None:
    """Refuse options as a function of the core does, which looks at them before its input files: it is given none.

    Raises:
        ValueError: an option is out of range; names it.
    """
    with suppress(DataError):  # no input files: the options are fine
        work([], *arguments)


def _check(options: Any) -> None:
    if hasattr(options, "check"):
        options.check()
    for field in fields(options):
        if is_dataclass(part := getattr(options, field.name)):
            with section(field.name):
                _check(part)
