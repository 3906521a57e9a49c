"""The int8 network of the core: near to float32, and the same whoever else is served."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from serve_fixtures import build_tokenizer, save_model
from transformers import T5Config, T5ForConditionalGeneration

from smolchat_fast import _core
from smolchat_fast.serve import pack
from smolchat_fast.serve.core_network import CoreNetwork
from smolchat_fast.serve.loading import load
from smolchat_fast.serve.torch_network import TorchNetwork
from smolchat_fast.serve.weights import Weights
from smolchat_fast.stage import INT8_PACK, file_hash

KERNELS = _core.infer_kernels()


@pytest.fixture(scope="module", params=["relu", "gated-gelu"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("int8") / request.param
    if request.param == "relu":
        save_model(path)
    else:
        tokenizer = build_tokenizer()
        torch.manual_seed(2)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=48,
            d_kv=16,
            d_ff=80,
            num_layers=2,
            num_heads=3,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
        T5ForConditionalGeneration(config).save_pretrained(path)
        tokenizer.save_pretrained(path)
    return path


def networks(folder: Path, **options: object) -> tuple[TorchNetwork, CoreNetwork]:
    config = T5Config.from_pretrained(folder)
    with Weights(folder, config) as weights:
        return TorchNetwork(weights), CoreNetwork(weights, **options)  # type: ignore[arg-type]


PROMPTS = [[300, 305, 290, 1], [280, 1], [*range(266, 304), 1]]
STEPS = [[0, 0, 0], [281, 282, 283], [290, 300, 304], [265, 275, 285]]


def logits(
    network: TorchNetwork | CoreNetwork, prompts: list[list[int]], steps: list[list[int]]
) -> list[torch.Tensor]:
    for prompt in prompts:
        encoding = network.encode(prompt)
        while not encoding.advance(1):
            pass
        network.join(encoding, 1)
    found = [network.step(tokens).clone() for tokens in steps]
    network.select([])
    return found


def test_logits_are_near_to_those_of_float32(folder: Path) -> None:
    reference, core = networks(folder)
    for exact, found in zip(logits(reference, PROMPTS, STEPS), logits(core, PROMPTS, STEPS), strict=True):
        error = (exact - found).norm(dim=-1) / exact.norm(dim=-1)
        assert error.max() < 0.06


def test_a_row_is_the_same_to_the_last_bit_alone_and_with_any_kernel_and_threads(folder: Path) -> None:
    together = logits(networks(folder, threads=2)[1], PROMPTS, STEPS)
    for kernel in KERNELS:
        core = networks(folder, threads=1, kernel=kernel)[1]
        for row, prompt in enumerate(PROMPTS):
            alone = logits(core, [prompt], [[tokens[row]] for tokens in STEPS])
            assert all(torch.equal(a[0], b[row]) for a, b in zip(alone, together, strict=True)), kernel


def test_rows_are_moved_and_copied_with_their_past(folder: Path) -> None:
    _, core = networks(folder)
    expected = logits(core, PROMPTS, STEPS)[-1]
    for prompt in PROMPTS:
        encoding = core.encode(prompt)
        assert encoding.advance(99)
        core.join(encoding, 1)
    for tokens in STEPS[:-1]:
        core.step(tokens)
    core.select([2, 0, 0])
    last = core.step([STEPS[-1][2], STEPS[-1][0], STEPS[-1][0]])
    assert torch.equal(last, expected[[2, 0, 0]])


def test_the_operator_takes_arrays_as_they_are() -> None:
    draw = np.random.default_rng(1)
    weights, rows = draw.normal(size=(70, 130)).astype("f4"), draw.normal(size=(5, 130)).astype("f4")
    matrix, out = _core.Int8Matrix(weights), np.zeros((5, 70), "f4")
    matrix.product(rows, out)
    np.testing.assert_allclose(out, rows @ weights.T, atol=0.4)
    with pytest.raises(ValueError, match="sizes do not fit"):
        matrix.product(rows[:, :64].copy(), out)
    with pytest.raises(ValueError, match="not one C-contiguous piece"):
        _core.Int8Matrix(weights[:, ::2])
    with pytest.raises(ValueError, match="weight \\[1, 0\\] is inf"):
        _core.Int8Matrix(np.array([[1, 2], [np.inf, 0]], "f4"))
    with pytest.raises(ValueError, match="this processor has"):
        matrix.product(rows, out, kernel="sse9")


def test_steps_that_do_not_fit_are_refused_and_change_nothing(folder: Path) -> None:
    _, core = networks(folder)
    with pytest.raises(ValueError, match="the prompt is empty"):
        core.encode([])
    with pytest.raises(ValueError, match="token 999999 is not one of"):
        core.encode([999_999])
    assert logits(core, PROMPTS, STEPS)[0].shape == (3, core.vocabulary)
    with pytest.raises(ValueError, match="do not fit 0 rows"):
        core.step([0])


def test_the_precision_is_reported(folder: Path) -> None:
    assert load(folder, precision="int8").precision == f"int8 by the Rust core with {KERNELS[0]}"
    assert "float32 by torch on cpu" in str(load(folder, precision="auto"))


def test_matrices_are_kept_beside_the_model_and_made_anew_when_they_do_not_fit(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = logits(networks(folder)[1], PROMPTS, STEPS)
    kept = folder / INT8_PACK
    whole = kept.read_bytes()

    def same() -> bool:
        found = logits(networks(folder)[1], PROMPTS, STEPS)
        return all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))

    with monkeypatch.context() as patched:
        # What is there is read, not made.
        patched.setattr(pack, "_made", None)
        assert same()
    for spoilt in (whole[: len(whole) // 2], whole[:3000] + bytes(100) + whole[3100:], b"", b"PK"):
        kept.write_bytes(spoilt)
        assert same()
        assert kept.read_bytes() == whole
    assert "is made anew" in caplog.text
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(1, 1))
    assert same()
    # Weights of another time count as others.
    assert kept.read_bytes() != whole
    assert [path.name for path in folder.glob("*.partial")] == []


def test_the_kept_matrices_do_not_make_it_another_model(folder: Path) -> None:
    """A run that made the model and is asked for again finds it as it was."""
    (folder / INT8_PACK).unlink(missing_ok=True)
    before = file_hash(folder)
    networks(folder)
    assert (folder / INT8_PACK).exists()
    assert file_hash(folder) == before


def test_a_folder_that_cannot_be_written_to_is_served(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / INT8_PACK).unlink(missing_ok=True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert logits(networks(folder)[1], PROMPTS, STEPS)
    assert not list(folder.glob(f"{INT8_PACK}*"))
