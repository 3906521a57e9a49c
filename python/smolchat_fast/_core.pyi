from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import pyarrow as pa

_Path = str | PathLike[str]
_Progress = Callable[[str, int, int], object] | None

def version() -> str: ...
def default_options(name: str) -> str: ...
def split_files(
    inputs: Sequence[_Path],
    train: _Path,
    valid: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def count_words(
    columns: Sequence[Any], options: str, *, threads: int | None = None, progress: _Progress = None
) -> pa.Table: ...
def count_words_files(
    inputs: Sequence[_Path],
    out: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def merge_word_counts(tables: Sequence[Any]) -> pa.Table: ...
def cut_words(text: str, hmm: bool, user_dict: _Path | None = None) -> list[str]: ...
def build_tokenizer_from_texts(
    columns: Sequence[Any], options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
def build_tokenizer_from_words(
    counts: Any, options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
def build_tokenizer_from_files(
    inputs: Sequence[_Path], options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
