"""A frame of figures that is drawn again and again in the same place of a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

COLUMNS = 4
"""Figures side by side."""


class LivePanel:
    """Headline, figures and texts; what else is printed scrolls past above it."""

    def __init__(self, out: TextIO) -> None:
        self._live = Live(console=Console(file=out), auto_refresh=False)
        self._live.start()

    def draw(self, headline: str, facts: Mapping[str, str], texts: Sequence[str]) -> None:
        """Show these instead of the last ones."""
        self._live.update(frame(headline, facts, texts), refresh=True)

    def close(self) -> None:
        """Leave the last frame where it is."""
        self._live.stop()


def frame(headline: str, facts: Mapping[str, str], texts: Sequence[str]) -> Panel:
    """One picture of the panel."""
    table = Table.grid(padding=(0, 2), expand=True)
    for _ in range(COLUMNS):
        table.add_column(ratio=1)
    cells = [Text.assemble((f"{name} ", "dim"), (value, "bold")) for name, value in facts.items()]
    for start in range(0, len(cells), COLUMNS):
        table.add_row(*cells[start : start + COLUMNS])
    # Texts are the model's: nothing in them is markup.
    return Panel(
        Group(table, *(Text(text, overflow="ellipsis", no_wrap=True) for text in texts)), title=Text(headline)
    )
