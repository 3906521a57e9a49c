"""The page: chats are kept in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_steps import act, ask, expect, idle, said, written
from serve_fixtures import ScriptedDecoder


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
    assert page.evaluate("localStorage.getItem('smolchat.chats')") == "[]"


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
        expect(page.locator("#history-note")).to_contain_text("nothing was imported")
    page.set_input_files("#import", path)
    expect(page.locator("#chats li")).to_have_count(2)
    after = page.evaluate("localStorage.getItem('smolchat.chats')")
    assert json.loads(after) == json.loads(before)


def kept_titles(page: Any) -> list[str]:
    return [each["title"] for each in json.loads(page.evaluate("localStorage.getItem('smolchat.chats')"))]


def test_two_tabs_lose_nothing_of_each_other(opened: Any, scripted: ScriptedDecoder) -> None:
    first = opened()
    second = first.context.new_page()
    second.goto("/")
    ask(first, "一")
    ask(second, "二")
    ask(first, "又一")
    assert kept_titles(first) == ["二", "一"]
    for page in (first, second):
        page.click("#open-history")
        assert titles(page) == ["二", "一"]
    # What is written in one is on show in the other, where nobody is at work on it.
    second.locator("#chats button").nth(3).click()
    assert said(second) == ["一", "一", "又一", "又一"]
    first.click("#history [data-close]")
    ask(first, "还有")
    expect(second.locator(".said")).to_have_count(6)
    ask(second, "够了")
    expect(first.locator(".said")).to_have_count(8)
    assert [
        len(each["messages"]) for each in json.loads(first.evaluate("localStorage['smolchat.chats']"))
    ] == [2, 8]
    # What is removed stays so, though the other was writing to it.
    scripted.step_s = 0.05
    ask(second, "长" * 200, wait=False)
    written(second, 3)
    first.click("#open-history")
    act(first, "remove", 1)
    expect(second.locator(".said")).to_have_count(0)
    idle(second)
    scripted.step_s = 0
    ask(second, "三")
    assert kept_titles(first) == ["三", "二"]
    expect(first.locator("#chats li")).to_have_count(2)
    assert said(first) == []


def test_an_entry_that_cannot_be_read_costs_the_others_nothing(opened: Any) -> None:
    page = opened()
    ask(page, "一")
    page.evaluate(
        "localStorage['smolchat.chats'] = JSON.stringify([{ id: 1 }, null, ...JSON.parse(localStorage['smolchat.chats'])])"
    )
    page.reload()
    ask(page, "二")
    assert kept_titles(page) == ["二", "一"]


def test_a_full_store_is_told_and_the_chat_goes_on(opened: Any) -> None:
    page = opened()
    page.evaluate(
        "for (let n = 1 << 22; n > 1; n >>= 1) try { localStorage.setItem('fill' + n, 'x'.repeat(n)); } catch {}"
    )
    ask(page, "问" * 50)
    expect(page.locator("#talk > [role=alert]")).to_contain_text("storage is full")
    assert said(page) == ["问" * 50] * 2
    # It is not lost to the page, and a chat that is removed makes room.
    page.click("#fresh")
    ask(page, "又问")
    page.click("#open-history")
    assert titles(page) == ["又问", "问" * 40]
    act(page, "remove", 1)
    assert titles(page) == ["又问"]
    page.evaluate("localStorage.removeItem('fill4096')")
    page.click("#history [data-close]")
    ask(page, "再问")
    expect(page.locator("#talk > [role=alert]")).to_have_count(0)
    assert kept_titles(page) == ["又问"]
