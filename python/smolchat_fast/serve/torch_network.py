"""A T5 on torch: the reference in float32, and the way onto a GPU.

What transformers computes, arranged for many rows of different age.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5Config
from transformers.activations import ACT2FN

from smolchat_fast.serve.weights import DecoderLayerWeights, LayerWeights, Weights

# Columns of the cache grow by this much, so that growing (a copy) is rare.
GROW = 64

# Numbers of a matrix from which on oneDNN computes its products in float32. Smaller ones are done before it has begun.
# Products of the 0.2B preset with 1, 4, 16 rows on two Zen 4 cores: 2.0, 1.9, 1.8 times as fast as the MKL behind
# `matmul`, which picks slow code on processors of other makers.
ONEDNN_FROM = 1 << 18
# It compiles a product for each number of rows. Prompts have hundreds of lengths, so more rows than this become a multiple.
ONEDNN_ROWS = 32

Put = Callable[[Tensor], Tensor]
"""Brings a weight to where and how it is computed with."""


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """`rows` times a weight [outputs, inputs], as `Put` left it: [..., inputs] -> [..., outputs]."""
    if not weight.is_mkldnn:
        return F.linear(rows, weight)
    count = rows.shape[-2]
    if count > ONEDNN_ROWS:
        rows = F.pad(rows, (0, 0, 0, -count % ONEDNN_ROWS))
    found: Tensor = torch.ops.aten.mkldnn_linear(rows.to_mkldnn(), weight, None).to_dense()
    return found[..., :count, :]


@dataclass(eq=False, slots=True)
class TorchEncoding:
    """A prompt on its way through the encoder."""

    network: TorchNetwork
    hidden: Tensor  # [1, S, D]
    bias: Tensor  # [1, H, S, S]
    done: int = 0

    @property
    def tokens(self) -> int:
        """Source tokens."""
        return self.hidden.shape[1]

    @torch.inference_mode()
    def advance(self, layers: int) -> bool:
        """Compute so many layers more; True once it is done."""
        for layer in self.network.encoder[self.done : self.done + layers]:
            self.hidden = layer.encode(self.hidden, self.bias)
            self.done += 1
        return self.done == len(self.network.encoder)


class TorchNetwork:
    """See `smolchat_fast.serve.network.Network`.

    Args:
        weights: Read once, a tensor at a time.
        device: Where to compute.
        dtype: Of weights and cache; norms and logits are float32.
    """

    def __init__(self, weights: Weights, device: str = "cpu", dtype: torch.dtype = torch.float32) -> None:
        config = weights.config
        self.vocabulary, self.layers = config.vocab_size, config.num_layers
        self.parameters = weights.parameters
        self.precision = f"{str(dtype).removeprefix('torch.')} by torch on {device}"
        self._device, self._dtype = torch.device(device), dtype
        self._heads, self._width = config.num_heads, config.d_kv
        self._eps = config.layer_norm_epsilon

        def put(weight: Tensor) -> Tensor:
            weight, large = weight.to(self._device, dtype).contiguous(), weight.numel() >= ONEDNN_FROM
            fits = weight.is_cpu and dtype == torch.float32 and torch.backends.mkldnn.is_available()
            return weight.to_mkldnn() if large and fits else weight

        self._embedding = weights.embedding().to(self._device, dtype).contiguous()
        self.encoder = [_EncoderLayer(self, config, layer, put) for layer in weights.encoder()]
        self._decoder = [_DecoderLayer(self, config, layer, put) for layer in weights.decoder()]
        self._cross_in, self._out = put(weights.cross()), put(weights.logits())
        self._encoder_bias = weights.bias("encoder").to(self._device)
        self._bias = weights.bias("decoder").to(self._device)
        self.hidden = torch.zeros(0, config.d_model)
        self._empty()

    def _empty(self) -> None:
        # [layers, rows, key or value, H, columns, d_kv]
        self._self = self._new(0, 0)
        self._cross = self._new(0, 0)
        self._ages: list[int] = []
        self._sources: list[int] = []

    def _new(self, rows: int, columns: int) -> Tensor:
        shape = (len(self._decoder), rows, 2, self._heads, columns, self._width)
        # Zeros, because a masked column still multiplies: 0 times garbage may be NaN.
        return torch.zeros(shape, dtype=self._dtype, device=self._device)

    def encode(self, ids: Sequence[int]) -> TorchEncoding:
        """Begin to encode a prompt."""
        tokens = torch.tensor([list(ids)], device=self._device)
        places = torch.arange(len(ids), device=self._device)
        bias = self._encoder_bias.of(places[None, :] - places[:, None])  # [S, S, H]
        return TorchEncoding(self, F.embedding(tokens, self._embedding), bias.permute(2, 0, 1)[None])

    @torch.inference_mode()
    def join(self, encoding: Any, rows: int) -> None:
        """Append rows that answer an encoded prompt."""
        source, first = encoding.tokens, len(self._ages)
        made = product(self.norm(encoding.hidden[0]), self._cross_in)  # [S, layers * 2 * H * d_kv]
        made = made.view(source, len(self._decoder), 2, self._heads, self._width).permute(1, 2, 3, 0, 4)
        self._cross = self._grown(self._cross, first + rows, source)
        self._self = self._grown(self._self, first + rows, 0)
        self._cross[:, first : first + rows, :, :, :source] = made[:, None]
        self._ages += [0] * rows
        self._sources += [source] * rows

    def _grown(self, cache: Tensor, rows: int, columns: int) -> Tensor:
        have_rows, have_columns = cache.shape[1], cache.shape[4]
        if rows <= have_rows and columns <= have_columns:
            return cache
        rows = have_rows if rows <= have_rows else max(rows, 2 * have_rows)
        columns = have_columns if columns <= have_columns else -(-columns // GROW) * GROW
        grown = self._new(rows, columns)
        grown[:, :have_rows, :, :, :have_columns] = cache
        return grown

    @torch.inference_mode()
    def step(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row; float32 [N, V]."""
        rows, columns = len(tokens), max(self._ages) + 1
        self._self = self._grown(self._self, rows, columns)
        ages = torch.tensor(self._ages, device=self._device)
        distance = torch.arange(columns, device=self._device) - ages[:, None]  # [N, T], 0 is the newest
        bias = self._bias.of(distance).masked_fill_((distance > 0)[..., None], -torch.inf)
        bias = bias.permute(0, 2, 1)[:, :, None]  # [N, H, 1, T]
        source = max(self._sources)
        mask = self._source_mask(source)
        where = torch.arange(rows, device=self._device)
        hidden = F.embedding(torch.tensor(list(tokens), device=self._device), self._embedding)  # [N, D]
        for index, layer in enumerate(self._decoder):
            cache, cross = self._self[index], self._cross[index, :rows, :, :, :source]
            hidden = layer.step(hidden, cache, cross, where, ages, columns, bias, mask)
        self._ages = [age + 1 for age in self._ages]
        normed = self.norm(hidden)
        self.hidden = normed.float()
        return product(normed, self._out).float()

    def _source_mask(self, columns: int) -> Tensor | None:
        if min(self._sources) == columns:
            return None
        ends = torch.tensor(self._sources, device=self._device)
        beyond = torch.arange(columns, device=self._device) >= ends[:, None]  # [N, S]
        mask = torch.zeros(len(ends), 1, 1, columns, dtype=self._dtype, device=self._device)
        return mask.masked_fill_(beyond[:, None, None], -torch.inf)

    @torch.inference_mode()
    def select(self, order: Sequence[int]) -> None:
        """Row i becomes a copy of what row `order[i]` was; rows that are not named are gone."""
        if not order:
            self._empty()
            return
        moved = [row for row, source in enumerate(order) if row != source]
        if moved:
            sources = [order[row] for row in moved]
            used = max(self._ages)
            self._self[:, moved, :, :, :used] = self._self[:, sources, :, :, :used]
            self._cross[:, moved] = self._cross[:, sources]
        self._ages = [self._ages[source] for source in order]
        self._sources = [self._sources[source] for source in order]

    def bytes_of(self, source: int, target: int) -> int:
        """Bytes that a row of so many source and target tokens takes."""
        columns = sum(-(-tokens // GROW) * GROW for tokens in (source, target))
        return columns * len(self._decoder) * 2 * self._heads * self._width * self._dtype.itemsize

    def norm(self, hidden: Tensor) -> Tensor:
        """Root mean square norm without its gain, which the next matrix holds."""
        return F.rms_norm(hidden.float(), hidden.shape[-1:], eps=self._eps).to(self._dtype)

    def heads(self, made: Tensor) -> Tensor:
        """[..., n * H * d_kv] -> [..., n, H, d_kv]."""
        return made.unflatten(-1, (-1, self._heads, self._width))


class _FeedForward:
    def __init__(self, network: TorchNetwork, config: T5Config, layer: LayerWeights, put: Put) -> None:
        self._network, self._gated = network, config.is_gated_act
        self._in, self._out = put(layer.wi), put(layer.wo)
        self._act: Callable[[Tensor], Tensor] = ACT2FN[config.dense_act_fn]

    def add(self, hidden: Tensor) -> Tensor:
        inner = product(self._network.norm(hidden), self._in)
        if self._gated:
            gate, value = inner.chunk(2, dim=-1)
            inner = self._act(gate) * value
        else:
            inner = self._act(inner)
        return hidden + product(inner, self._out)


class _EncoderLayer:
    def __init__(self, network: TorchNetwork, config: T5Config, layer: LayerWeights, put: Put) -> None:
        self._network = network
        self._qkv, self._o = put(layer.qkv), put(layer.o)
        self._feed_forward = _FeedForward(network, config, layer, put)

    def encode(self, hidden: Tensor, bias: Tensor) -> Tensor:
        qkv = self._network.heads(product(self._network.norm(hidden), self._qkv))  # [1, S, 3, H, d_kv]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [1, H, S, d_kv]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        hidden = hidden + product(found.transpose(1, 2).flatten(2), self._o)
        return self._feed_forward.add(hidden)


class _DecoderLayer:
    def __init__(
        self, network: TorchNetwork, config: T5Config, weights: DecoderLayerWeights, put: Put
    ) -> None:
        self._network = network
        self._qkv, self._o = put(weights.layer.qkv), put(weights.layer.o)
        self._cross_q, self._cross_o = put(weights.cross_q), put(weights.cross_o)
        self._feed_forward = _FeedForward(network, config, weights.layer, put)

    def step(
        self,
        hidden: Tensor,  # [N, D]
        cache: Tensor,  # [rows, 2, H, T, d_kv]
        cross: Tensor,  # [N, 2, H, S, d_kv]
        where: Tensor,  # [N], row numbers
        ages: Tensor,  # [N], columns to write
        columns: int,
        bias: Tensor,  # [N, H, 1, T]
        mask: Tensor | None,  # [N, 1, 1, S]
    ) -> Tensor:
        network, rows = self._network, len(hidden)
        qkv = network.heads(product(network.norm(hidden), self._qkv))  # [N, 3, H, d_kv]
        cache[where, :, :, ages] = qkv[:, 1:]
        key, value = cache[:rows, 0, :, :columns], cache[:rows, 1, :, :columns]
        query = qkv[:, 0, :, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        hidden = hidden + product(found.flatten(1), self._o)
        query = network.heads(product(network.norm(hidden), self._cross_q)).transpose(1, 2)  # [N, H, 1, d_kv]
        found = F.scaled_dot_product_attention(query, cross[:, 0], cross[:, 1], attn_mask=mask, scale=1.0)
        hidden = hidden + product(found.flatten(1), self._cross_o)
        return self._feed_forward.add(hidden)
