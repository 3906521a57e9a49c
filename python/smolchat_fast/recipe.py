"""One run as one typed value: the option dataclasses of all stages, read from TOML, checked as a whole.

The sections of a recipe are the fields of `Recipe`; their keys are the options of each stage, the same
that are flags of its command.
"""

from __future__ import annotations

import difflib
import errno
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from smolchat_fast.clean import CleanOptions
from smolchat_fast.dedup import DedupOptions
from smolchat_fast.errors import MissingExtraError
from smolchat_fast.evaluate.options import EvaluateOptions
from smolchat_fast.model_options import ModelOptions
from smolchat_fast.passages import PassageOptions
from smolchat_fast.preference.options import DpoOptions, MergeOptions, RejectOptions
from smolchat_fast.sources import SourceOptions
from smolchat_fast.sources.demo.options import DemoCorpusOptions
from smolchat_fast.split import SplitOptions
from smolchat_fast.tokenizer import TokenizerOptions
from smolchat_fast.train.options import SftOptions, TrainOptions
from smolchat_fast.words import WordOptions

T = TypeVar("T")

RECIPES = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""


SETS = ("pretrain", "sft", "preference")
"""The sets of rows that a recipe may have, in the order of their use."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataOptions:
    """Raw files of each set; paths or globs, any format that `sources` reads."""

    builtin: bool = False
    """Use the built-in demo corpus (section `corpus`) instead of files of your own."""
    pretrain: tuple[str, ...] = ()
    """Files for pre-training: prompts with responses, or plain text, which is cut into such."""
    sft: tuple[str, ...] = ()
    """Files for fine-tuning: instructions with answers. None: the pre-trained model is the result."""
    preference: tuple[str, ...] = ()
    """Files of prompts with chosen answers, for DPO. None: no DPO."""
    questions: Path | None = None
    """JSON lines of questions with accepted answers that the model is asked at the end."""

    @property
    def sets(self) -> tuple[str, ...]:
        """The sets that a run makes; its stages follow from them, whatever lies in its folder."""
        return tuple(name for name in SETS if self.builtin or getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """What a run has to reach; one that misses it ends with an error. What is left out is not checked."""

    exact: Mapping[str, float] | None = None
    """Lowest share of right answers by question set."""
    preferred_gain: Mapping[str, float] | None = None
    """Lowest rise of the share of preferred answers by DPO, by question set."""
    exact_loss: Mapping[str, float] | None = None
    """Largest fall of the share of right answers by DPO, by question set."""
    planted: float = 0.0
    """Lowest share of the planted dirt that cleaning and dedup have to find (built-in corpus only)."""

    @property
    def question_sets(self) -> frozenset[str]:
        """The question sets that are named."""
        return frozenset().union(
            *(named or () for named in (self.exact, self.exact_loss, self.preferred_gain))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """Everything that decides a run, from raw files to a model."""

    data: DataOptions = DataOptions()
    corpus: DemoCorpusOptions = DemoCorpusOptions()
    sources: SourceOptions = SourceOptions()
    clean: CleanOptions = CleanOptions()
    dedup: DedupOptions = DedupOptions()
    passages: PassageOptions = PassageOptions()
    words: WordOptions = WordOptions()
    tokenizer: TokenizerOptions = TokenizerOptions()
    split: SplitOptions = SplitOptions()
    model: ModelOptions = ModelOptions()
    pretrain: TrainOptions = TrainOptions()
    sft: SftOptions = SftOptions()
    reject: RejectOptions = RejectOptions()
    dpo: DpoOptions = DpoOptions()
    merge: MergeOptions = MergeOptions()
    evaluate: EvaluateOptions = EvaluateOptions()
    check: CheckOptions = CheckOptions()

    def trainings(self) -> dict[str, TrainOptions]:
        """The options of the trainings before preferences by the set of each, which is the section too."""
        named: dict[str, TrainOptions] = {"pretrain": self.pretrain, "sft": self.sft}
        return {
            name: options for name, options in named.items() if name == "pretrain" or name in self.data.sets
        }


def read_recipe(path: Path) -> Recipe:
    """Read a TOML file, or by its bare name one of `RECIPES`; what it does not name keeps its default.

    Raises:
        FileNotFoundError: there is no such file; names the recipes that come along.
        ValueError: not TOML, an unknown section or key, or a value of the wrong type; names each.
    """
    builtin = RECIPES / f"{path}.toml"
    if not path.is_file() and builtin.is_file():
        path = builtin
    if not path.exists():
        known = ", ".join(sorted(recipe.stem for recipe in RECIPES.glob("*.toml")))
        raise FileNotFoundError(
            errno.ENOENT, f"no such file, and no recipe that comes along ({known})", str(path)
        )
    toml = _toml()
    try:
        table = toml.loads(path.read_text("utf-8"))
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not valid TOML ({error})") from error
    _refuse_unknown(Recipe, table, path, ())
    return _structure(Recipe, table, path)


def _refuse_unknown(cls: type, table: Mapping[str, Any], path: Path, above: tuple[str, ...]) -> None:
    known = {field.name: field for field in fields(cls)}
    hints = typing.get_type_hints(cls)
    for key, value in table.items():
        name = ".".join((*above, key))
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise ValueError(f"{path}: {name!r} is not an option; {hint}")
        if is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise ValueError(f"{path}: {name!r} is a section: write [{name}]")
            _refuse_unknown(typing.cast("type", hints[key]), value, path, (*above, key))
        elif _holds(hints[key], tuple) and not isinstance(value, list):
            raise ValueError(f"{path}: {name!r} is a list: write [{value!r}]")
        elif _holds(hints[key], Mapping) and not isinstance(value, Mapping):
            raise ValueError(f"{path}: {name!r} is a table: write {{ NAME = {value!r} }}")


def _holds(hint: Any, kind: type) -> bool:
    """Whether an annotation is of this generic kind, or of it or None."""
    return any(typing.get_origin(part) is kind for part in (hint, *typing.get_args(hint)))


def _structure(cls: type[T], table: Mapping[str, Any], path: Path) -> T:
    try:
        import cattrs
    except ImportError as error:
        raise MissingExtraError("recipes need one more package: pip install 'smolchat-fast[cli]'") from error

    converter = cattrs.Converter()
    # TOML is typed: "3" is no number, 1.5 no count and 1 no switch.
    for kind, accepted in ((int, int), (float, (int, float)), (bool, bool), (str, str), (Path, str)):
        converter.register_structure_hook(kind, _strict(kind, accepted))
    converter.register_structure_hook_func(lambda kind: typing.get_origin(kind) is typing.Literal, _one_of)
    try:
        return converter.structure(table, cls)
    except cattrs.BaseValidationError as error:
        problems = "; ".join(cattrs.transform_error(error, path="", format_exception=lambda e, _: str(e)))
        raise ValueError(f"{path}: {problems.replace('@ .', 'in ')}") from error


def _strict(kind: type, accepted: Any) -> Any:
    def check(value: Any, _: Any) -> Any:
        if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
            raise ValueError(f"expected {kind.__name__.lower()}, found {value!r}")
        return kind(value)

    return check


def _one_of(value: Any, kind: Any) -> Any:
    choices = typing.get_args(kind)
    if value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}, found {value!r}")
    return value


def _toml() -> Any:
    if sys.version_info >= (3, 11):
        import tomllib

        return tomllib
    try:
        import tomli
    except ImportError as error:
        raise MissingExtraError("recipes need one more package: pip install 'smolchat-fast[cli]'") from error
    return tomli
