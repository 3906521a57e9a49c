"""A model folder, opened for answering."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, GenerationConfig, T5Config

from smolchat_fast import __version__
from smolchat_fast.errors import DataError
from smolchat_fast.serve.core_network import ACTIVATIONS, CoreNetwork
from smolchat_fast.serve.decoder import T5Decoder, default_decoding, end_ids
from smolchat_fast.serve.network import Network
from smolchat_fast.serve.options import Decoding, Precision
from smolchat_fast.serve.tokens import Tokens
from smolchat_fast.serve.torch_network import TorchNetwork
from smolchat_fast.serve.weights import Weights

SMALL = 20_000_000
"""Parameters below which a product is done before a second thread has woken up, and float32 is fast."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with its tokenizer."""

    name: str
    decoder: T5Decoder
    tokens: Tokens
    decoding: Decoding
    fingerprint: str
    """Changes with the weights, the precision and the version."""

    @property
    def precision(self) -> str:
        """What it computes in and with."""
        return self.decoder.network.precision

    def __str__(self) -> str:
        parameters = self.decoder.network.parameters
        return f"{self.name}: {parameters / 1e6:.1f} M parameters, {self.precision}"


def load(
    folder: Path,
    *,
    threads: int | None = None,
    precision: Precision = "float32",
    device: str = "auto",
) -> LoadedModel:
    """Open a T5 model folder as `save_pretrained` writes it.

    Args:
        folder: Holds config.json, safetensors weights and the tokenizer.
        threads: Threads of a matrix product, for the whole process; chosen by the size by default.
        precision: See `DecodeOptions.precision`.
        device: See `DecodeOptions.device`.
    Raises:
        DataError: the folder is no such model; says what is missing or wrong.
        ValueError: the device is not there.
    """
    _check_folder(folder)
    device = _device(device)
    try:
        config = T5Config.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        generation = _generation_config(folder, config)
        with Weights(folder, config) as weights:
            weights.check()
            parameters = weights.parameters
            if threads is None and parameters < SMALL:
                threads = 1
            if threads is not None:
                torch.set_num_threads(threads)
            ends = _check(folder, config, generation, len(tokenizer))
            if precision == "auto":
                precision = _best_precision(device, config, parameters)
            network = build_network(weights, device, precision, threads)
            digest = hashlib.sha256(f"{__version__} {network.precision} {weights.identity()}".encode())
    except DataError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{folder}: the model cannot be loaded: {reason}") from error
    tokens = Tokens(tokenizer, min(ends))
    return LoadedModel(
        name=folder.resolve().name,
        decoder=T5Decoder(network, tokens, int(config.decoder_start_token_id), ends),
        tokens=tokens,
        decoding=default_decoding(generation),
        fingerprint=f"fp_{digest.hexdigest()[:12]}",
    )


def _device(device: str) -> str:
    found = torch.cuda.is_available()
    if device == "cuda" and not found:
        raise ValueError("option device = cuda: torch finds no GPU on this machine")
    return "cuda" if found and device == "auto" else device.replace("auto", "cpu")


def _best_precision(device: str, config: T5Config, parameters: int) -> Precision:
    if device == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    # bfloat16 is slower than float32 on every CPU that lacks amx_bf16, and int8 is faster on all.
    return "int8" if parameters >= SMALL and config.feed_forward_proj in ACTIVATIONS else "float32"


def build_network(weights: Weights, device: str, precision: Precision, threads: int | None) -> Network:
    """What computes with these weights; see `load`."""
    # OpenMP keeps a team of threads for every thread that has computed, and with a second one there are more of
    # them than cores: they are put to sleep after each product. A step of the 0.2B preset in float32 took 78 ms
    # instead of 38 where the thread that loaded was still there. This one is gone before the engine's begins.
    with ThreadPoolExecutor(1, "smolchat-build") as loader:
        return loader.submit(_network, weights, device, precision, threads).result()


def _network(weights: Weights, device: str, precision: Precision, threads: int | None) -> Network:
    if precision != "int8":
        return TorchNetwork(weights, device, getattr(torch, precision))
    kind = weights.config.feed_forward_proj
    if kind not in ACTIVATIONS:
        raise ValueError(f"int8 is for models with {' or '.join(ACTIVATIONS)}, this has {kind}. Use float32.")
    return CoreNetwork(weights, threads)


def _generation_config(folder: Path, config: T5Config) -> GenerationConfig:
    if (folder / "generation_config.json").exists():
        return GenerationConfig.from_pretrained(folder, local_files_only=True)
    return GenerationConfig.from_model_config(config)


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


def _check(folder: Path, config: T5Config, generation: GenerationConfig, size: int) -> frozenset[int]:
    """The tokens that end an answer; an error if the parts of a folder do not belong together."""
    if size > config.vocab_size:
        raise DataError(
            f"{folder}: the tokenizer has {size:,} tokens, the model {config.vocab_size:,}. "
            "They do not belong together."
        )
    if config.decoder_start_token_id is None:
        raise DataError(f"{folder}/config.json: decoder_start_token_id is missing")
    ends = end_ids(generation, config.eos_token_id)
    if not ends:
        raise DataError(f"{folder}/config.json: eos_token_id is missing, no answer could end")
    return ends
