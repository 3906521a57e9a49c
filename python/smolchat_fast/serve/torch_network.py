"""A T5 on torch: the reference in float32, and the way onto a GPU.

What transformers computes, arranged for many rows of different age: the gains of the norms are part of
the matrices behind them, query, key and value are one product, and so are the cross-attention's keys and
values of all layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.models.t5.modeling_t5 import T5Attention, T5Block

# Columns of the cache grow by this much, so that growing (a copy) is rare.
GROW = 64

Put = Callable[[Tensor], Tensor]
"""Brings a weight to where and how it is computed with."""


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
        model: Its weights are copied; it can be let go of.
        device: Where to compute.
        dtype: Of weights and cache; norms, scores and logits are float32.
    """

    def __init__(
        self,
        model: T5ForConditionalGeneration,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        config = model.config
        self.vocabulary, self.layers = config.vocab_size, config.num_layers
        self.parameters = sum(weight.numel() for weight in model.parameters())
        self.precision = f"{str(dtype).removeprefix('torch.')} by torch on {device}"
        self._device, self._dtype = torch.device(device), dtype
        self._heads, self._width = config.num_heads, config.d_kv
        self._eps = config.layer_norm_epsilon

        def put(weight: Tensor) -> Tensor:
            return weight.detach().to(self._device, dtype).contiguous()

        self.encoder = [_EncoderLayer(self, block, put) for block in model.encoder.block]
        self._decoder = [_DecoderLayer(self, block, put) for block in model.decoder.block]
        gain = model.encoder.final_layer_norm.weight
        crossing = [block.layer[1].EncDecAttention for block in model.decoder.block]
        self._cross_in = put(torch.cat([p.weight * gain for a in crossing for p in (a.k, a.v)]))
        scale = config.d_model**-0.5 if config.scale_decoder_outputs else 1.0
        self._out = put(model.lm_head.weight * model.decoder.final_layer_norm.weight * scale)
        self._embedding = put(model.shared.weight)
        self._encoder_bias = _bias_of(model.encoder.block[0].layer[0].SelfAttention, self._device)
        self._bias = _bias_of(model.decoder.block[0].layer[0].SelfAttention, self._device)
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
    def join(self, encoding: TorchEncoding, rows: int) -> None:
        """Append rows that answer an encoded prompt."""
        source, first = encoding.tokens, len(self._ages)
        made = self.norm(encoding.hidden[0]) @ self._cross_in.T  # [S, layers * 2 * H * d_kv]
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
        return (normed @ self._out.T).float()

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


class _Bias:
    """The attention bias of each distance, looked up instead of computed."""

    def __init__(self, table: Tensor, first: int) -> None:
        self._table, self._first = table, first  # [distances, H]; the first row's distance

    def of(self, distance: Tensor) -> Tensor:
        """[..., H] for distances key minus query; what lies beyond the table is as its end."""
        index = (distance - self._first).clamp_(0, len(self._table) - 1)
        return self._table[index]


@torch.inference_mode()
def _bias_of(attention: T5Attention, device: torch.device) -> _Bias:
    far = attention.relative_attention_max_distance + 1
    last = 0 if attention.is_decoder else far
    distances = torch.arange(-far, last + 1)
    buckets = attention._relative_position_bucket(
        distances,
        bidirectional=not attention.is_decoder,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    return _Bias(attention.relative_attention_bias(buckets).detach().float().to(device), -far)


class _FeedForward:
    def __init__(self, network: TorchNetwork, sublayer: torch.nn.Module, put: Put) -> None:
        self._network, dense = network, sublayer.DenseReluDense
        self._gated = hasattr(dense, "wi_0")
        into = torch.cat([dense.wi_0.weight, dense.wi_1.weight]) if self._gated else dense.wi.weight
        self._in = put(into * sublayer.layer_norm.weight)
        self._out = put(dense.wo.weight)
        self._act = dense.act

    def add(self, hidden: Tensor) -> Tensor:
        inner = self._network.norm(hidden) @ self._in.T
        if self._gated:
            gate, value = inner.chunk(2, dim=-1)
            inner = self._act(gate) * value
        else:
            inner = self._act(inner)
        return hidden + inner @ self._out.T


class _EncoderLayer:
    def __init__(self, network: TorchNetwork, block: T5Block, put: Put) -> None:
        self._network, (first, last) = network, block.layer
        attention = first.SelfAttention
        self._qkv = put(_stacked(attention) * first.layer_norm.weight)
        self._o = put(attention.o.weight)
        self._feed_forward = _FeedForward(network, last, put)

    def encode(self, hidden: Tensor, bias: Tensor) -> Tensor:
        qkv = self._network.heads(self._network.norm(hidden) @ self._qkv.T)  # [1, S, 3, H, d_kv]
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [1, H, S, d_kv]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        hidden = hidden + found.transpose(1, 2).flatten(2) @ self._o.T
        return self._feed_forward.add(hidden)


class _DecoderLayer:
    def __init__(self, network: TorchNetwork, block: T5Block, put: Put) -> None:
        self._network, (first, middle, last) = network, block.layer
        attention, crossing = first.SelfAttention, middle.EncDecAttention
        self._qkv = put(_stacked(attention) * first.layer_norm.weight)
        self._o = put(attention.o.weight)
        self._cross_q = put(crossing.q.weight * middle.layer_norm.weight)
        self._cross_o = put(crossing.o.weight)
        self._feed_forward = _FeedForward(network, last, put)

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
        qkv = network.heads(network.norm(hidden) @ self._qkv.T)  # [N, 3, H, d_kv]
        cache[where, :, :, ages] = qkv[:, 1:]
        key, value = cache[:rows, 0, :, :columns], cache[:rows, 1, :, :columns]
        query = qkv[:, 0, :, None]
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype), scale=1.0)
        hidden = hidden + found.flatten(1) @ self._o.T
        query = network.heads(network.norm(hidden) @ self._cross_q.T).transpose(1, 2)  # [N, H, 1, d_kv]
        found = F.scaled_dot_product_attention(query, cross[:, 0], cross[:, 1], attn_mask=mask, scale=1.0)
        hidden = hidden + found.flatten(1) @ self._cross_o.T
        return self._feed_forward.add(hidden)


def _stacked(attention: T5Attention) -> Tensor:
    return torch.cat([attention.q.weight, attention.k.weight, attention.v.weight])
