"""Fixtures of the serving tests; without the `serve` extra they are not collected."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from serve_fixtures import ScriptedDecoder

    from smolchat_fast.serve.loading import LoadedModel
    from smolchat_fast.serve.session import Chatbot

EXTRA = ("fastapi", "httpx", "prometheus_client", "prompt_toolkit", "torch", "transformers", "uvicorn")
if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
    collect_ignore_glob = ["test_*.py", "page"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random T5 with its tokenizer."""
    from serve_fixtures import save_model

    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(folder)
    return folder


@pytest.fixture(scope="session")
def loaded(model_folder: Path) -> LoadedModel:
    from smolchat_fast.serve.loading import load

    return load(model_folder)


@pytest.fixture
def scripted() -> ScriptedDecoder:
    from serve_fixtures import ScriptedDecoder

    return ScriptedDecoder()


@pytest.fixture
def build_bot(scripted: ScriptedDecoder) -> Iterator[Callable[..., Chatbot]]:
    """Makes chatbots on the scripted decoder."""
    from serve_fixtures import CharacterTokens

    from smolchat_fast.serve.engine import Engine, Limits
    from smolchat_fast.serve.options import DecodeOptions, Decoding
    from smolchat_fast.serve.session import Chatbot

    bots = []

    def build(limits: Limits | None = None, options: DecodeOptions | None = None) -> Chatbot:
        options = options or DecodeOptions()
        bot = Chatbot(
            "parrot",
            Engine(scripted, limits or Limits()),
            CharacterTokens(),
            options,
            options.decoding(Decoding()),
        )
        bots.append(bot)
        return bot

    yield build
    scripted.gate.set()
    for bot in bots:
        bot.engine.close()
