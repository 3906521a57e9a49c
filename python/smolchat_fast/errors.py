"""What goes wrong through the user's input, as opposed to a defect of this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class DataError(ValueError):
    """A file or a row cannot be used; the message names it and says what to do."""


class StageError(RuntimeError):
    """A stage cannot write its output here, or missed the check it was given."""


class StoppedError(KeyboardInterrupt):
    """A job was asked to stop and has saved its work; the message tells how to go on."""


class MissingExtraError(ImportError):
    """A command needs packages of an extra that is not installed."""


# Ends a command with one line and exit status 2; anything else is a defect and shows a traceback.
USER_ERRORS = (ValueError, StageError, OSError, MissingExtraError)


@contextmanager
def section(name: str) -> Iterator[None]:
    """A wrong option is told with the section of a recipe that it stands in: [sft.stream] batch_rows = -1."""
    try:
        yield
    except ValueError as error:
        told = str(error).removeprefix("option ")
        raise ValueError(f"[{name}.{told[1:]}" if told.startswith("[") else f"[{name}] {told}") from error


def refuse_one_string(name: str, values: Sequence[str]) -> None:
    """Refuse a string where several are wanted: it is a sequence too, of its characters.

    Raises:
        ValueError: an option of that name holds one string.
    """
    if isinstance(values, str):
        raise ValueError(f"option {name} = {values!r}: must be a list or a tuple, as [{values!r}]")
