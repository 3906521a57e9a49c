"""What every engine computes with: a T5 that holds many answers at once, one row each.

Rows are dense and numbered from 0. Every step feeds one token to each row, whatever its age, so a row may
join and leave between any two steps. Positions are a row's own: T5 knows only distances.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor


class Encoding(Protocol):
    """A prompt on its way through the encoder."""

    @property
    def tokens(self) -> int:
        """Source tokens."""
        ...

    def advance(self, layers: int) -> bool:
        """Compute so many layers more; True once it is done."""
        ...


class Network(Protocol):
    """A model, and the keys and values of the rows under way. One thread calls it."""

    precision: str
    """What it computes in and with, as a person reads it."""
    layers: int
    """Layers of the encoder."""
    vocabulary: int
    """Tokens that a row may be fed."""
    parameters: int
    """Parameters, shared ones once."""
    hidden: Tensor
    """float32 [N, D]: what the last step's logits were made from."""

    def encode(self, ids: Sequence[int]) -> Encoding:
        """Begin to encode a prompt."""
        ...

    def join(self, encoding: Any, rows: int) -> None:
        """Append rows that answer a prompt that `encode` began and that is done."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row.

        Returns:
            float32 [N, V]: logits of the next tokens, on the CPU or the device; valid until the next call.
        """
        ...

    def select(self, order: Sequence[int]) -> None:
        """Row i becomes a copy of what row `order[i]` was; rows that are not named are gone."""
        ...

    def bytes_of(self, source: int, target: int) -> int:
        """Bytes that a row of so many source and target tokens takes."""
        ...
