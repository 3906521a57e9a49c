"""What a person does on the page and what is then on show; without playwright the tests that import it are skipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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

PARROT = """
import sys, threading
from serve_fixtures import CharacterTokens, ScriptedDecoder, serving
from smolchat_fast.serve.engine import Engine, Limits
from smolchat_fast.serve.options import DecodeOptions, Decoding
from smolchat_fast.serve.session import Chatbot

engine = Engine(ScriptedDecoder(0.03), Limits())
bot = Chatbot("parrot", engine, CharacterTokens(), DecodeOptions(), Decoding())
with serving(bot, port=int(sys.argv[1]), resets=sys.argv[2] == "True") as client:
    print(client.base_url, flush=True)
    threading.Event().wait()
"""

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


@contextmanager
def parrot_process(port: int = 0, *, resets: bool = False) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that says questions back in a process of its own, and its address."""
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", PARROT, str(port), str(resets)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        try:
            assert process.stdout
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


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
