from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = [
    "Int8Encoding",
    "Int8Matrix",
    "Int8Model",
    "RowBatches",
    "Segmenter",
    "Stream",
    "assemble_tokenizer",
    "build_tokenizer_from_files",
    "build_tokenizer_from_texts",
    "build_tokenizer_from_words",
    "clean_files",
    "clean_table",
    "clean_text",
    "compared_columns",
    "count_words",
    "count_words_files",
    "cut_passages",
    "cut_passages_files",
    "deduplicate_files",
    "default_options",
    "describe_files",
    "describe_table",
    "encode_columns",
    "encode_files",
    "file_hash",
    "find_duplicates",
    "infer_kernels",
    "load_index",
    "merge_word_count_files",
    "merge_word_counts",
    "read_files",
    "read_word_counts",
    "save_index",
    "split_files",
    "split_names",
    "split_table",
    "tokenizer_pattern",
    "version",
]

_Path = str | PathLike[str]
_Progress = Callable[[str, int, int], object] | None

def file_hash(path: _Path) -> str: ...
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
def find_duplicates(
    data: Any,
    options: str,
    *,
    against: Any | None = None,
    threads: int | None = None,
    progress: _Progress = None,
) -> tuple[pa.Int64Array, pa.RecordBatch]: ...
def deduplicate_files(
    inputs: Sequence[_Path],
    out: _Path,
    options: str,
    *,
    removed: _Path | None = None,
    against: Sequence[_Path] = ...,
    index: _Path | None = None,
    grown: _Path | None = None,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def compared_columns(table: Any) -> list[str]: ...
def save_index(table: Any, columns: Sequence[str], path: _Path) -> int: ...
def load_index(path: _Path) -> tuple[list[str], pa.Table]: ...
def describe_table(
    data: Any,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def describe_files(
    inputs: Sequence[_Path],
    options: str,
    *,
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
def cut_passages(
    data: Any, options: str, *, threads: int | None = None, progress: _Progress = None
) -> Any: ...
def cut_passages_files(
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
    parts: Sequence[_Path],
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def split_names(options: str) -> list[str]: ...
def split_table(
    data: Any, options: str, *, threads: int | None = None, progress: _Progress = None
) -> pa.UInt32Array: ...

@final
class Stream:
    def __new__(
        cls,
        paths: Sequence[_Path],
        tokenizer: _Path,
        options: str,
        *,
        share: tuple[int, int] = ...,
        epochs: int | None = None,
        threads: int | None = None,
    ) -> Stream: ...
    @property
    def rows(self) -> int: ...
    def next_batch(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None: ...
    def state(self) -> tuple[int, str, list[list[int]]]: ...
    def load_state(self, state: str) -> None: ...

def count_words(
    columns: Sequence[Any], options: str, *, threads: int | None = None, progress: _Progress = None
) -> pa.Table: ...
def count_words_files(
    inputs: Sequence[_Path],
    out: _Path,
    parts: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def merge_word_count_files(
    inputs: Sequence[_Path],
    out: _Path,
    parts: _Path,
    memory_mb: int,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def merge_word_counts(tables: Sequence[Any]) -> pa.Table: ...
def read_word_counts(path: _Path) -> pa.Table | None: ...

@final
class RowBatches:
    def __new__(cls, paths: Sequence[_Path]) -> RowBatches: ...
    def __iter__(self) -> RowBatches: ...
    def __next__(self) -> pa.RecordBatch: ...

@final
class Segmenter:
    def __new__(cls, user_dict: _Path | None = None) -> Segmenter: ...
    def cut(self, text: str, hmm: bool) -> list[str]: ...

def build_tokenizer_from_texts(
    columns: Sequence[Any], options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
def build_tokenizer_from_words(
    counts: Any, options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
def build_tokenizer_from_files(
    inputs: Sequence[_Path], options: str, *, threads: int | None = None, progress: _Progress = None
) -> tuple[str, str]: ...
def assemble_tokenizer(learned: str, added_tokens: Sequence[str]) -> tuple[str, str]: ...
def tokenizer_pattern() -> str: ...
def encode_columns(
    columns: Sequence[Any],
    tokenizer: _Path,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> tuple[list[Any], str]: ...
def encode_files(
    inputs: Sequence[_Path],
    tokenizer: _Path,
    out: _Path,
    options: str,
    *,
    threads: int | None = None,
    progress: _Progress = None,
) -> str: ...
def infer_kernels() -> list[str]: ...

@final
class Int8Matrix:
    def __new__(cls, weights: NDArray[np.float32]) -> Int8Matrix: ...
    @staticmethod
    def from_parts(
        shape: tuple[int, int], values: NDArray[np.int8], scales: NDArray[np.float32]
    ) -> Int8Matrix: ...
    def parts(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]: ...
    @property
    def shape(self) -> tuple[int, int]: ...
    def product(
        self, rows: NDArray[np.float32], out: NDArray[np.float32], *, kernel: str | None = None
    ) -> None: ...

@final
class Int8Encoding:
    @property
    def tokens(self) -> int: ...

_LayerParts = tuple[Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix]
_DecoderParts = tuple[Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix]

@final
class Int8Model:
    def __new__(
        cls,
        shape: str,
        encoder: Sequence[_LayerParts],
        decoder: Sequence[_DecoderParts],
        cross: Int8Matrix,
        out: Int8Matrix,
        encoder_bias: tuple[NDArray[np.float32], int],
        decoder_bias: tuple[NDArray[np.float32], int],
        *,
        threads: int | None = None,
        kernel: str | None = None,
    ) -> Int8Model: ...
    @property
    def kernel(self) -> str: ...
    @property
    def bytes(self) -> int: ...
    @property
    def rows(self) -> int: ...
    def encode(self, embedded: NDArray[np.float32]) -> Int8Encoding: ...
    def advance(self, encoding: Int8Encoding, layers: int) -> bool: ...
    def join(self, encoding: Int8Encoding, rows: int) -> None: ...
    def step(self, hidden: NDArray[np.float32], logits: NDArray[np.float32]) -> None: ...
    def select(self, order: Sequence[int]) -> None: ...
