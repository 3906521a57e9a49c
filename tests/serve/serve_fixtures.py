"""A tiny model with a tokenizer, a stand-in decoder, and a real server in this process."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch
import uvicorn
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from smolchat_fast.serve.answer import Scored
from smolchat_fast.serve.api import build_app
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.search import Emission
from smolchat_fast.serve.server import CONNECTIONS
from smolchat_fast.serve.session import Chatbot

SPECIAL = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]
CHARACTERS = "你好吗我很今天气不错中国的首都是北京上海水火山石田土木金日月，。？！abcdefgh "


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Single characters, every other one as its bytes."""
    words = [*SPECIAL, *[f"<0x{byte:02X}>" for byte in range(256)], *dict.fromkeys(CHARACTERS)]
    vocab = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="[UNK]", byte_fallback=True))
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(
        single="$A [EOS]", pair="$A [SEP] $B [EOS]", special_tokens=[("[EOS]", 1), ("[SEP]", 2)]
    )
    names = {"pad": "[PAD]", "eos": "[EOS]", "sep": "[SEP]", "bos": "[BOS]", "cls": "[CLS]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", **{f"{name}_token": text for name, text in names.items()}
    )


def save_model(folder: Path) -> None:
    """Write a T5 with random weights whose answers vary and mostly run to their limit."""
    tokenizer = build_tokenizer()
    torch.manual_seed(5)
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=False,
    )
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        # Enough attention that an answer depends on question and place; no bytes that make no character.
        model.lm_head.weight.normal_(0, 0.6)
        model.lm_head.weight[2 : len(SPECIAL) + 256] = 0
        for name, weight in model.decoder.named_parameters():
            if "relative" in name:
                weight.normal_(0, 6)
            elif ".q." in name or ".k." in name:
                weight.mul_(2)
            elif "Attention.v." in name or "Attention.o." in name:
                weight.mul_(3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class ScriptedRow:
    """A prompt and how far its answer is."""

    def __init__(self, prompt: Sequence[int], decoding: Decoding) -> None:
        self.prompt, self.decoding, self.done = list(prompt), decoding, 0


class ScriptedDecoder:
    """Says its prompt back, a character a step; stands in for a model where only the borders matter."""

    def __init__(self, step_s: float = 0.0) -> None:
        self.step_s, self.steps, self.fail = step_s, 0, False
        self.started: list[str] = []
        self.rows: list[ScriptedRow] = []
        self.gate = threading.Event()
        self.gate.set()

    def bytes_of(self, prompt: Sequence[int], decoding: Decoding) -> int:
        return len(prompt) << 10

    def start(self, prompt: Sequence[int], decoding: Decoding) -> ScriptedRow:
        self.started.append(self.text(prompt))
        return ScriptedRow(prompt, decoding)

    def encode(self, row: ScriptedRow, tokens: int | None = None) -> bool:
        self.rows.append(row)
        return True

    def step(self) -> list[tuple[ScriptedRow, Emission]]:
        self.gate.wait(10)
        time.sleep(self.step_s)
        self.steps += 1
        if self.fail:
            raise RuntimeError("the decoder broke")
        return [(row, self.emission(row)) for row in self.rows]

    def emission(self, row: ScriptedRow) -> Emission:
        said, row.done = row.done, row.done + 1
        if said < len(row.decoding.forced):
            only = row.done == len(row.decoding.forced) and not row.decoding.max_new_tokens
            return Emission(forced=self.scored(row.decoding.forced[said]), reason="length" if only else None)
        said -= len(row.decoding.forced)
        if row.prompt[said] == 0:
            return Emission(reason="stop")
        complete = said + 1 == row.decoding.max_new_tokens
        return Emission([self.scored(row.prompt[said])], reason="length" if complete else None)

    def scored(self, token: int) -> Scored:
        return Scored(token, -0.5, ((token, -0.5), (ord("x"), -1.0)))

    def leave(self, rows: Sequence[ScriptedRow]) -> None:
        self.rows = [row for row in self.rows if row not in rows]

    def text(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).replace("\0", "")


class CharacterTokens:
    """Code points as ids."""

    separator = (ord("|"),)
    end_id, vocabulary = 0, 0x110000

    def encode(self, text: str) -> list[int]:
        return list(map(ord, text))

    def ended(self, ids: Sequence[int]) -> list[int]:
        return [*ids, 0]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).replace("\0", "")

    def token_bytes(self, token: int) -> bytes:
        return self.decode([token]).encode()

    def name(self, token: int) -> str:
        return chr(token)


@contextmanager
def serving(
    bot: Chatbot, keys: Sequence[str] = (), *, port: int = 0, resets: bool = False, **options: Any
) -> Iterator[httpx.Client]:
    """A real server, on a free port unless one is named, and a client for it; one that `resets` says no goodbye."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if resets:
            # Connections have it from their listener: closed, they are reset.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        listener.bind(("127.0.0.1", port))
        listener.listen(512)
        server = uvicorn.Server(uvicorn.Config(build_app(bot, keys, **options), lifespan="on", **CONNECTIONS))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
        thread.start()
        try:
            # No proxy of the environment may come between.
            with httpx.Client(
                base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False, timeout=60
            ) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(10)


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for another thread."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def call(function: str, folder: Path, **options: object) -> list[str]:
    """A command line that calls `chat` or `serve` on a model folder."""
    kind = {"chat": "ChatOptions", "serve": "ServeOptions"}[function]
    code = (
        "import sys, pathlib\n"
        f"from smolchat_fast.serve import {function}, {kind}\n"
        f"{function}(pathlib.Path(sys.argv[1]), {kind}(**{options!r}))\n"
    )
    return [sys.executable, "-c", code, str(folder)]
