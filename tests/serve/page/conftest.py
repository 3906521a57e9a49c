"""The chat page in a real Chromium, on a decoder that says the question back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from smolchat_fast.serve.session import Chatbot

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    import page_steps

    chromium = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if chromium is None:
        pytest.skip("no Chromium here: install the system's package, `apt install chromium`")
    with page_steps.playwright.sync_playwright() as run:
        # As another machine would be: a name without HTTPS is no secure context.
        names = "--host-resolver-rules=MAP lan.test 127.0.0.1"
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox", names])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, build_bot: Callable[..., Chatbot]) -> Iterator[Callable[..., Any]]:
    """Opens the page; every fault that the browser reports fails the test, but those it is told to expect."""
    from page_steps import LONG, PATIENCE_MS, expect
    from serve_fixtures import serving

    faults: list[str] = []
    with ExitStack() as stack:

        def open_page(
            *,
            bot: Chatbot | None = None,
            keys: list[str] | None = None,
            address: str = "",
            script: str = "",
            **how: Any,
        ) -> Any:
            if not address:
                client = stack.enter_context(serving(bot or build_bot(options=LONG), keys or []))
                address = str(client.base_url)
            context = browser.new_context(**{"locale": "en-GB", "base_url": address, **how})
            stack.callback(context.close)
            if script:
                context.add_init_script(script)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("console", lambda said: said.type == "error" and faults.append(said.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("dialog", lambda dialog: faults.append("a dialog opened"))
            page.on(
                "request",
                lambda sent: sent.url.startswith((address, "blob:", "data:")) or faults.append(sent.url),
            )
            page.goto("/")
            expect(page.locator("#model")).to_have_text("parrot" if not keys else "smolchat")
            page.faults = faults
            return page

        yield open_page
    assert faults == []
