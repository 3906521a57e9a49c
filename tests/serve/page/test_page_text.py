"""The page: what is written becomes nodes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_steps import LONG, MARKDOWN, BuildBot, act, ask, expect
from serve_fixtures import serving


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
        """text => Math.min(...Array.from({length: 5}, () => {
          const start = performance.now();
          markdown(text, '');
          return performance.now() - start;
        }))""",
        whole[:4000],
    )
    # A frame of 16 ms where nothing else runs; what looked back at all that stands before would take far more.
    assert took < 100


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


def is_text_alone(page: Any) -> bool:
    """Whether what was written is on show, and none of it is an element or a link that runs something."""
    parts = ":is(main, dialog) :is(script, img, iframe, svg, b, [onerror], [onload], [onmouseover])"
    schemes = page.locator("main a").evaluate_all("all => all.map(a => a.protocol)")
    return (
        "onerror=alert(1)" in page.locator("main").inner_text()
        and page.locator(parts).count() == 0
        and set(schemes) <= {"http:", "https:", "mailto:"}
    )


def test_nothing_that_is_written_becomes_part_of_the_page(opened: Any, tmp_path: Path) -> None:
    page = opened()
    ask(page, "\n\n".join(ATTACKS))
    assert is_text_alone(page)
    for attack in ATTACKS:
        ask(page, attack)
    assert is_text_alone(page)
    path = tmp_path / "attack.json"
    chats = [
        {
            "id": f"{i}",
            "title": attack,
            "messages": [
                {"role": role, "content": text, "state": attack}
                for text in ATTACKS
                for role in ("user", "assistant")
            ],
        }
        for i, attack in enumerate(ATTACKS)
    ]
    path.write_text(json.dumps({"format": "smolchat-chats", "version": 1, "chats": chats}))
    page.click("#open-history")
    page.set_input_files("#import", path)
    expect(page.locator("#chats li")).to_have_count(len(ATTACKS) + 1)
    page.locator("#chats li").nth(1).locator("button").first.click()
    expect(page.locator(".turn")).to_have_count(2 * len(ATTACKS))
    assert is_text_alone(page)
    page.goto("/?q=<script>alert(1)</script>#<img src=x onerror=alert(1)>")
    expect(page.locator("#model")).to_have_text("parrot")
    assert page.title() == "parrot"
    assert page.locator("main").inner_text().startswith("Ask something.")


def test_source_text_and_code_are_copied(opened: Any) -> None:
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    text = "**粗**\n```\n码\n  行\n```"
    ask(page, text)
    act(page, "copy")
    expect(page.locator("[data-act=copy]").last).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.click("[data-copy]")
    expect(page.locator("[data-copy]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "码\n  行"


def test_text_is_copied_where_browsers_have_no_clipboard(opened: Any, build_bot: BuildBot) -> None:
    text = "**粗**\n第二行"
    with serving(build_bot(options=LONG), hosts=["lan.test"]) as client:
        page = opened(address=f"http://lan.test:{client.base_url.port}")
        assert page.evaluate("navigator.clipboard") is None
        ask(page, text)
        act(page, "copy")
        expect(page.locator("[data-act=copy]").last).to_have_text("Copied")
        expect(page.locator("[data-act=copy]").last).to_be_focused()
        page.focus("#question")
        page.keyboard.press("Control+V")
        assert page.input_value("#question") == text
        page.evaluate("document.execCommand = () => false")
        act(page, "copy")
        expect(page.locator("[data-act=copy]").last).to_have_text("Select and copy by hand")
