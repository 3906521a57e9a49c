"""Options are declared once per language; both sides agree."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

from smolchat_fast import _core
from smolchat_fast.clean import CleanOptions
from smolchat_fast.dedup import DedupOptions
from smolchat_fast.passages import PassageOptions
from smolchat_fast.sources import SourceOptions
from smolchat_fast.split import SplitOptions
from smolchat_fast.stats import StatsOptions
from smolchat_fast.stream import StreamOptions
from smolchat_fast.tokenizer import EncodeOptions, TokenizerOptions
from smolchat_fast.words import WordOptions

CORE_OPTIONS = [
    CleanOptions,
    DedupOptions,
    EncodeOptions,
    PassageOptions,
    SourceOptions,
    SplitOptions,
    StatsOptions,
    StreamOptions,
    TokenizerOptions,
    WordOptions,
]


@pytest.mark.parametrize("cls", CORE_OPTIONS, ids=lambda cls: cls.__name__)
def test_defaults_agree_with_the_core(cls: type) -> None:
    ours = json.loads(json.dumps(asdict(cls())))
    assert ours == json.loads(_core.default_options(cls.__name__))


def test_an_unknown_options_struct_is_refused() -> None:
    with pytest.raises(ValueError, match="NoSuchOptions"):
        _core.default_options("NoSuchOptions")
