from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

_Path = str | PathLike[str]
_Progress = Callable[[str, int, int], object] | None

def version() -> str: ...
def default_options(name: str) -> str: ...
def clean_text(text: str, options: str) -> str: ...
def clean_table(
    data: object,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> tuple[Any, Any, str]: ...
def clean_files(
    inputs: Sequence[_Path],
    out: _Path,
    options: str,
    *,
    removed: _Path | None = None,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def read_files(
    inputs: Sequence[_Path],
    out: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def split_files(
    inputs: Sequence[_Path],
    train: _Path,
    valid: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
