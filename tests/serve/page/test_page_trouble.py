"""The page: faults, waiting and a missing key are told, and the question is not lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from page_steps import LONG, BuildBot, act, ask, expect, idle, parrot_process, said, written
from serve_fixtures import ScriptedDecoder, wait_until

from smolchat_fast.serve.engine import Limits


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


@pytest.mark.parametrize("resets", [False, True], ids=["closed", "reset"])
def test_a_server_that_is_killed_midway_leaves_what_came_and_a_way_to_go_on(
    opened: Any, resets: bool
) -> None:
    with parrot_process(resets=resets) as (process, address):
        page = opened(address=address)
        ask(page, "一二三")
        ask(page, "长" * 200, wait=False)
        written(page, 5)
        process.kill()
        idle(page)
    last = page.locator(".turn").last
    assert last.locator("[role=alert]").inner_text() == "The answer broke off."
    came = said(page)[-1]
    assert len(came) >= 5
    assert set(came) == {"长"}
    # Tried again too early, it keeps what came; so does the store.
    act(page, "retry")
    idle(page)
    assert last.locator("[role=alert]").inner_text() == "The server cannot be reached."
    assert said(page) == ["一二三", "一二三", "长" * 200, came]
    kept = json.loads(page.evaluate("localStorage.getItem('smolchat.chats')"))
    assert [message["content"] for message in kept[0]["messages"]] == said(page)
    expect(page.locator("#question")).to_be_focused()
    with parrot_process(int(address.rpartition(":")[2]), resets=resets):
        act(page, "retry")
        idle(page)
        assert said(page)[-1] == "长" * 200
        expect(last.locator("[role=alert]")).to_have_count(0)
        ask(page, "四五六")
    assert said(page)[-2:] == ["四五六", "四五六"]
    assert [fault for fault in page.faults if "net::ERR_" not in fault] == []
    page.faults.clear()


def test_a_stream_that_falls_silent_is_given_up(
    opened: Any, build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    page = opened(bot=build_bot(options=LONG))
    page.clock.install()
    scripted.step_s = 0.02
    ask(page, "长" * 100, wait=False)
    written(page, 5)
    scripted.gate.clear()

    def given_up() -> bool:
        # The server writes to a silent stream every 15 s; a network that is gone says nothing for ever. What was under
        # way when it fell silent begins another minute.
        page.clock.fast_forward(61_000)
        return page.locator("#talk").get_attribute("aria-busy") == "false"

    wait_until(given_up)
    last = page.locator(".turn").last
    assert last.locator("[role=alert]").inner_text() == "The answer broke off."
    assert said(page)[-1].startswith("长长长长长")
    scripted.gate.set()
    act(page, "retry")
    idle(page)
    assert said(page)[-1] == "长" * 100


def test_what_a_proxy_says_of_a_server_that_is_gone_is_told_in_words(opened: Any) -> None:
    page = opened()
    page.route("**/chat/completions", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway</h1>"))
    ask(page, "问")
    last = page.locator(".turn").last
    assert last.locator("[role=alert]").inner_text() == "The server cannot be reached."
    page.unroute("**/chat/completions")
    act(page, "retry")
    idle(page)
    assert said(page) == ["问", "问"]
    assert [fault for fault in page.faults if "502" not in fault] == []
    page.faults.clear()


def test_a_busy_server_lets_wait_and_refuses_in_words(
    opened: Any, build_bot: BuildBot, scripted: ScriptedDecoder
) -> None:
    bot = build_bot(Limits(max_running=1, max_queue=1), LONG)
    page = opened(bot=bot)
    scripted.gate.clear()
    other = bot.engine.submit([97, 0], bot.decoding)
    ask(page, "等", wait=False)
    expect(page.locator(".turn").last).to_contain_text("Waiting for its turn")
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
    expect(page.locator("#locked")).to_have_text("That key does not fit. Try again.")
    page.fill("#key", "geheim")
    page.click("#unlock button")
    expect(page.locator("#model")).to_have_text("parrot")
    ask(page, "你好")
    places = "[sessionStorage, localStorage].map((each) => each.getItem('smolchat.key'))"
    assert page.evaluate(places) == ['"geheim"', "null"]
    # The server has another key now, and a wrong one is given while the question waits.
    page.evaluate("key = 'alt'")
    ask(page, "又")
    expect(page.locator("#locked")).to_have_text("That key does not fit. Try again.")
    with page.expect_response("**/chat/completions"), page.expect_response("**/v1/models"):
        page.fill("#key", "auch falsch")
        page.keyboard.press("Enter")
    expect(page.locator("#unlock")).to_be_visible()
    page.wait_for_timeout(100)
    assert page.locator("#locked").inner_text() == "That key does not fit. Try again."
    page.fill("#key", "geheim")
    page.check("#remember")
    page.click("#unlock button")
    idle(page)
    assert said(page) == ["你好", "你好", "又", "又"]
    assert page.evaluate(places) == ["null", '"geheim"']
    assert [fault for fault in page.faults if "401" not in fault] == []
    page.faults.clear()


def test_a_browser_that_keeps_nothing_can_chat(opened: Any) -> None:
    blocked = "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError'); } });"
    page = opened(keys=["geheim"], script=blocked)
    page.fill("#key", "geheim")
    page.click("#unlock button")
    for text in ("一", "二"):
        ask(page, text)
    assert said(page) == ["一", "一", "二", "二"]
    page.click("#fresh")
    page.click("#open-history")
    page.locator("#chats button").first.click()
    assert said(page) == ["一", "一", "二", "二"]
    assert [fault for fault in page.faults if "401" not in fault] == []
    page.faults.clear()
