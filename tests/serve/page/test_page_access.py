"""The page: input methods, phones, languages, keyboards and screen readers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from page_steps import MARKDOWN, act, ask, expect, idle, said, sent


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
    act(page, "edit")
    page.fill(".editing", "一个长到要分成几行的问题，" * 4)
    assert page.evaluate("(box => box.scrollHeight <= box.clientHeight)(document.querySelector('.editing'))")
    assert page.evaluate(
        "(title => title.scrollWidth <= title.clientWidth)(document.getElementById('model'))"
    )
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


def test_a_phone_has_room_for_the_key(opened: Any) -> None:
    page = opened(keys=["geheim"], viewport={"width": 360, "height": 640}, has_touch=True, is_mobile=True)
    expect(page.locator("#key")).to_be_focused()
    assert page.locator("#key").bounding_box()["width"] > 300
    button = page.locator("#unlock button").bounding_box()
    assert button["x"] + button["width"] <= 360
    assert button["y"] + button["height"] <= 640
    assert [fault for fault in page.faults if "401" not in fault] == []
    page.faults.clear()


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
