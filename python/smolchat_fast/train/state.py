"""Where a run stands. What is not in here is not resumed."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch


@dataclass
class TrainState:
    """Progress of a run; JSON types alone."""

    step: int = 0
    """Steps done."""
    rows: int = 0
    """Rows trained on, over all ranks."""
    target_tokens: int = 0
    """Target tokens trained on, without padding, over all ranks."""
    tokens: int = 0
    """Source and target tokens trained on, without padding, over all ranks."""
    seconds: float = 0.0
    """Time in the loop, over all runs that made this state."""
    validated: int = 0
    """Step of the last whole validation."""
    valid_loss: float | None = None
    """Last validation loss by target token."""
    best_step: int | None = None
    """Step of the lowest validation loss."""
    best_loss: float | None = None
    """Lowest validation loss by target token."""
    since_line: dict[str, float] = field(default_factory=dict)
    """What the next line of the metrics sums up."""
    stream: dict[str, Any] = field(default_factory=dict)
    """Position of the stream after the last step."""

    def to_json(self) -> dict[str, Any]:
        """The state as JSON types."""
        return asdict(self)

    @property
    def own_loss(self) -> float | None:
        """Validation loss of this very step, if it was validated."""
        return self.valid_loss if self.validated == self.step else None

    def note_validation(self, loss: float | None) -> bool:
        """Take in a validation loss of the current step; returns whether it is the lowest so far."""
        self.validated, self.valid_loss = self.step, loss
        if loss is None or (self.best_loss is not None and loss >= self.best_loss):
            return False
        self.best_step, self.best_loss = self.step, loss
        return True


def random_states() -> dict[str, Any]:
    """The states of all generators that training may draw from, on this rank."""
    states: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=True),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Go on drawing where `random_states` was taken."""
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def seed_everything(seed: int, *, rank: int = 0, step: int = 0) -> None:
    """Start all generators that training may draw from; ranks draw apart from each other."""
    if rank or step:
        seed = int(np.random.SeedSequence((seed, rank, step)).generate_state(1, np.uint64)[0] >> 1)
    random.seed(seed)
    np.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)
