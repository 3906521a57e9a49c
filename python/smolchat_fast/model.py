"""The model: `T5ForConditionalGeneration` of transformers, built, loaded, saved and counted.

A saved folder opens with plain `AutoModelForSeq2SeqLM.from_pretrained` and
`AutoTokenizer.from_pretrained`.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense, T5DenseGatedActDense
from transformers.utils import logging

from smolchat_fast.model_options import ModelOptions

PAD, EOS, BOS = 0, 1, 3
"""Ids of `[PAD]`, which also starts an answer, of `[EOS]`, and of `[BOS]`, which a T5 has no use for."""

CACHE = (
    "cache"
    if "cache" in inspect.signature(T5ForConditionalGeneration.forward).parameters
    else "past_key_values"
)
"""What `forward` calls the keys and values of earlier tokens: transformers 5.24 renamed it, and a model
passes over an argument that it does not know."""

MAX_NEW_TOKENS = 256
"""Length at which plain `generate` stops; transformers would stop at 20."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)


def build_model(options: ModelOptions, tokenizer: Path, seed: int = 1) -> T5ForConditionalGeneration:
    """A model with random weights for the vocabulary of a tokenizer.

    Args:
        options: Shape of the model.
        tokenizer: Tokenizer folder.
        seed: The weights are a function of the options, the vocabulary size and this.
    Returns:
        A float32 model on the CPU.
    Raises:
        FileNotFoundError: the folder holds no tokenizer.
        ValueError: an option is out of range, or `[PAD]` and `[EOS]` are not tokens 0 and 1.
    """
    config = t5_config(options, vocabulary_size(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(
        pad_token_id=PAD,
        eos_token_id=EOS,
        bos_token_id=BOS,
        decoder_start_token_id=PAD,
        max_new_tokens=MAX_NEW_TOKENS,
    )
    return model


def t5_config(options: ModelOptions, vocab_size: int) -> T5Config:
    """The configuration of transformers for these options."""
    shape = options.shape()
    extra: dict[str, Any] = {"bos_token_id": BOS, "decoder_start_token_id": PAD, "tie_word_embeddings": True}
    return T5Config(
        vocab_size=vocab_size,
        d_model=shape.d_model,
        d_kv=shape.d_kv,
        d_ff=shape.d_ff,
        num_heads=shape.num_heads,
        num_layers=shape.num_layers,
        num_decoder_layers=shape.num_decoder_layers,
        feed_forward_proj=shape.feed_forward,
        dropout_rate=shape.dropout,
        pad_token_id=PAD,
        eos_token_id=EOS,
        **extra,
    )


def vocabulary_size(tokenizer: Path) -> int:
    """Entries of a tokenizer folder, whose special tokens must stand where the model expects them.

    Raises:
        FileNotFoundError: the folder holds no `tokenizer.json`.
        ValueError: `[PAD]` and `[EOS]` are not tokens 0 and 1.
    """
    from tokenizers import Tokenizer

    path = tokenizer / "tokenizer.json"
    if not path.exists():
        raise FileNotFoundError(2, "no tokenizer here; build one with `smolchat-fast tokenizer`", str(path))
    read = Tokenizer.from_file(str(path))
    found = (read.token_to_id("[PAD]"), read.token_to_id("[EOS]"))
    if found != (PAD, EOS):
        raise ValueError(
            f"{path}: [PAD] and [EOS] are tokens {found[0]} and {found[1]}, expected {PAD} and {EOS}"
        )
    return read.get_vocab_size()


def load_model(folder: Path) -> T5ForConditionalGeneration:
    """A saved model in float32 on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: the folder holds no model.
        ValueError: the model is no T5.
    """
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(
            2, "no model here (a folder with config.json and model.safetensors)", str(folder)
        )
    kind = json.loads(path.read_text("utf-8")).get("model_type")
    if kind != "t5":
        raise ValueError(f"{folder}: holds a model of type {kind!r}, expected 't5'")
    with _silent():
        return T5ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


def save_model(model: nn.Module, tokenizer: Path, folder: Path) -> None:
    """Write a model and its tokenizer into one folder.

    Args:
        model: The model as built or loaded, without wrappers.
        tokenizer: Folder that holds the tokenizer's files.
        folder: Written to; made if absent.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _silent():
        model.save_pretrained(folder)  # type: ignore[operator]
    for name in TOKENIZER_FILES:
        source = tokenizer / name
        if source.exists() and source.resolve() != (folder / name).resolve():
            shutil.copyfile(source, folder / name)


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the progress bars of transformers off the terminal."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def set_dropout(model: T5ForConditionalGeneration, dropout: float) -> None:
    """Give every layer of a model another dropout."""
    model.config.dropout_rate = dropout
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = dropout
        elif isinstance(module, T5Attention):
            module.dropout = dropout


def widen_feed_forward(model: nn.Module) -> None:
    """Keep in float32, under autocast too, what passes the range of fp16 in a T5.

    Attention and the inputs of a feed-forward are small, since they come from normalised states, and the
    states themselves are float32. But a gated product, and the output of a feed-forward, grow beyond
    65,504 in larger models: infinite there, and NaN one layer on, which no scaling of the loss prevents.
    """
    for module in model.modules():
        if isinstance(module, T5DenseActDense | T5DenseGatedActDense):
            narrow = module.wo
            module.wo = Float32Linear(narrow.in_features, narrow.out_features, bias=False, device="meta")
            module.wo.weight = narrow.weight
        if isinstance(module, T5DenseGatedActDense):
            module.wi_1.register_forward_hook(lambda _module, _inputs, output: output.float())


class Float32Linear(nn.Linear):
    """A linear layer that autocast leaves alone."""

    def forward(self, hidden: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        with torch.autocast(hidden.device.type, enabled=False):
            return super().forward(hidden.float())


def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """Parameters of a model, each counted once, also if two layers share it."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)
