"""The page: chats are kept in the browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from page_steps import act, ask, expect, said


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
        expect(page.locator("#history-note")).to_contain_text("nothing was imported")
    page.set_input_files("#import", path)
    expect(page.locator("#chats li")).to_have_count(2)
    after = page.evaluate("localStorage.getItem('smolchat.chats')")
    assert json.loads(after) == json.loads(before)


def test_a_full_store_is_told_and_the_chat_goes_on(opened: Any) -> None:
    page = opened()
    page.evaluate(
        "for (let n = 1 << 22; n > 1; n >>= 1) try { localStorage.setItem('fill' + n, 'x'.repeat(n)); } catch {}"
    )
    ask(page, "问" * 50)
    expect(page.locator("#talk > [role=alert]")).to_contain_text("storage is full")
    assert said(page) == ["问" * 50] * 2
