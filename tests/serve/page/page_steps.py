"""What a person does on the page and what is then on show; without playwright the tests that import it are skipped."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from serve_fixtures import wait_until

from smolchat_fast.serve.options import DecodeOptions
from smolchat_fast.serve.session import Chatbot

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make dev")
expect = playwright.expect

PATIENCE_MS = 30_000
"""A busy machine is no fault of the page."""
expect.set_options(timeout=PATIENCE_MS)

BuildBot = Callable[..., Chatbot]
LONG = DecodeOptions(max_input_tokens=9000, max_new_tokens=9000)

MARKDOWN = """# 标题
段落 **粗** 和 *斜* 与 `code < b`，~~删~~ \\*星\\*
第二行 https://example.org/a?b=1，完

- 一
- 二
  1. 甲
  2. 乙

> 引用

| 名 | 数 |
| :- | -: |
| 甲 | 1 |
| `a\\|b` | 2 |

[页](https://example.org/x) ![图](https://example.org/i.png) <mailto:a@b.c>

```python
print("<b>")
```
"""


def ask(page: Any, text: str, *, wait: bool = True) -> None:
    page.fill("#question", text)
    page.click("#send")
    if wait:
        idle(page)


def idle(page: Any) -> None:
    expect(page.locator("#talk")).to_have_attribute("aria-busy", "false")


def written(page: Any, characters: int) -> None:
    """Wait for so much of an answer that is being written. (The page's policy forbids `wait_for_function`.)"""
    length = "document.querySelector('.writing .said')?.innerText.length ?? 0"
    wait_until(lambda: page.evaluate(length) > characters)


def said(page: Any) -> list[str]:
    """What is on show, turn by turn."""
    return page.locator(".said").all_inner_texts()


def act(page: Any, name: str, which: int = -1) -> None:
    """Press a button under a message."""
    page.locator(f"[data-act={name}]").nth(which).click()


@contextmanager
def sent(page: Any) -> Iterator[list[dict[str, Any]]]:
    """Bodies of the questions that are sent meanwhile."""
    bodies: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if request.url.endswith("/chat/completions"):
            bodies.append(json.loads(request.post_data))

    page.on("request", note)
    yield bodies
    page.remove_listener("request", note)
