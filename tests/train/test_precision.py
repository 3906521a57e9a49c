"""Half precision, recomputed activations and a compiled model: the same training, not NaN."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from small import TINY, random_batch  # noqa: E402

from smolchat_fast.model import build_model, load_model, widen_feed_forward  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import TrainOptions, pretrain_files  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402
from smolchat_fast.train.loop import target_loss_sum  # noqa: E402

OPTIONS = TrainOptions(
    steps=6,
    lr=0.01,
    log_every=1,
    eval_every=0,
    eval_answers=0,
    dropout=0.0,
    stream=StreamOptions(batch_rows=8),
)
LARGE = 3e5
"""Makes the output of a feed-forward pass 65,504, the largest number of fp16, as large models do."""


def large_model(tokenizer, feed_forward: str):
    model = build_model(replace(TINY, feed_forward=feed_forward, dropout=0.0), tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("wo.weight"):
                parameter.mul_(LARGE)
    return model


def half_loss(model) -> torch.Tensor:
    with torch.autocast("cpu", torch.float16):
        return target_loss_sum(model, random_batch(1), Accelerator(cpu=True))


@pytest.mark.parametrize("feed_forward", ["relu", "gated-gelu"])
def test_a_feed_forward_beyond_fp16_trains_in_fp16(feed_forward, tokenizer):
    model = large_model(tokenizer, feed_forward)
    exact = target_loss_sum(model, random_batch(1), Accelerator(cpu=True))
    assert not torch.isfinite(half_loss(model)), "the model does not overflow, so it proves nothing"
    names = list(model.state_dict())
    widen_feed_forward(model)
    loss = half_loss(model)
    torch.testing.assert_close(loss, exact, rtol=0.01, atol=0)
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert list(model.state_dict()) == names


def test_a_gated_product_beyond_fp16_is_taken_in_float32(tokenizer):
    model = build_model(replace(TINY, feed_forward="gated-gelu", dropout=0.0), tokenizer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".wi_" in name:
                parameter.mul_(2_000)
            elif name.endswith("wo.weight"):
                parameter.mul_(1e-6)
    assert not torch.isfinite(half_loss(model))
    widen_feed_forward(model)
    assert torch.isfinite(half_loss(model))


def losses(rows, tokenizer, out, options) -> list[float]:
    pretrain_files([rows], out, options, tokenizer=tokenizer, model=TINY, threads=1)
    load_model(out)
    return [line["loss"] for line in read_lines(out / "metrics.jsonl")]


def test_recomputed_activations_change_no_loss(rows, tokenizer, tmp_path):
    plain = losses(rows, tokenizer, tmp_path / "plain", OPTIONS)
    again = losses(rows, tokenizer, tmp_path / "again", replace(OPTIONS, gradient_checkpointing=True))
    assert again == pytest.approx(plain, rel=1e-5)


def test_a_compiled_model_trains_and_saves_the_same(rows, tokenizer, tmp_path, monkeypatch):
    compiled, real = [], torch.compile

    def compile_quickly(model):
        compiled.append(model)
        return real(model, backend="eager")  # the backend that users get takes minutes to compile

    monkeypatch.setattr(torch, "compile", compile_quickly)
    plain = losses(rows, tokenizer, tmp_path / "plain", OPTIONS)
    assert losses(rows, tokenizer, tmp_path / "compiled", replace(OPTIONS, compile=True)) == pytest.approx(
        plain, rel=1e-5
    )
    assert len(compiled) == 1


def test_bf16_stays_near_float32(rows, tokenizer, tmp_path):
    plain = losses(rows, tokenizer, tmp_path / "plain", OPTIONS)
    half = losses(rows, tokenizer, tmp_path / "half", replace(OPTIONS, precision="bf16"))
    assert half == pytest.approx(plain, rel=0.02)
