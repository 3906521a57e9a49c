"""The int8 matrices of a model, kept in a file beside it: a start reads a quarter of the bytes and packs nothing.

The file is a NumPy archive, whose checksums are proven while it is read. One that is damaged, or that was made
from other weights, is made anew; it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from smolchat_fast._core import Int8Matrix
from smolchat_fast.serve.weights import Weights
from smolchat_fast.stage import INT8_PACK

log = logging.getLogger(__name__)

FORMAT = 1
"""Changes when the core arranges its numbers in another way."""

ENCODER = ("qkv", "o", "wi", "wo")
DECODER = ("qkv", "o", "cross_q", "cross_o", "wi", "wo")
EncoderLayer = tuple[Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix]
DecoderLayer = tuple[Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix, Int8Matrix]


@dataclass(frozen=True)
class Pack:
    """All int8 matrices of a model."""

    encoder: list[EncoderLayer]
    """qkv, o, wi, wo of each layer"""
    decoder: list[DecoderLayer]
    """qkv, o, cross q, cross o, wi, wo of each layer"""
    cross: Int8Matrix
    out: Int8Matrix


def load(weights: Weights) -> Pack:
    """The matrices from the file beside the weights, which is written first if it does not fit them."""
    path = weights.folder / INT8_PACK
    key = hashlib.sha256(
        f"{FORMAT} {weights.identity()} {weights.config.to_json_string()}".encode()
    ).hexdigest()
    try:
        return _read(path, key, weights)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("%s is made anew: %s", path, error)
    made = dict(_made(weights))
    _write(path, key, made)
    return _arranged(weights, made)


def _read(path: Path, key: str, weights: Weights) -> Pack:
    with zipfile.ZipFile(path) as archive:
        if archive.comment.decode("ascii", "replace") != key:
            raise ValueError("it was made from other weights")

        def array(name: str) -> NDArray[np.generic]:
            with archive.open(f"{name}.npy") as file:
                found: NDArray[np.generic] = np.lib.format.read_array(file, allow_pickle=False)
            return found

        def matrix(name: str) -> Int8Matrix:
            outputs, inputs = array(f"{name}.shape").tolist()
            values, scales = array(f"{name}.values"), array(f"{name}.scales")
            return Int8Matrix.from_parts(
                (outputs, inputs), values.astype("i1", copy=False), scales.astype("f4", copy=False)
            )

        return _arranged(weights, {name: matrix(name) for name in _names(weights)})


def _write(path: Path, key: str, matrices: dict[str, Int8Matrix]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        try:
            with zipfile.ZipFile(partial, "w") as archive:
                archive.comment = key.encode()
                for name, matrix in matrices.items():
                    values, scales = matrix.parts()
                    parts = {"shape": np.array(matrix.shape), "values": values, "scales": scales}
                    for part, array in parts.items():
                        with archive.open(f"{name}.{part}.npy", "w", force_zip64=True) as file:
                            np.lib.format.write_array(file, array, allow_pickle=False)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        # A folder that cannot be written to costs time at each start, no more.
        log.info("%s is not kept: %s", path, error.strerror or error)


def _names(weights: Weights) -> Iterator[str]:
    config = weights.config
    for layer in range(config.num_layers):
        yield from (f"encoder.{layer}.{name}" for name in ENCODER)
    for layer in range(config.num_decoder_layers or 0):
        yield from (f"decoder.{layer}.{name}" for name in DECODER)
    yield from ("cross", "out")


def _tensors(weights: Weights) -> Iterator[Tensor]:
    """In the order of `_names`, one at a time."""
    for layer in weights.encoder():
        yield from (layer.qkv, layer.o, layer.wi, layer.wo)
    for each in weights.decoder():
        layer = each.layer
        yield from (layer.qkv, layer.o, each.cross_q, each.cross_o, layer.wi, layer.wo)
    yield weights.cross()
    yield weights.logits()


def _made(weights: Weights) -> Iterator[tuple[str, Int8Matrix]]:
    for name, tensor in zip(_names(weights), _tensors(weights), strict=True):
        yield name, Int8Matrix(tensor.contiguous().numpy())


def _arranged(weights: Weights, matrices: dict[str, Int8Matrix]) -> Pack:
    def encoder(layer: int) -> EncoderLayer:
        part = {name: matrices[f"encoder.{layer}.{name}"] for name in ENCODER}
        return part["qkv"], part["o"], part["wi"], part["wo"]

    def decoder(layer: int) -> DecoderLayer:
        part = {name: matrices[f"decoder.{layer}.{name}"] for name in DECODER}
        return part["qkv"], part["o"], part["cross_q"], part["cross_o"], part["wi"], part["wo"]

    config = weights.config
    return Pack(
        [encoder(layer) for layer in range(config.num_layers)],
        [decoder(layer) for layer in range(config.num_decoder_layers or 0)],
        matrices["cross"],
        matrices["out"],
    )
