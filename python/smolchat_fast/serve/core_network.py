"""A T5 in int8 on the CPU, by the Rust core: see `rust/core/src/infer`.

An answer is the same to the last bit whoever else is served, with any number of threads, on any processor.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smolchat_fast._core import Int8Encoding, Int8Model
from smolchat_fast.serve.pack import load as load_pack
from smolchat_fast.serve.weights import BiasTable, Weights

ACTIVATIONS = ("relu", "gated-gelu")
"""Feed-forwards that the core computes."""


@dataclass(eq=False, slots=True)
class CoreEncoding:
    """A prompt on its way through the encoder."""

    model: Int8Model
    state: Int8Encoding

    @property
    def tokens(self) -> int:
        """Source tokens."""
        return self.state.tokens

    def advance(self, layers: int) -> bool:
        """Compute so many layers more; True once it is done."""
        return self.model.advance(self.state, layers)


class CoreNetwork:
    """See `smolchat_fast.serve.network.Network`.

    Args:
        weights: Read once, a tensor at a time.
        threads: Of a product; all cores by default.
        kernel: Instructions to use, as `_core.infer_kernels` lists them; the fastest by default.
    """

    def __init__(self, weights: Weights, threads: int | None = None, kernel: str | None = None) -> None:
        config = weights.config
        self.vocabulary, self.layers = config.vocab_size, config.num_layers
        self.parameters = weights.parameters
        self._embedding: NDArray[np.float32] = weights.embedding().clone().numpy()
        pack = load_pack(weights)
        shape = {
            "d_model": config.d_model,
            "d_kv": config.d_kv,
            "heads": config.num_heads,
            "d_ff": config.d_ff,
            "gated": config.is_gated_act,
            "epsilon": config.layer_norm_epsilon,
        }
        self._model = Int8Model(
            json.dumps(shape),
            pack.encoder,
            pack.decoder,
            pack.cross,
            pack.out,
            _heads_first(weights.bias("encoder")),
            _heads_first(weights.bias("decoder")),
            threads=threads,
            kernel=kernel,
        )
        self.precision = f"int8 by the Rust core with {self._model.kernel}"
        self._inner = config.num_heads * config.d_kv
        self._decoder_layers = config.num_decoder_layers or 0
        self._logits: NDArray[np.float32] = np.zeros((0, config.vocab_size), np.float32)
        self.hidden = torch.zeros(0, config.d_model)

    def encode(self, ids: Sequence[int]) -> CoreEncoding:
        """Begin to encode a prompt."""
        return CoreEncoding(self._model, self._model.encode(self._embedded(ids)))

    def join(self, encoding: Any, rows: int) -> None:
        """Append rows that answer an encoded prompt."""
        self._model.join(encoding.state, rows)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Feed one token to each row; float32 [N, V], overwritten by the next step."""
        rows = len(tokens)
        if rows > len(self._logits):
            # Kept, because new pages for two megabytes cost more than a row's answer.
            self._logits = np.empty((rows, self.vocabulary), np.float32)
        logits = self._logits[:rows]
        hidden = self._embedded(tokens)
        self._model.step(hidden, logits)
        self.hidden = torch.from_numpy(hidden)
        return torch.from_numpy(logits)

    def _embedded(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """[N, D]"""
        if other := [token for token in ids if not 0 <= token < len(self._embedding)]:
            raise ValueError(f"token {other[0]} is not one of {len(self._embedding)}")
        return self._embedding[np.array(ids, np.int64)]

    def select(self, order: Sequence[int]) -> None:
        """Row i becomes a copy of what row `order[i]` was; rows that are not named are gone."""
        self._model.select(list(order))

    def bytes_of(self, source: int, target: int) -> int:
        """Bytes that a row of so many source and target tokens takes; numbers are kept as bfloat16."""
        return 2 * 2 * self._decoder_layers * self._inner * (source + target)


def _heads_first(bias: BiasTable) -> tuple[NDArray[np.float32], int]:
    return bias.table.T.contiguous().numpy(), bias.first
