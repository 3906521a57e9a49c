"""What a recipe needs is counted before it is run, and what cannot fit is refused with a way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from smolchat_fast import doctor  # noqa: E402
from smolchat_fast.doctor import diagnose  # noqa: E402
from smolchat_fast.errors import StageError  # noqa: E402
from smolchat_fast.memory import (  # noqa: E402
    BatchShape,
    count_twice,
    estimate_inference,
    estimate_memory,
    largest_batch,
)
from smolchat_fast.model_options import ModelOptions  # noqa: E402
from smolchat_fast.recipe import read_recipe  # noqa: E402
from smolchat_fast.stream import StreamOptions  # noqa: E402
from smolchat_fast.train import TrainOptions  # noqa: E402
from smolchat_fast.train.optimizer import build_optimizer  # noqa: E402

SMALL = ModelOptions(preset="demo", d_model=32, d_ff=64, num_heads=2, num_layers=3, num_decoder_layers=3)
BATCH = BatchShape(4, 16, 16)


def test_parameters_are_counted_once_and_as_the_earlier_project_did():
    assert count_twice(ModelOptions(preset="chatlm-mini"), 29_298) == (187_692_288, 210_193_152)


def test_two_layers_tell_the_activations_of_all():
    """The extrapolation is what a model of that many layers really keeps."""
    from smolchat_fast.memory import _activation_bytes, _kept_bytes
    from smolchat_fast.model import t5_config

    config, options = t5_config(SMALL, 100), TrainOptions()
    assert _activation_bytes(config, options, BATCH) == (_kept_bytes(config, options, BATCH), 0)


def test_only_what_is_trained_has_gradients_and_states():
    whole = estimate_memory(SMALL, 100, TrainOptions(optimizer="adamw"), BATCH)
    partly = estimate_memory(SMALL, 100, TrainOptions(optimizer="adamw", freeze=("encoder",)), BATCH)
    assert whole.optimizer_mb == pytest.approx(2 * whole.weights_mb)
    assert partly.gradients_mb < whole.gradients_mb
    assert partly.weights_mb == whole.weights_mb


def test_the_states_are_those_that_the_optimizer_makes(tokenizer):
    from smolchat_fast.model import build_model
    from smolchat_fast.train.optimizer import build_optimizer

    for name in ("adamw", "muon", "adafactor"):
        model = build_model(SMALL, tokenizer)
        optimizer = build_optimizer(model, TrainOptions(optimizer=name))
        ids = torch.tensor([[7, 8, 1]])
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        made = sum(
            value.nbytes
            for state in optimizer.state.values()
            for value in state.values()
            if torch.is_tensor(value) and value.ndim > 0
        )
        told = estimate_memory(SMALL, model.config.vocab_size, TrainOptions(optimizer=name), BATCH)
        assert told.optimizer_mb * 2**20 == pytest.approx(made, rel=1e-6)


def test_the_memory_options_save_memory():
    def peak(**options) -> float:
        return estimate_memory(SMALL, 100, TrainOptions(**options), BatchShape(32, 64, 64)).peak_mb

    assert peak(gradient_checkpointing=True) < peak()
    assert peak(precision="bf16") < peak()


def test_recomputing_leaves_holes_in_the_heap_of_a_cpu_alone(monkeypatch):
    def holes(on_cpu: bool, layers: int = 3, **options) -> float:
        monkeypatch.setattr("smolchat_fast.memory.on_cpu", lambda: on_cpu)
        model = replace(SMALL, num_layers=layers, num_decoder_layers=layers)
        return estimate_memory(model, 100, TrainOptions(**options), BatchShape(32, 64, 64)).holes_mb

    assert holes(True) == 0
    assert holes(False, gradient_checkpointing=True) == 0
    few, many = (holes(True, layers, gradient_checkpointing=True) for layers in (3, 6))
    assert 0 < 2 * few < many  # the layer that is there while its gradients are made is not among them


def test_the_largest_batch_is_what_the_stream_may_hand_out():
    rows = TrainOptions(stream=StreamOptions(batch_rows=16, max_source=60, max_target=31))
    assert largest_batch(rows) == BatchShape(16, 64, 32)
    tokens = TrainOptions(stream=StreamOptions(batch_tokens=8192, max_source=256, max_target=256))
    assert largest_batch(tokens) == BatchShape(16, 256, 256)


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "bf16", "optimizer": "adafactor"},
        {"precision": "fp16", "optimizer": "adafactor", "gradient_checkpointing": True},
    ],
)
def test_one_row_of_320_tokens_trains_on_a_gpu_of_4_gb(options):
    stream = StreamOptions(batch_rows=1, max_source=320, max_target=320)
    found = estimate_memory(ModelOptions(preset="0.2b"), 29_298, TrainOptions(stream=stream, **options))
    assert found.peak_mb * doctor.HELD + doctor.GPU_CONTEXT_MB < 4096


def test_half_precision_answers_in_512_mb():
    needed = estimate_inference(ModelOptions(preset="0.2b"), 29_298, half=True, source=320, target=320)
    assert needed < 512


def test_a_recipe_is_told_with_parts_disk_and_time(tmp_path):
    recipe = read_recipe(Path("demo"))
    told = str(diagnose(recipe, out=tmp_path))
    for word in ("parameters", "activations", "disk", f"{recipe.pretrain.steps:,} steps", "sft", "answering"):
        assert word in told


def test_what_a_regular_expression_freezes_is_not_timed_as_trained(monkeypatch):
    timed = []

    def note(model: torch.nn.Module, options: TrainOptions) -> torch.optim.Optimizer:
        timed.append({name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad})
        return build_optimizer(model, options)

    monkeypatch.setattr("smolchat_fast.train.optimizer.build_optimizer", note)
    stream = StreamOptions(batch_rows=2, max_source=16, max_target=16)
    doctor._token_seconds(SMALL, 100, TrainOptions(freeze=(".*coder.block.2", "enc|shared"), stream=stream))
    assert timed == [{"decoder"}, {"decoder"}]


def test_what_cannot_fit_is_refused_with_the_option_that_helps(tmp_path):
    recipe = read_recipe(Path("demo"))
    stream = StreamOptions(batch_rows=4, max_source=64, max_target=64)
    recipe = replace(recipe, pretrain=replace(recipe.pretrain, stream=stream))
    needed = estimate_memory(recipe.model, recipe.tokenizer.vocab_size, recipe.pretrain).peak_mb
    with pytest.raises(StageError, match=r"pretrain needs .* MB.*\. With .* in \[pretrain\] it needs"):
        diagnose(recipe, out=tmp_path, memory_mb=doctor.GPU_CONTEXT_MB + needed)
    with pytest.raises(StageError, match=r"no option of \[pretrain\] helps enough"):
        diagnose(recipe, out=tmp_path, memory_mb=doctor.GPU_CONTEXT_MB + 3)
    assert not list(tmp_path.iterdir())
