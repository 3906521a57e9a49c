"""Tokens to text while they come: never half a character, never part of a stop string."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

INCOMPLETE = "\ufffd"


# Tokens that are decoded together before the oldest are let go of, and how many of them stay: a token's
# text depends on its neighbours, not on the whole answer.
WINDOW, CONTEXT = 48, 8


class TextStream:
    """Turns token ids into pieces of text that, joined, are the whole answer."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, stop
        self._ids: list[int] = []
        self._base = 0  # first id of the part that is decoded together
        self._clean = 0  # ids whose text has been given in full
        self._sent = ""  # text given of the ids from `_base` on
        self._held = ""  # text that may turn out to be the start of a stop string
        self._known = 0  # characters of the answer that are certain, held ones too
        self._ends: list[int] = []  # where each token's text ends in the answer, as far as it is certain
        self.given = 0
        """Characters given so far."""
        self.stopped = False
        """True once a stop string has appeared; nothing comes after."""

    @property
    def tokens(self) -> int:
        """Tokens whose text has been given in full."""
        return bisect_right(self._ends, self.given)

    def push(self, token: int) -> str:
        """The text that is certain after one more token; often empty."""
        self._ids.append(token)
        return self._gives(self._without_stop(self._new_text(last=False)))

    def flush(self) -> str:
        """What was held back, when no token follows."""
        text = self._without_stop(self._new_text(last=True)) + self._held
        self._held = ""
        return self._gives(text)

    def _gives(self, text: str) -> str:
        self.given += len(text)
        return text

    def _new_text(self, *, last: bool) -> str:
        # Decoded together each time, because a token's text depends on those before it.
        whole = self._decode(self._ids[self._base :])
        if whole.endswith(INCOMPLETE) and not last:
            return ""
        if not whole.startswith(self._sent):
            # Bytes that never became a character made the decoder take back a good one before them.
            self._base, self._sent = self._clean, ""
            whole = self._decode(self._ids[self._base :])
        new = whole[len(self._sent) :]
        self._sent, self._clean = whole, len(self._ids)
        self._known += len(new)
        self._ends += [self._known] * (len(self._ids) - len(self._ends))
        if self._clean - self._base > WINDOW:
            self._let_go(whole)
        return new

    def _let_go(self, whole: str) -> None:
        """Leave the oldest tokens behind, at a place where no character is cut."""
        for base in range(self._clean - CONTEXT, self._base, -1):
            rest = self._decode(self._ids[base:])
            if whole.endswith(rest):
                self._base, self._sent = base, rest
                return

    def _without_stop(self, text: str) -> str:
        if self.stopped:
            return ""
        text = self._held + text
        places = [place for place in map(text.find, self._stop) if place >= 0]
        if places:
            self.stopped, self._held = True, ""
            return text[: min(places)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
