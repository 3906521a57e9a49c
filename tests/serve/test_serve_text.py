"""Tokens to text: whole characters, stop strings, and streamed equals whole."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serve_fixtures import build_tokenizer

from smolchat_fast.serve.text import TextStream
from smolchat_fast.serve.tokens import Tokens

TOKENS = Tokens(build_tokenizer(), 1)


def stream(ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    text = TextStream(TOKENS.decode, stop)
    pieces = []
    for token in ids:
        pieces.append(text.push(token))
        if text.stopped:
            return pieces
    return [*pieces, text.flush()]


@settings(max_examples=60)
@example("0" * 11 + "\x80" * 10 + "\U00010000" * 4 + "\x800")
@given(st.text())
def test_pieces_joined_are_the_text_and_hold_no_broken_character(text: str) -> None:
    text = TOKENS.decode(TOKENS.encode(text.replace("\ufffd", "")))
    pieces = stream(TOKENS.encode(text))
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


@given(
    st.text("你好🎉ab", max_size=12),
    st.lists(st.text("你好🎉ab", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_a_stop_string_ends_the_text_before_its_first_place(text: str, stops: list[str]) -> None:
    places = [text.find(stop) for stop in stops if stop in text]
    pieces = stream(TOKENS.encode(text), tuple(stops))
    # The match that is complete first counts, as long as none that began earlier is complete with it.
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    if not places:
        assert "".join(pieces) == text
    else:
        seen = text[: min(ends)]
        assert "".join(pieces) == seen[: min(seen.find(stop) for stop in stops if stop in seen)]


@given(st.lists(st.integers(0, 310), max_size=30))
def test_any_tokens_at_all_give_text_without_an_error(ids: list[int]) -> None:
    known = [i for i in ids if i < len(build_vocabulary())]
    assert isinstance("".join(stream(known)), str)


def build_vocabulary() -> dict[str, int]:
    return TOKENS._tokenizer.get_vocab()


def test_a_character_cut_by_another_keeps_the_good_one_before_it() -> None:
    good, cut = TOKENS.encode("🎉"), TOKENS.encode("🎊")[:2]
    assert "".join(stream([*good, *cut, *TOKENS.encode("你")])).strip("\ufffd你") == "🎉"


@pytest.mark.parametrize("stop", ["气不错", "天气"])
def test_nothing_of_a_stop_string_over_several_tokens_is_shown(stop: str) -> None:
    pieces = stream(TOKENS.encode("今天天气不错。"), (stop,))
    assert "".join(pieces) == "今天天气不错。".partition(stop)[0]


def test_special_tokens_typed_by_a_user_are_plain_characters() -> None:
    ids = TOKENS.encode("[EOS]你[SEP]")
    assert not {1, 2} & set(ids)
    assert TOKENS.decode(ids) == "[EOS]你[SEP]"
