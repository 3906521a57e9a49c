"""A model folder, opened for answering."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, T5ForConditionalGeneration

from smolchat_fast.errors import DataError
from smolchat_fast.serve.decoder import T5Decoder, default_decoding, end_ids
from smolchat_fast.serve.options import Decoding
from smolchat_fast.serve.tokens import Tokens

# Below this, a product is done before a second thread has woken up.
ONE_THREAD_PARAMETERS = 20_000_000


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer."""

    name: str
    decoder: T5Decoder
    tokens: Tokens
    decoding: Decoding
    parameters: int

    def __str__(self) -> str:
        megabytes = self.parameters * 4 / 2**20
        return (
            f"{self.name}: {self.parameters / 1e6:.1f} M parameters, {megabytes:,.0f} MiB of weights (float32), "
            f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
        )


def load(folder: Path, *, threads: int | None = None) -> LoadedModel:
    """Open a T5 model folder as `save_pretrained` writes it.

    Args:
        folder: Holds config.json, safetensors weights and the tokenizer.
        threads: Threads of a matrix product, for the whole process; chosen by the size by default.
    Raises:
        DataError: the folder is no such model; says what is missing or wrong.
    """
    _check_folder(folder)
    try:
        # The library's types know nothing of the pair that `output_loading_info` gives.
        opened: Any = T5ForConditionalGeneration.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{folder}: the model cannot be loaded: {reason}") from error
    model, info = cast("tuple[T5ForConditionalGeneration, dict[str, Any]]", opened)
    if missing := sorted(info["missing_keys"]):
        # The library fills such weights with noise and goes on.
        raise DataError(f"{folder}: {len(missing)} weights are missing, {missing[0]} among them")
    _check_tokenizer(folder, model, len(tokenizer))
    model.eval()
    parameters = sum(weight.numel() for weight in model.parameters())
    if threads is None and parameters < ONE_THREAD_PARAMETERS:
        threads = 1
    if threads is not None:
        torch.set_num_threads(threads)
    tokens = Tokens(tokenizer, min(end_ids(model)))
    return LoadedModel(
        name=folder.resolve().name,
        decoder=T5Decoder(model, tokens),
        tokens=tokens,
        decoding=default_decoding(model),
        parameters=parameters,
    )


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        unfinished = folder.with_name(folder.name + ".partial") / "checkpoints"
        hint = (
            f" Its training is not finished; a checkpoint in {unfinished} can be used."
            if unfinished.is_dir()
            else ""
        )
        raise DataError(f"{folder}: no such model folder.{hint}")
    config = _read_config(folder)
    kind = config.get("model_type")
    if kind != "t5":
        raise DataError(f"{folder}/config.json: model_type is {kind!r}, but only 't5' can answer here")
    if not list(folder.glob("*.safetensors")):
        raise DataError(
            f"{folder}: holds no *.safetensors. Other weight files can run code and are not opened."
        )
    if not any((folder / name).exists() for name in ("tokenizer.json", "spiece.model")):
        raise DataError(
            f"{folder}: holds no tokenizer.json. Put the tokenizer's files into the model folder."
        )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if (folder / "adapter_config.json").exists():
            raise DataError(
                f"{folder}: holds an adapter, no model. `smolchat-fast merge` makes one."
            ) from None
        raise DataError(f"{folder}: is no model folder, config.json is missing") from None
    except ValueError as error:
        raise DataError(f"{path}: is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise DataError(f"{path}: is not a JSON object")
    return config


def _check_tokenizer(folder: Path, model: T5ForConditionalGeneration, size: int) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if size > rows:
        raise DataError(
            f"{folder}: the tokenizer has {size:,} tokens, the model {rows:,}. They do not belong together."
        )
    if model.config.decoder_start_token_id is None:
        raise DataError(f"{folder}/config.json: decoder_start_token_id is missing")
    if not end_ids(model):
        raise DataError(f"{folder}/config.json: eos_token_id is missing, no answer could end")
