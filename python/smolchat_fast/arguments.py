"""What callers hand over, made usable and checked by the annotations of a function: one rule for all public ones."""

from __future__ import annotations

import builtins
import functools
import glob
import inspect
import os
import typing
from collections import ChainMap, defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from smolchat_fast.errors import section

P = ParamSpec("P")
R = TypeVar("R")


def arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function take paths as text and patterns of files, and refuse numbers and choices that cannot be.

    A parameter annotated `Path` takes text too; one of several paths takes patterns as well. An `int` is not negative,
    `threads` is at least 1, a `Literal` is one of its values; and so are the fields of options.

    Raises:
        TypeError: a path is no path, or one path stands where several are taken.
        ValueError: a number or a choice cannot be; names it.
        FileNotFoundError: a pattern fits no file.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        hints = _hints(function)
        for name, value in given.arguments.items():
            given.arguments[name] = _checked(name, value, hints.get(name))
        return function(*given.args, **given.kwargs)

    return call


def expand(inputs: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Paths and patterns to files: patterns by name, each file once.

    Args:
        inputs: Paths as they are, or patterns with `*`, `?`, `[...]`; `**` goes through folders.
    Raises:
        FileNotFoundError: a pattern fits no file, or a path is not there; names it.
    """
    found = dict.fromkeys(path for given in inputs for path in _fitting(Path(given)))
    for path in found:
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
    return list(found)


def _fitting(path: Path) -> list[Path]:
    """The files that fit a pattern, or the folders if there are none; any other path as it is."""
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    # Path.glob takes no absolute pattern.
    fits = sorted(map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
    if not fits:
        raise FileNotFoundError(2, "no file fits this pattern", str(path))
    return [fit for fit in fits if fit.is_file()] or fits


@functools.cache
def _hints(annotated: Callable[..., Any]) -> dict[str, Any]:
    """What a function or the class of some options takes by name; of `X | None` the X."""
    names = None
    if inspect.isfunction(annotated):  # some names of its annotations may be known to type checkers alone
        names = ChainMap(annotated.__globals__, vars(builtins), defaultdict(lambda: Any))
    hints = typing.get_type_hints(annotated, localns=names)
    return {name: _without_none(hint) for name, hint in hints.items()}


def _without_none(hint: Any) -> Any:
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if type(None) in typing.get_args(hint) and len(kinds) == 1 else hint


def _checked(name: str, value: Any, hint: Any) -> Any:
    """The value as its hint wants it."""
    if value is None:
        return None
    if hint is Path:
        return _path(name, value)
    if hint in (Sequence[Path], tuple[Path, ...]):
        if isinstance(value, (str, os.PathLike)):
            raise TypeError(f"{name}: expected several paths, got one, {value!r}; put it into a list")
        return tuple(path for given in value for path in _fitting(_path(name, given)))
    if hint is int:
        lowest = 1 if name == "threads" else 0
        if isinstance(value, int) and value < lowest:
            raise ValueError(f"option {name} = {value}: must be at least {lowest}")
    elif typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise ValueError(
                f"option {name} = {value}: must be one of {', '.join(map(str, typing.get_args(hint)))}"
            )
    elif is_dataclass(hint) and type(value) is hint:
        return _checked_options(value)
    return value


def _checked_options(options: Any) -> Any:
    changed = {}
    for name, hint in _hints(options.__class__).items():
        value = getattr(options, name, None)
        with section(name) if is_dataclass(hint) else nullcontext():
            checked = _checked(name, value, hint)
        if checked is not value:
            changed[name] = checked
    return replace(options, **changed) if changed else options


def _path(name: str, value: Any) -> Path:
    if isinstance(value, (str, os.PathLike)):
        return value if isinstance(value, Path) else Path(value)
    raise TypeError(f"{name}: expected a path, got {type(value).__name__}")
