"""What training a model takes in memory, counted before anything is run.

Activations are not guessed from a formula: the forward pass is run on tensors without storage, and what
autograd keeps for the backward pass is added up. Since layers are alike, two sizes of a model tell all.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import T5Config, T5ForConditionalGeneration

from smolchat_fast.model import set_dropout, t5_config
from smolchat_fast.model_options import ModelOptions
from smolchat_fast.train.optimizer import freeze, is_hidden_matrix
from smolchat_fast.train.options import OptimizerName, TrainOptions
from smolchat_fast.train.ranks import on_cpu

MB = 1 << 20
FLOAT = 4
"""Bytes of a weight, a gradient and an optimizer state: all are float32, whatever the precision of the rest."""

MUON_COPIES = 4
"""Copies of the matrices of one shape while Muon works on them: stacked, iterated, the product, the result."""

ADAFACTOR_COPIES = 3
"""Copies of the largest parameter while Adafactor works on it."""

HOLES = 0.35
"""Share of the recomputed activations that the C library's heap holds without use: freed between inputs that
stay, such room is neither given back nor taken again whole. With every tensor in pages of its own (glibc 2.36,
MALLOC_MMAP_THRESHOLD_ of 1 MB) there was none of it, but a step took 1.6 times as long. Fitted on width 512 with
2 + 2 and 6 + 6 layers."""


@dataclass(frozen=True)
class BatchShape:
    """The largest batch of a run."""

    rows: int
    source_tokens: int
    """Source tokens of a row, with padding."""
    target_tokens: int
    """Target tokens of a row, with padding."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Memory of training by part, in MiB."""

    weights_mb: float
    gradients_mb: float
    optimizer_mb: float
    activations_mb: float
    """What the backward pass needs of the forward pass."""
    working_mb: float
    """Passing needs on top, of the loss or of the optimizer."""
    peak_mb: float
    """The most at a time: activations are gone when the optimizer works."""
    holes_mb: float
    """On top of the peak, what a CPU's heap holds without use when activations are recomputed."""

    def parts(self) -> dict[str, float]:
        """MiB by name."""
        return {name.removesuffix("_mb"): value for name, value in asdict(self).items()}


