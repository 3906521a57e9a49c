"""The chat page in a real Chromium, on a decoder that says the question back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from serve_fixtures import ScriptedDecoder, serving, wait_until

from smolchat_fast.serve import page as page_module
from smolchat_fast.serve.engine import Limits
from smolchat_fast.serve.options import DecodeOptions
from smolchat_fast.serve.session import Chatbot

BuildBot = Callable[..., Chatbot]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make dev")
if CHROMIUM is None:
    pytest.skip(
        "no Chromium here: install the system's package, `apt install chromium`", allow_module_level=True
    )

PATIENCE_MS = 30_000
"""A busy machine is no fault of the page."""
playwright.expect.set_options(timeout=PATIENCE_MS)

LONG = DecodeOptions(max_input_tokens=9000, max_new_tokens=9000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as run:
        browser = run.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, build_bot: BuildBot) -> Iterator[Callable[..., Any]]:
    """Opens the page; every fault that the browser reports fails the test, but those it is told to expect."""
    faults: list[str] = []
    with ExitStack() as stack:

        def open_page(*, bot: Chatbot | None = None, keys: list[str] | None = None, **how: Any) -> Any:
            client = stack.enter_context(serving(bot or build_bot(options=LONG), keys or []))
            context = browser.new_context(**{"locale": "en-GB", "base_url": str(client.base_url), **how})
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("console", lambda said: said.type == "error" and faults.append(said.text))
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("dialog", lambda dialog: faults.append("a dialog opened"))
            page.on(
                "request",
                lambda sent: (
                    sent.url.startswith((str(client.base_url), "blob:", "data:")) or faults.append(sent.url)
                ),
            )
            page.goto("/")
            playwright.expect(page.locator("#model")).to_have_text("parrot" if not keys else "smolchat")
            page.client, page.faults = client, faults
            return page

        yield open_page
    assert faults == []


def ask(page: Any, text: str, *, wait: bool = True) -> None:
    page.fill("#question", text)
    page.click("#send")
    if wait:
        idle(page)


def idle(page: Any) -> None:
    playwright.expect(page.locator("#talk")).to_have_attribute("aria-busy", "false")


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


def test_an_answer_is_streamed_and_can_be_stopped(
    opened: Any, build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    bot = build_bot(options=LONG)
    page = opened(bot=bot)
    ask(page, "你好")
    assert said(page) == ["你好", "你好"]
    assert page.locator("#said").inner_text() == "Answer complete."
    scripted.step_s = 0.02
    for stop in (lambda: page.click("#stop"), lambda: page.keyboard.press("Escape")):
        ask(page, "长" * 900, wait=False)
        written(page, 3)
        stop()
        idle(page)
        wait_until(lambda: bot.engine.load == (0, 0))
        assert 3 < len(said(page)[-1]) < 900
        assert page.locator(".turn").last.locator("footer").inner_text().startswith("Stopped")
        assert page.evaluate("document.activeElement.id") == "question"


def test_questions_are_edited_and_answers_made_again(opened: Any) -> None:
    page = opened()
    for text in ("一", "二", "三"):
        ask(page, text)
    with sent(page) as bodies:
        act(page, "again")
        idle(page)
        assert said(page) == ["一", "一", "二", "二", "三", "三"]
        act(page, "edit", 0)
        page.fill(".editing", "新")
        page.keyboard.press("Enter")
        idle(page)
    assert said(page) == ["新", "新"]
    assert [len(body["messages"]) for body in bodies] == [5, 1]
    assert bodies[1]["messages"] == [{"role": "user", "content": "新"}]
    act(page, "edit", 0)
    page.keyboard.press("Escape")
    assert said(page) == ["新", "新"]


def test_settings_reach_the_request_and_are_reset(opened: Any) -> None:
    page = opened()
    page.click("#open-settings")
    values = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 3, "seed": 7}
    for name, value in values.items():
        page.fill(f"#{name}", str(value))
    page.fill("#system", "简短")
    page.fill("#temperature", "0.5")
    page.click("#settings [data-close]")
    with sent(page) as bodies:
        ask(page, "一二三四五")
        assert said(page)[-1] == "一二三"
        assert "Length limit" in page.locator(".turn").last.inner_text()
        page.reload()
        page.click("#open-settings")
        page.click("#reset")
        assert page.input_value("#seed") == page.input_value("#system") == ""
        page.click("#settings [data-close]")
        ask(page, "六")
    assert {name: bodies[0][name] for name in values} == values
    assert bodies[0]["messages"][0] == {"role": "system", "content": "简短"}
    assert bodies[1] == {"messages": [{"role": "user", "content": "六"}], "stream": True}


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


def test_markdown_becomes_nodes(opened: Any) -> None:
    page = opened()
    ask(page, MARKDOWN)
    answer = page.locator(".assistant .said")
    counts = {
        "h3": 1,
        "strong": 1,
        "em": 1,
        "del": 1,
        "ul > li": 2,
        "ol > li": 2,
        "blockquote": 1,
        "th": 2,
        "td": 4,
    }
    assert {name: answer.locator(name).count() for name in counts} == counts
    assert answer.locator("pre code").inner_text() == 'print("<b>")'
    assert answer.locator("td code").inner_text() == "a|b"
    assert answer.locator("p").first.inner_text().endswith("*星*\n第二行 https://example.org/a?b=1，完")
    links = answer.locator("a").evaluate_all("all => all.map(a => [a.href, a.rel, a.target])")
    assert [address for address, _, _ in links] == [
        f"https://example.org/{name}" for name in ("a?b=1", "x", "i.png")
    ]
    assert {(rel, target) for _, rel, target in links} == {("noopener noreferrer", "_blank")}
    assert answer.locator("img").count() == 0


def test_an_open_fence_is_code_from_its_first_line_on(opened: Any) -> None:
    page = opened()
    shapes = page.evaluate(
        """text => [...text].map((_, i) => {
          const box = document.createElement('div');
          box.append(markdown(text.slice(0, i + 1), 'Copy'));
          return [...box.children].map(node => node.className || node.tagName).join(' ');
        })""",
        "文\n```py\na = 1\n# b\n- c\n```\n完",
    )
    assert list(dict.fromkeys(shapes)) == ["P", "P block", "P block P"]
    whole = "a|b\n-|-\n1|2\n" * 60 + "**粗** [x](https://a.b) `c`\n- 项\n" * 150
    took = page.evaluate(
        "text => Math.min(...[1, 2, 3, 4, 5].map(() => { const t = performance.now(); markdown(text, ''); return performance.now() - t; }))",
        whole[:4000],
    )
    assert took < 16


ATTACKS = [
    "<script>document.title='x'</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "[a](data:text/html,<script>alert(1)</script>)",
    "[a](JaVaScRiPt:alert(1))",
    "![a](https://evil.example/i.png)",
    "```html\n<iframe srcdoc='<script>alert(1)</script>'>\n```",
    "</script><script>alert(1)</script>",
    "| <b onmouseover=alert(1)>a</b> | b |\n|-|-|\n| <svg onload=alert(1)> | c |",
    "<a href='javascript:alert(1)'>x</a> \u202e\u0000",
]


def test_nothing_that_is_written_becomes_part_of_the_page(opened: Any, tmp_path: Path) -> None:
    page = opened()
    for attack in ATTACKS:
        ask(page, attack)
    path = tmp_path / "attack.json"
    chats = [
        {
            "id": f"{i}",
            "title": attack,
            "messages": [{"role": "assistant", "content": attack, "state": attack}],
        }
        for i, attack in enumerate(ATTACKS)
    ]
    path.write_text(json.dumps({"format": "smolchat-chats", "version": 1, "chats": chats}))
    page.click("#open-history")
    page.set_input_files("#import", path)
    page.locator("#chats li").nth(1).locator("button").first.click()
    page.goto("/?q=<script>alert(1)</script>#<img src=x onerror=alert(1)>")
    page.wait_for_timeout(100)
    assert page.title() == "parrot"
    assert page.locator("main script, main img, main iframe, main svg, main b, [onerror]").count() == 0
    schemes = page.locator("a").evaluate_all("all => all.map(a => a.protocol)")
    assert set(schemes) <= {"http:", "https:", "mailto:"}


def test_source_text_and_code_are_copied(opened: Any) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    text = "**粗**\n```\n码\n  行\n```"
    ask(page, text)
    act(page, "copy")
    playwright.expect(page.locator("[data-act=copy]").last).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.click("[data-copy]")
    playwright.expect(page.locator("[data-copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "码\n  行"


def titles(page: Any) -> list[str]:
    return page.locator("#chats li > :first-child").all_inner_texts()


def test_history_is_kept_renamed_and_deleted(opened: Any) -> None:
    page = opened()
    for text in ("第一", "第二"):
        ask(page, text)
        page.click("#fresh")
    page.reload()
    page.click("#open-history")
    assert titles(page) == ["第二", "第一"]
    act(page, "rename", 0)
    page.keyboard.type("改名")
    page.keyboard.press("Enter")
    assert titles(page) == ["改名", "第一"]
    page.locator("#chats button").first.click()
    assert said(page) == ["第二", "第二"]
    page.click("#open-history")
    act(page, "remove", 0)
    assert titles(page) == ["第一"]
    assert said(page) == []
    page.click("#delete-all")
    assert titles(page) == ["第一"]
    page.click("#delete-all")
    assert page.locator("#chats").inner_text() == "No chats yet."
    assert page.evaluate("localStorage.getItem('smolchat.chats')") is None


def test_chats_are_exported_and_imported_equal(opened: Any, tmp_path: Path) -> None:
    page = opened()
    for text in ("一\n二 🎉", "<b>"):
        ask(page, text)
        page.click("#fresh")
    before = page.evaluate("localStorage.getItem('smolchat.chats')")
    page.click("#open-history")
    with page.expect_download() as download:
        page.click("#export")
    path = tmp_path / "chats.json"
    download.value.save_as(path)
    page.click("#delete-all")
    page.click("#delete-all")
    for broken in (
        "{",
        "[]",
        '{"format": "smolchat-chats", "chats": [{"id": 1}]}',
        json.dumps({"chats": []}),
        " " * 5_000_001,
    ):
        (tmp_path / "broken.json").write_text(broken)
        page.set_input_files("#import", tmp_path / "broken.json")
        playwright.expect(page.locator("#history-note")).to_contain_text("nothing was imported")
    page.set_input_files("#import", path)
    playwright.expect(page.locator("#chats li")).to_have_count(2)
    after = page.evaluate("localStorage.getItem('smolchat.chats')")
    assert json.loads(after) == json.loads(before)


def test_a_full_store_is_told_and_the_chat_goes_on(opened: Any) -> None:
    page = opened()
    page.evaluate(
        "for (let n = 1 << 22; n > 1; n >>= 1) try { localStorage.setItem('fill' + n, 'x'.repeat(n)); } catch {}"
    )
    ask(page, "问" * 50)
    playwright.expect(page.locator("#talk > [role=alert]")).to_contain_text("storage is full")
    assert said(page) == ["问" * 50] * 2


def test_the_page_follows_only_at_the_bottom(opened: Any, scripted: ScriptedDecoder) -> None:
    page = opened(viewport={"width": 800, "height": 400})
    ask(page, "行\n" * 60)
    scripted.step_s = 0.005
    ask(page, "又\n" * 300, wait=False)
    written(page, 20)
    at_end = "(t => t.scrollHeight - t.scrollTop - t.clientHeight)(document.getElementById('talk'))"
    assert page.evaluate(at_end) < 60
    page.evaluate("document.getElementById('talk').scrollTop = 100")
    length = page.evaluate("document.querySelector('.writing .said').innerText.length")
    written(page, length + 20)
    assert page.evaluate("document.getElementById('talk').scrollTop") == 100
    scripted.step_s = 0
    idle(page)


def test_what_goes_wrong_is_told_and_can_be_tried_again(
    opened: Any, build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    page = opened(bot=build_bot(Limits(max_running=1, max_queue=1), LONG))
    # The server fails midway: what came stays.
    scripted.step_s = 0.02
    ask(page, "长" * 300, wait=False)
    written(page, 3)
    scripted.fail = True
    idle(page)
    last = page.locator(".turn").last
    assert last.locator("[role=alert]").inner_text() == "The server made a mistake."
    assert len(said(page)[-1]) > 3
    scripted.fail, scripted.step_s = False, 0
    act(page, "retry")
    idle(page)
    assert said(page)[-1] == "长" * 300
    # The connection is gone midway, then the whole server.
    page.route(
        "**/chat/completions",
        lambda route: route.fulfill(
            content_type="text/event-stream", body='data: {"choices":[{"delta":{"content":"半"}}]}\n\n'
        ),
    )
    ask(page, "问")
    assert said(page)[-1] == "半"
    assert "broke off" in page.locator(".turn").last.inner_text()
    page.unroute("**/chat/completions")
    page.route("**/chat/completions", lambda route: route.abort())
    ask(page, "再问")
    assert "cannot be reached" in page.locator(".turn").last.inner_text()
    page.unroute("**/chat/completions")
    act(page, "retry")
    idle(page)
    assert said(page)[-2:] == ["再问", "再问"]
    assert [fault for fault in page.faults if "ERR_FAILED" not in fault] == []
    page.faults.clear()


def test_a_busy_server_lets_wait_and_refuses_in_words(
    opened: Any, build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    bot = build_bot(Limits(max_running=1, max_queue=1), LONG)
    page = opened(bot=bot)
    scripted.gate.clear()
    other = bot.engine.submit([97, 0], bot.decoding)
    ask(page, "等", wait=False)
    playwright.expect(page.locator(".turn").last).to_contain_text("Waiting for its turn")
    wait_until(lambda: bot.engine.load == (1, 1))
    second = page.context.new_page()
    second.goto("/")
    ask(second, "也等")
    assert "The server is busy" in second.locator(".turn").last.inner_text()
    scripted.gate.set()
    idle(page)
    assert said(page) == ["等", "等"]
    assert "".join(other) == "a"


def test_the_key_is_asked_for_and_the_question_not_lost(opened: Any) -> None:
    page = opened(keys=["geheim"])
    assert page.locator("#locked").inner_text() == "This server asks for a key."
    page.fill("#key", "falsch")
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#locked")).to_have_text("That key does not fit. Try again.")
    page.fill("#key", "geheim")
    page.click("#unlock button")
    playwright.expect(page.locator("#model")).to_have_text("parrot")
    ask(page, "你好")
    assert page.evaluate("[sessionStorage.getItem('key'), localStorage.getItem('smolchat.key')]") == [
        "geheim",
        "null",
    ]
    page.evaluate("sessionStorage.setItem('key', 'alt')")
    ask(page, "又")
    page.fill("#key", "geheim")
    page.check("#remember")
    page.click("#unlock button")
    idle(page)
    assert said(page) == ["你好", "你好", "又", "又"]
    assert page.evaluate("localStorage.getItem('smolchat.key')") == '"geheim"'
    assert [fault for fault in page.faults if "401" not in fault] == []
    page.faults.clear()


def test_composing_a_character_sends_nothing(opened: Any) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    enter = "(node, how) => node.dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...how }))"
    ask(page, "好")
    page.click("#open-history")
    act(page, "rename", 0)
    act_on = [("#chats input", "rename")]
    for how in ({"isComposing": True}, {"keyCode": 229}):
        page.locator(act_on[0][0]).evaluate(enter, how)
        assert page.locator("#chats input").count() == 1
    page.keyboard.press("Escape")
    page.click("#history [data-close]")
    act(page, "edit", 0)
    with sent(page) as bodies:
        for how in ({"isComposing": True}, {"keyCode": 229}):
            page.locator(".editing").evaluate(enter, how)
        page.keyboard.press("Escape")
        page.focus("#question")
        session.send("Input.imeSetComposition", {"text": "ni hao", "selectionStart": 6, "selectionEnd": 6})
        for how in ({"isComposing": True}, {"keyCode": 229}):
            page.locator("#question").evaluate(enter, how)
        session.send("Input.insertText", {"text": "你好"})
        page.wait_for_timeout(50)
        assert bodies == []
        page.keyboard.press("Enter")
        idle(page)
        assert len(bodies) == 1
    assert said(page)[-1] == "你好"


def test_a_phone_has_no_sideways_scroll_and_its_enter_is_a_line_end(opened: Any) -> None:
    page = opened(viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    ask(
        page,
        "| "
        + " | ".join("很宽的表格" * 2 for _ in range(6))
        + " |\n"
        + "|-" * 6
        + "|\n```\n"
        + "x" * 200
        + "\n```\n"
        + "w" * 200,
    )
    wide = "document.documentElement.scrollWidth > 360 || document.querySelector('#talk').scrollWidth > document.querySelector('#talk').clientWidth"
    assert not page.evaluate(wide)
    page.fill("#question", "一")
    page.press("#question", "Enter")
    assert page.input_value("#question") == "一\n"
    box = page.locator("#question").bounding_box()
    assert box["y"] + box["height"] <= 640
    for name in ("history", "settings"):
        page.click(f"#open-{name}")
        assert not page.evaluate(
            f"document.querySelector('#{name}').scrollWidth > document.querySelector('#{name}').clientWidth"
        )
        page.keyboard.press("Escape")


def test_labels_are_of_one_language_at_a_time(opened: Any) -> None:
    for locale, lang in (("zh-CN", "zh-CN"), ("de-DE", "en")):
        page = opened(locale=locale)
        assert page.evaluate("document.documentElement.lang") == lang
    ask(page, "x" * 3)
    labels = "[...document.querySelectorAll('button, h2, label > span, option[data-t], [placeholder], [aria-label]')].filter(n => !n.closest('.said, #language')).map(n => [n.textContent, n.placeholder, n.getAttribute('aria-label')].join(' '))"
    page.click("#open-settings")
    english = page.evaluate(labels)
    assert not any(re.search(r"[\u4e00-\u9fff]", text) for text in english)
    page.select_option("#language", "zh")
    chinese = page.evaluate(labels)
    assert len(chinese) == len(english)
    assert not any(re.search(r"[A-Za-z]{4,}", text) for text in chinese), chinese
    page.reload()
    assert page.evaluate("document.documentElement.lang") == "zh-CN"
    words = page.evaluate(
        "[Object.keys(WORDS.zh), Object.keys(WORDS.en), Object.keys(WORDS.zh.errors), Object.keys(WORDS.en.errors)]"
    )
    assert words[0] == words[1]
    assert words[2] == words[3]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_fault_of_accessibility(opened: Any, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(color_scheme=scheme, bypass_csp=True, reduced_motion="reduce")
    ask(page, MARKDOWN)
    for name in (None, "history", "settings"):
        if name:
            page.click(f"#open-{name}")
        found = axe.Axe().run(page).response["violations"]
        assert [
            (each["id"], each["nodes"][0]["html"])
            for each in found
            if each["impact"] in {"serious", "critical"}
        ] == []
        page.keyboard.press("Escape")
    # The switch wins over the system.
    dark = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(dark)
    page.click("#open-settings")
    page.select_option("#theme", "light" if scheme == "dark" else "dark")
    assert page.evaluate(dark) != before


def test_everything_is_reached_by_keyboard_with_a_visible_focus(opened: Any) -> None:
    page = opened()
    ask(page, "你好")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "[document.activeElement.id || document.activeElement.dataset.act, getComputedStyle(document.activeElement).outlineStyle]"
            )
        )
    names = {name for name, _ in reached}
    assert {
        "open-history",
        "fresh",
        "open-settings",
        "talk",
        "copy",
        "edit",
        "again",
        "question",
        "send",
    } <= names
    assert all(outline == "solid" for name, outline in reached if name)
    assert page.get_attribute("#talk", "role") == "log"


def test_the_policy_of_the_page_lets_nothing_else_run() -> None:
    html, headers = page_module.load()
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.count("'sha256-") == 2
    assert {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}.items() <= headers.items()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\son\w+=\"|\sstyle=\"|eval\(|@import|src=\"(?!data:)",
        html,
    )
    assert not re.search(r"https?://(?![\[?])", html.replace("https?://", ""))
