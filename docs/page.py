"""Write docs/page-*.png, the chat page with the demo's model: `make demo`, then `.venv/bin/python docs/page.py`.

Needs a font with Chinese characters, as Debian's fonts-noto-cjk.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect, sync_playwright

DOCS = Path(__file__).parent
QUESTIONS = ["你好", "卧薪尝胆这个成语说的是谁？", "哪一天是护士节？"]
WIDE, PHONE = {"width": 900, "height": 620}, {"width": 360, "height": 640}


def main(model: Path) -> None:
    """Ask the same questions thrice: light, dark, on a phone."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    command = [sys.executable, "-m", "smolchat_fast", "serve", str(model), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as run:
        assert server.stdout
        server.stdout.readline()
        address = server.stdout.readline().rpartition("chat page: ")[2].strip().rstrip(")")
        browser = run.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shoot(browser, address, "light", viewport=WIDE, color_scheme="light", locale="zh-CN")
        shoot(browser, address, "dark", viewport=WIDE, color_scheme="dark", locale="en-GB")
        shoot(browser, address, "phone", viewport=PHONE, color_scheme="light", locale="zh-CN", is_mobile=True)
        browser.close()
        server.terminate()


def shoot(browser: Browser, address: str, name: str, **how: object) -> None:
    """One conversation, one picture."""
    page = browser.new_context(**how).new_page()  # type: ignore[arg-type]
    page.goto(address)
    for question in QUESTIONS:
        page.fill("#question", question)
        page.click("#send")
        expect(page.locator("#talk")).to_have_attribute("aria-busy", "false")
        print(name, page.locator(".said").last.inner_text())
    page.screenshot(path=DOCS / f"page-{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo/model"))
