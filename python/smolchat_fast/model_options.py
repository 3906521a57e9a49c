"""The shapes of the models: options and presets, without torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

Preset = Literal["demo", "0.2b", "chatlm-mini"]
FeedForward = Literal["relu", "gated-gelu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """What decides the parameters of a T5 beside its vocabulary."""

    d_model: int
    d_ff: int
    num_heads: int
    num_layers: int
    num_decoder_layers: int
    feed_forward: FeedForward
    dropout: float

    @property
    def d_kv(self) -> int:
        """Width of one attention head."""
        return self.d_model // self.num_heads


PRESETS: dict[Preset, ModelShape] = {
    # Many small steps beat fewer larger ones when a minute or two is all there is.
    "demo": ModelShape(
        d_model=128,
        d_ff=512,
        num_heads=4,
        num_layers=2,
        num_decoder_layers=2,
        feed_forward="relu",
        dropout=0.0,
    ),
    # `chatlm-mini` brought up to date at the same number of parameters and the same cost a token: a
    # gated feed-forward of two thirds the width (Shazeer 2020, https://arxiv.org/abs/2002.05202), and
    # no dropout, since a row is seen only a few times (T5 v1.1 pre-trains without it).
    "0.2b": ModelShape(
        d_model=768,
        d_ff=2048,
        num_heads=12,
        num_layers=10,
        num_decoder_layers=10,
        feed_forward="gated-gelu",
        dropout=0.0,
    ),
    "chatlm-mini": ModelShape(
        d_model=768,
        d_ff=3072,
        num_heads=12,
        num_layers=10,
        num_decoder_layers=10,
        feed_forward="relu",
        dropout=0.1,
    ),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelOptions:
    """Which model is built; what is not given is as in the preset."""

    preset: Preset = "0.2b"
    """demo: 1.2 M parameters; 0.2b: gated T5, 188 M; chatlm-mini: as ChatLM-mini-Chinese, 188 M."""
    d_model: int | None = None
    """Width of the hidden states."""
    d_ff: int | None = None
    """Width inside the feed-forward."""
    num_heads: int | None = None
    """Attention heads; must divide `d_model`."""
    num_layers: int | None = None
    """Encoder layers."""
    num_decoder_layers: int | None = None
    """Decoder layers."""
    feed_forward: FeedForward | None = None
    """Activation of the feed-forward."""
    dropout: float | None = None
    """Dropout, in [0, 1)."""

    def check(self) -> None:
        """Raise ValueError for an option out of range."""
        self.shape()

    def shape(self) -> ModelShape:
        """The preset with the given values put in.

        Raises:
            ValueError: a value is out of range, or the heads do not divide the width.
        """
        given = {
            f.name: v for f in fields(self) if f.name != "preset" and (v := getattr(self, f.name)) is not None
        }
        shape = replace(PRESETS[self.preset], **given)
        for name in ("d_model", "d_ff", "num_heads", "num_layers", "num_decoder_layers"):
            if getattr(shape, name) < 1:
                raise ValueError(f"option {name} = {getattr(shape, name)}: must be at least 1")
        if not 0 <= shape.dropout < 1:
            raise ValueError(f"option dropout = {shape.dropout}: must be in [0, 1)")
        if shape.d_model % shape.num_heads:
            raise ValueError(f"option num_heads = {shape.num_heads}: must divide d_model = {shape.d_model}")
        return shape
