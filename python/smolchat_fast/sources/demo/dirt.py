"""Dirt that cleaning can take off again: each function returns a dirty (prompt, response) or None.

None says that the row offers no place for this kind. The clean text is what the row was before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

Pair = tuple[str, str]

HAN = re.compile(r"[\u4e00-\u9fff]")
HAN_PAIR = re.compile(r"(?<=[\u4e00-\u9fff])(?=[\u4e00-\u9fff])")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F) if chr(code).isalnum()}
ASCII_MARKS = {"？": "?", "，": ",", "！": "!"}
INVISIBLE = ("\u200b", "\ufeff", "\u200e", "\x07", "\x1f")


def html(prompt: str, response: str, rng: Random) -> Pair | None:
    """Tags around or after the answer, a tag in the question, or a numeric entity."""
    ways = [
        (prompt, f"<p>{response}</p>"),
        (prompt, f'<div class="answer">{response}</div>'),
        (prompt, f"{response}<br/>"),
        (f"<b>{prompt}</b>", response),
        (f"<span>{prompt}</span><br>", response),
        (prompt, response.replace("。", "&#12290;")),
    ]
    return rng.choice(ways)


def width(prompt: str, response: str, rng: Random) -> Pair | None:
    """Full-width letters and digits if there are any, otherwise ASCII marks after Chinese characters."""
    both = prompt + response
    if re.search(r"[A-Za-z0-9]", both) and rng.random() < 0.7:
        return prompt.translate(FULL_WIDTH), response.translate(FULL_WIDTH)
    dirty = re.sub(r"(?<=[\u4e00-\u9fff])[？，！]", lambda m: ASCII_MARKS[m[0]], prompt)
    return (dirty, response) if dirty != prompt else None


def control(prompt: str, response: str, rng: Random) -> Pair | None:
    """One to three invisible characters anywhere."""

    def sprinkle(text: str) -> str:
        for _ in range(rng.randint(1, 3)):
            place = rng.randint(0, len(text))
            text = text[:place] + rng.choice(INVISIBLE) + text[place:]
        return text

    return (sprinkle(prompt), response) if rng.random() < 0.5 else (prompt, sprinkle(response))


def repeated_marks(prompt: str, response: str, rng: Random) -> Pair | None:
    """A question mark or comma several times."""
    marks = [mark for mark in "？，！" if mark in prompt]
    if not marks:
        return None
    mark = rng.choice(marks)
    return prompt.replace(mark, mark * rng.randint(3, 6), 1), response


def spaces(prompt: str, response: str, rng: Random) -> Pair | None:
    """Spaces between Chinese characters."""

    def spread(text: str) -> str:
        space = rng.choice((" ", " ", "  ", "\u3000"))
        return HAN_PAIR.sub(lambda _: space if rng.random() < 0.4 else "", text)

    dirty = (spread(prompt), spread(response))
    return dirty if dirty != (prompt, response) else None


def template(prompt: str, response: str, rng: Random) -> Pair | None:
    """The leftover of a prompt template."""
    ways = [
        (prompt, f"### Response: {response}"),
        (f"### Instruction: {prompt}", response),
        (f"### Instruction: {prompt}", f"### Response: {response}"),
        (prompt, f"{response}[EOS]"),
    ]
    return rng.choice(ways)


KINDS: dict[str, Callable[[str, str, Random], Pair | None]] = {
    "html": html,
    "width": width,
    "control": control,
    "repeated_marks": repeated_marks,
    "spaces": spaces,
    "template": template,
}


def edit_slightly(response: str, rng: Random) -> str:
    """A tiny edit that leaves a long text nearly the same: a particle, a mark, a dropped sentence end."""
    middle = [i for i, char in enumerate(response[:-1]) if char == "。"]
    ways = [
        response[:-1] + rng.choice("啊呢哦的") + "。",
        response[:-1] + "！",
        response[:-1],
        response + "！",
    ]
    if middle:
        place = rng.choice(middle)
        ways.append(response[:place] + "；" + response[place + 1 :])
    return rng.choice(ways)