def largest_batch(options: TrainOptions) -> BatchShape:
    """The largest batch that the stream may hand out."""
    stream = options.stream

    def padded(tokens: int) -> int:
        return -(-tokens // stream.pad_multiple) * stream.pad_multiple

    source, target = padded(stream.max_source), padded(stream.max_target)
    rows = stream.batch_rows or max(1, stream.batch_tokens // (source + target))
    return BatchShape(rows, source, target)


def estimate_memory(
    model: ModelOptions, vocabulary: int, options: TrainOptions, batch: BatchShape | None = None
) -> MemoryEstimate:
    """What training takes on the device; the Python process and its libraries are not in it.

    Args:
        model: Shape of the model.
        vocabulary: Its tokens.
        options: How it is trained.
        batch: Its batches; by default the largest that the options allow.
    Returns:
        The parts and the peak.
    Raises:
        ValueError: an option is out of range.
    """
    batch = batch or largest_batch(options)
    config = t5_config(model, vocabulary)
    sizes = model_on_meta(config, options.freeze)
    trained = [p for _, p in sizes.named_parameters() if p.requires_grad]
    weights = FLOAT * sum(p.numel() for p in sizes.parameters())
    gradients = FLOAT * sum(p.numel() for p in trained)
    states, optimizing = _optimizer_bytes(sizes, options.optimizer)
    activations, recomputed = _activation_bytes(config, options, batch)
    logits = batch.rows * batch.target_tokens * vocabulary * FLOAT
    embedding = FLOAT * vocabulary * config.d_model if sizes.shared.weight.requires_grad else 0
    # The gradient of the loss meets that of the logits, which then meets that of the embedding.
    losing = max(2 * logits, logits + embedding)
    waiting = gradients if options.accumulate > 1 else 0
    forward_peak, step_peak = activations + losing + waiting, gradients + optimizing
    return MemoryEstimate(
        weights_mb=weights / MB,
        gradients_mb=gradients / MB,
        optimizer_mb=states / MB,
        activations_mb=activations / MB,
        working_mb=(losing if forward_peak > step_peak else optimizing) / MB,
        peak_mb=(weights + states + max(forward_peak, step_peak)) / MB,
        holes_mb=HOLES * recomputed / MB if on_cpu() else 0.0,
    )


def estimate_inference(
    model: ModelOptions, vocabulary: int, *, half: bool, source: int, target: int
) -> float:
    """MiB of the weights, the encoded source and the caches of answering one prompt.

    Args:
        model: Shape of the model.
        vocabulary: Its tokens.
        half: Two bytes a number instead of four.
        source: Tokens of the prompt.
        target: Tokens of the answer.
    """
    config = t5_config(model, vocabulary)
    weights = sum(p.numel() for p in model_on_meta(config).parameters())
    inner = config.num_heads * config.d_kv
    caches = 2 * _decoder_layers(config) * inner * (source + target)
    working = vocabulary + source * (config.d_ff + 4 * config.d_model + config.num_heads * source)
    return (2 if half else 4) * (weights + caches + working) / MB


def count_twice(model: ModelOptions, vocabulary: int) -> tuple[int, int]:
    """Parameters, each counted once, and with the shared embedding counted again as output matrix."""
    config = t5_config(model, vocabulary)
    once = sum(p.numel() for p in model_on_meta(config).parameters())
    return once, once + vocabulary * config.d_model


def _decoder_layers(config: T5Config) -> int:
    return config.num_decoder_layers or config.num_layers


def model_on_meta(config: T5Config, frozen: Iterable[str] = ()) -> T5ForConditionalGeneration:
    """A model of shapes without memory, of which the named parameters are not trained.

    Raises:
        ValueError: a pattern matches no parameter, or nothing is left to train.
    """
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    model.tie_weights()
    freeze(model, frozen)
    return model


def _optimizer_bytes(model: nn.Module, optimizer: OptimizerName) -> tuple[int, int]:
    """Bytes of the states, and of what a step needs in passing."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    numel = sum(p.numel() for _, p in trained)
    if optimizer == "adamw":
        return 2 * FLOAT * numel, 0
    if optimizer == "adafactor":
        factors = sum(sum(p.shape) if p.ndim > 1 else p.numel() for _, p in trained)
        return FLOAT * factors, ADAFACTOR_COPIES * FLOAT * max(p.numel() for _, p in trained)
    hidden = [p for name, p in trained if is_hidden_matrix(name, p)]
    by_shape: Counter[torch.Size] = Counter()
    for p in hidden:
        by_shape[p.shape] += p.numel()
    momentum = sum(p.numel() for p in hidden)
    largest = max(by_shape.values(), default=0)
    return FLOAT * (momentum + 2 * (numel - momentum)), MUON_COPIES * FLOAT * largest


def _activation_bytes(config: T5Config, options: TrainOptions, batch: BatchShape) -> tuple[int, int]:
    """Bytes that autograd keeps, and that it makes again, from models of one and of two layers on either side."""

    def kept(encoder: int, decoder: int) -> int:
        small = T5Config(**(config.to_dict() | {"num_layers": encoder, "num_decoder_layers": decoder}))
        return _kept_bytes(small, options, batch)

    one = kept(1, 1)
    encoder, decoder = kept(2, 1) - one, kept(1, 2) - one
    layers, decoder_layers = config.num_layers, _decoder_layers(config)
    whole = one + (layers - 1) * encoder + (decoder_layers - 1) * decoder
    if not options.gradient_checkpointing:
        return whole, 0
    # Each layer keeps its input; one layer at a time has all of its activations again.
    inputs = FLOAT * config.d_model * batch.rows
    kept_inputs = inputs * (layers * batch.source_tokens + decoder_layers * batch.target_tokens)
    held = one - encoder - decoder + kept_inputs + max(encoder, decoder)
    return held, max(0, whole - held)


def _kept_bytes(config: T5Config, options: TrainOptions, batch: BatchShape) -> int:
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage  # held, so that its address stays its own
        return tensor

    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    with warnings.catch_warnings(), FakeTensorMode():
        warnings.simplefilter("ignore")
        model = T5ForConditionalGeneration(config).train()
        if options.dropout is not None:
            set_dropout(model, options.dropout)
        freeze(model, options.freeze, stand_in=True)
        weights = {p.untyped_storage()._cdata for p in model.parameters()}
        source = torch.ones(batch.rows, batch.source_tokens, dtype=torch.long)
        labels = torch.ones(batch.rows, batch.target_tokens, dtype=torch.long)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            torch.autocast("cpu", half, enabled=half is not None),
        ):
            logits = model(
                input_ids=source,
                attention_mask=torch.ones_like(source),
                decoder_input_ids=labels,
                use_cache=False,
            ).logits
            nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
        return sum(storage.nbytes() for storage in kept.values())


def savings(options: TrainOptions) -> list[tuple[str, TrainOptions]]:
    """The same training with less memory, the gentlest change first.

    Returns:
        What to change, in words of the options, and the options so changed.
    """
    found: list[tuple[str, TrainOptions]] = []
    changed, said = options, []
    if options.precision == "fp32":
        changed = replace(changed, precision="bf16")
        said.append('precision = "bf16"')
        found.append((", ".join(said), changed))
    if not options.gradient_checkpointing:
        changed = replace(changed, gradient_checkpointing=True)
        said.append("gradient_checkpointing = true")
        found.append((", ".join(said), changed))
    stream, least = (
        changed.stream,
        largest_batch(replace(options, stream=replace(options.stream, batch_rows=1))),
    )
    while largest_batch(changed).rows > 1:
        stream = changed.stream
        if stream.batch_rows:
            stream, text = replace(stream, batch_rows=stream.batch_rows // 2), f"{stream.batch_rows // 2}"
            word = f"stream.batch_rows = {text}"
        else:
            tokens = max(stream.batch_tokens // 2, least.source_tokens + least.target_tokens)
            stream, word = replace(stream, batch_tokens=tokens), f"stream.batch_tokens = {tokens}"
        changed = replace(changed, stream=stream, accumulate=2 * changed.accumulate)
        found.append((", ".join([*said, word, f"accumulate = {changed.accumulate}"]), changed))
    if options.optimizer != "adafactor":
        words = found[-1][0] if found else ""
        found.append(
            (
                ", ".join(filter(None, [words, 'optimizer = "adafactor"'])),
                replace(changed, optimizer="adafactor"),
            )
        )
    return found
