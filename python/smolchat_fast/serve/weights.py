"""The weights of a T5 folder, read tensor by tensor and arranged for many answers at once.

The gains of the norms are part of the matrices behind them, query, key and value are one matrix, and so
are the cross-attention's keys and values of all layers. Nothing but the tensor at hand is in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from smolchat_fast.errors import DataError


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """An encoder layer, or what a decoder layer shares with it."""

    qkv: Tensor
    """[3 * H * d_kv, D]"""
    o: Tensor
    """[D, H * d_kv]"""
    wi: Tensor
    """[d_ff, D]; gates above values, [2 * d_ff, D], if gated"""
    wo: Tensor
    """[D, d_ff]"""


@dataclass(frozen=True, slots=True)
class DecoderLayerWeights:
    """A decoder layer."""

    layer: LayerWeights
    cross_q: Tensor
    """[H * d_kv, D]"""
    cross_o: Tensor
    """[D, H * d_kv]"""


@dataclass(frozen=True, slots=True)
class BiasTable:
    """The attention bias of each distance, looked up instead of computed."""

    table: Tensor
    """[distances, H]"""
    first: int
    """Distance, key minus query, of the first row; what lies beyond the table is as its end."""

    def of(self, distance: Tensor) -> Tensor:
        """[..., H] for int64 distances [...]."""
        return self.table[(distance - self.first).clamp(0, len(self.table) - 1)]

    def to(self, device: torch.device) -> BiasTable:
        """The same on a device."""
        return BiasTable(self.table.to(device), self.first)


class Weights:
    """A model folder's tensors; a context, in which its files are open.

    Args:
        folder: Holds one or more *.safetensors.
        config: Of the model.
    """

    def __init__(self, folder: Path, config: T5Config) -> None:
        self.config, self.folder = config, folder
        self._stack = ExitStack()
        self._files: dict[str, safe_open] = {}

    def __enter__(self) -> Weights:
        """Open the files.

        Raises:
            SafetensorError: one is damaged.
        """
        for path in sorted(self.folder.glob("*.safetensors")):
            file = self._stack.enter_context(safe_open(path, "pt"))
            self._files.update(dict.fromkeys(file.keys(), file))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        self._stack.close()

    def identity(self) -> str:
        """Changes with the files of weights: their names, sizes, times and first bytes, which name every tensor."""
        digest = hashlib.sha256()
        for path in sorted(self.folder.glob("*.safetensors")):
            with path.open("rb") as file:
                digest.update(file.read(1 << 16))
            digest.update(f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}".encode())
        return digest.hexdigest()

    def check(self) -> None:
        """Look for every tensor, without reading any.

        Raises:
            DataError: some are missing; says how many and names one.
        """
        missing = sorted({name for name in self._names() if name not in self._files} - {"lm_head.weight"})
        if missing:
            raise DataError(f"{self.folder}: {len(missing)} weights are missing, {missing[0]} among them")

    def _names(self) -> Iterator[str]:
        gated = self.config.is_gated_act
        yield from ("shared.weight", "lm_head.weight")
        for stack, layers in (
            ("encoder", self.config.num_layers),
            ("decoder", self.config.num_decoder_layers),
        ):
            yield f"{stack}.final_layer_norm.weight"
            yield f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
            parts = ["0.SelfAttention", "1.EncDecAttention"][: 2 if stack == "decoder" else 1]
            for block in range(layers or 0):
                head = f"{stack}.block.{block}.layer"
                for part in parts:
                    yield f"{head}.{part[0]}.layer_norm.weight"
                    yield from (f"{head}.{part}.{name}.weight" for name in "qkvo")
                names = ["wi_0", "wi_1", "wo"] if gated else ["wi", "wo"]
                yield f"{head}.{len(parts)}.layer_norm.weight"
                yield from (f"{head}.{len(parts)}.DenseReluDense.{name}.weight" for name in names)

    @property
    def parameters(self) -> int:
        """Numbers in all tensors."""
        shapes = (file.get_slice(name).get_shape() for name, file in self._files.items())
        return sum(int(torch.Size(shape).numel()) for shape in shapes)

    def _read(self, name: str) -> Tensor:
        tensor: Tensor = self._files[f"{name}.weight"].get_tensor(f"{name}.weight")
        return tensor.float()

    def embedding(self) -> Tensor:
        """[V, D]"""
        return self._read("shared")

    def logits(self) -> Tensor:
        """[V, D]: the last norm's output to logits."""
        name = "lm_head" if "lm_head.weight" in self._files else "shared"
        scale = self.config.d_model**-0.5 if self.config.scale_decoder_outputs else 1.0
        return self._read(name) * (self._read("decoder.final_layer_norm") * scale)

    def encoder(self) -> Iterator[LayerWeights]:
        """The encoder's layers, one after another."""
        for block in range(self.config.num_layers):
            yield self._layer(f"encoder.block.{block}.layer", last=1)

    def decoder(self) -> Iterator[DecoderLayerWeights]:
        """The decoder's layers, one after another."""
        for block in range(self.config.num_decoder_layers or 0):
            head = f"decoder.block.{block}.layer"
            gain = self._read(f"{head}.1.layer_norm")
            yield DecoderLayerWeights(
                self._layer(head, last=2),
                self._read(f"{head}.1.EncDecAttention.q") * gain,
                self._read(f"{head}.1.EncDecAttention.o"),
            )

    def cross(self) -> Tensor:
        """[layers * 2 * H * d_kv, D]: the encoder's output to keys and values of each decoder layer."""
        gain = self._read("encoder.final_layer_norm")
        heads = [
            f"decoder.block.{b}.layer.1.EncDecAttention" for b in range(self.config.num_decoder_layers or 0)
        ]
        return torch.cat([self._read(f"{head}.{name}") * gain for head in heads for name in "kv"])

    def _layer(self, head: str, last: int) -> LayerWeights:
        attention, dense = f"{head}.0.SelfAttention", f"{head}.{last}.DenseReluDense"
        names = ["wi_0", "wi_1"] if self.config.is_gated_act else ["wi"]
        return LayerWeights(
            torch.cat([self._read(f"{attention}.{name}") for name in "qkv"])
            * self._read(f"{head}.0.layer_norm"),
            self._read(f"{attention}.o"),
            torch.cat([self._read(f"{dense}.{name}") for name in names])
            * self._read(f"{head}.{last}.layer_norm"),
            self._read(f"{dense}.wo"),
        )

    def bias(self, stack: str) -> BiasTable:
        """Of the layers of "encoder" or "decoder"."""
        far = self.config.relative_attention_max_distance + 1
        distances = torch.arange(-far, (far if stack == "encoder" else 0) + 1)
        buckets = T5Attention._relative_position_bucket(
            distances,
            bidirectional=stack == "encoder",
            num_buckets=self.config.relative_attention_num_buckets,
            max_distance=self.config.relative_attention_max_distance,
        )
        by_bucket = self._read(f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias")
        return BiasTable(by_bucket[buckets], -far)
