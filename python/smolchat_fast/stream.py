"""Batches from Parquet rows, in an order that can be taken up anywhere.

    rows --shuffle--> windows --encode--> chunks sorted by length --pack--> batches

An epoch is a permutation of all rows that is a function of the files, the seed and the epoch alone:
every row comes exactly once, for any batch size, number of threads and number of ranks. Reading,
shuffling and encoding happen in threads of the core while Python trains.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast import _core
from smolchat_fast.arguments import arguments
from smolchat_fast.sections import NOWHERE, check_by_core

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamOptions:
    """How rows become batches."""

    batch_tokens: int = 8_192
    """Padded source and target tokens of a batch at most."""
    batch_rows: int = 0
    """Rows of a batch; 0 lets `batch_tokens` decide."""
    max_source: int = 320
    """Tokens of a source at most, the one that ends it included; the rest is cut."""
    max_target: int = 320
    """Tokens of a target at most, the one that ends it included; the rest is cut."""
    pad_multiple: int = 8
    """Lengths of a batch are padded to a multiple of this; 8 suits GPUs, 1 small models on a CPU."""
    shuffle_rows: int = 300_000
    """Rows, about, that are read together and shuffled; their text is held in memory."""
    bucket_batches: int = 1_280
    """Batches, about, whose rows are encoded together and sorted by length: with four times as many, half
    as much is padded and the first batch comes four times later."""
    weights: tuple[float, ...] = ()
    """Passes over each input file in an epoch, for example 2 and 0.5; one over all files if empty."""
    source_column: str = "prompt"
    """Column of the source text."""
    target_column: str = "response"
    """Column of the target text."""
    seed: int = 1
    """Another seed gives another order."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        check_by_core(_core.Stream, NOWHERE, json.dumps(asdict(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Padded rows: B rows, S source tokens, T target tokens. The arrays are the caller's to change."""

    input_ids: NDArray[np.int64]
    """Source ids [B, S], each row ended by `[EOS]`, padded with `[PAD]`."""
    attention_mask: NDArray[np.int64]
    """1 for a token, 0 for padding [B, S]."""
    labels: NDArray[np.int64]
    """Target ids [B, T], each row ended by `[EOS]`, padded with -100, which the loss leaves out."""
    rows: NDArray[np.int64]
    """Positions of the rows in the concatenated input [B]; -1 for a row that only fills the last round."""


class Stream:
    """An iterator of the batches of one rank, one epoch after the other.

    With several ranks, rank r takes the batches r, r + world, ... of one global sequence, so that the
    order of examples does not depend on the number of ranks. The sequence goes on over the ends of
    epochs; where a finite one ends within a round, the ranks that would get nothing get a batch of one
    row whose labels are all -100. Each rank reads and encodes all rows.

    With `weights` the files are mixed: a file of weight 2 is passed twice in an epoch; of one of weight 0.5
    each epoch has half, and the next epoch the other half. Each row comes exactly once a pass.

    Memory: the text of `shuffle_rows` rows and the ids of two times `bucket_batches` batches.

    >>> stream = Stream([Path("train.parquet")], Path("tokenizer"), epochs=1)  # doctest: +SKIP
    >>> for batch in stream:  # doctest: +SKIP
    ...     train_on(batch.input_ids, batch.attention_mask, batch.labels)
    ...     save(stream.state_dict())
    """

    @arguments
    def __init__(
        self,
        paths: Sequence[Path],
        tokenizer: Path,
        options: StreamOptions = StreamOptions(),
        *,
        rank: int = 0,
        world: int = 1,
        epochs: int | None = None,
        threads: int | None = None,
    ) -> None:
        """Open files and tokenizer; threads start with the first batch.

        Args:
            paths: Parquet files with a source and a target column.
            tokenizer: Tokenizer folder, or the `tokenizer.json` in it.
            options: How rows become batches.
            rank: This process, from 0.
            world: Processes that share the batches.
            epochs: Passes over all rows, counted from the very beginning; for ever by default.
            threads: Threads that read and encode; all cores by default. Batches do not depend on it.
        Raises:
            DataError: a file cannot be read, lacks a column, or there are no rows.
            ValueError: an option is out of range.
        """
        self._core = _core.Stream(
            list(paths),
            tokenizer,
            json.dumps(asdict(options)),
            share=(rank, world),
            epochs=epochs,
            threads=threads,
        )

    @property
    def rows(self) -> int:
        """Rows of an epoch, over all ranks; with weights, of the first one."""
        return self._core.rows

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch.

        Raises:
            DataError: a file is damaged or a row null; names file and row. Asking again meets it again.
        """
        arrays = self._core.next_batch()
        if arrays is None:
            raise StopIteration
        return Batch(*arrays)

    def state_dict(self) -> dict[str, Any]:
        """The place after the last batch handed out, small and of JSON types; the same on every rank.

        Returns:
            `position`: rows handed out so far, over all ranks and epochs; and `made_from`: what must be the
            same for the position to mean the same batches; and `coming`, where known: the rows of the next
            few batches, about 512, with which going on takes less time.
        """
        position, made_from, coming = self._core.state()
        state = {"position": position, "made_from": json.loads(made_from)}
        return state | {"coming": coming} if coming else state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that were handed out when the state was taken, with any number of ranks.

        The first batch then takes as long as reading one window; the rest of its chunk is encoded while the
        batches of `coming` are used. Without them (a state of an earlier version) it takes until the whole
        chunk is encoded.

        Args:
            state: What `state_dict` gave.
        Raises:
            DataError: the state belongs to other files, another tokenizer or other options; when the first batches
                are asked for: its position or its `coming` is not of this stream.
        """
        self._core.load_state(json.dumps(state))
