"""The page: asking, stopping, asking again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from page_steps import LONG, BuildBot, act, ask, expect, idle, said, sent, written
from serve_fixtures import ScriptedDecoder, wait_until


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
        wait_until(lambda: bot.engine.load == (0, 0), 1)
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


def test_a_question_is_edited_on_while_an_answer_ends(opened: Any, scripted: ScriptedDecoder) -> None:
    page = opened()
    ask(page, "一")
    scripted.step_s = 0.02
    ask(page, "长" * 100, wait=False)
    written(page, 3)
    act(page, "edit", 0)
    page.fill(".editing", "一半")
    page.keyboard.press("Home")
    idle(page)
    expect(page.locator(".editing")).to_be_focused()
    page.keyboard.type("另")
    assert page.input_value(".editing") == "另一半"
    page.keyboard.press("Enter")
    idle(page)
    assert said(page) == ["另一半", "另一半"]


def test_settings_reach_the_request_and_are_reset(opened: Any) -> None:
    page = opened()
    page.click("#open-settings")
    values = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 3, "seed": 7}
    for name, value in values.items():
        page.fill(f"#{name}", str(value))
    page.fill("#temperature", "0.5")
    page.click("#settings [data-close]")
    with sent(page) as bodies:
        ask(page, "一二三四五")
        assert said(page)[-1] == "一二三"
        assert "Length limit" in page.locator(".turn").last.inner_text()
        page.reload()
        page.click("#open-settings")
        page.click("#reset")
        assert page.input_value("#seed") == ""
        page.click("#settings [data-close]")
        ask(page, "六")
    assert {name: bodies[0][name] for name in values} == values
    assert bodies[1] == {"messages": [{"role": "user", "content": "六"}], "stream": True}


def test_a_system_text_is_asked_for_where_the_model_gets_it(opened: Any, build_bot: BuildBot) -> None:
    page = opened(bot=build_bot(options=replace(LONG, history_turns=1)))
    page.click("#open-settings")
    page.fill("#system", "简短")
    page.click("#settings [data-close]")
    ask(page, "一")
    ask(page, "二")
    assert said(page) == ["一", "简短|一", "二", "简短|一|简短|一|二"]
    # The same browser at a model of single turns.
    page.route(
        "**/v1/models", lambda route: route.fulfill(json={"data": [{"id": "single", "history_turns": 0}]})
    )
    page.reload()
    expect(page.locator("#model")).to_have_text("single")
    page.click("#open-settings")
    expect(page.locator("#system")).to_be_hidden()
    page.click("#settings [data-close]")
    with sent(page) as bodies:
        ask(page, "三")
    assert bodies[0]["messages"] == [{"role": "user", "content": "三"}]


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
