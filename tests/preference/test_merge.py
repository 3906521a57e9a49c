"""Merging an adapter, and the proof that comes with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

import torch
from peft import LoraModel, PeftModel
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from smolchat_fast.errors import DataError, StageError
from smolchat_fast.preference import DpoOptions, MergeOptions, dpo_files, merge_files
from smolchat_fast.preference.merge import prove
from tiny import save_tiny, some_prompts, tiny_tokenizer, write_rows

TRAINING = DpoOptions(steps=10, batch_rows=8, lr=1e-2, lora_rank=4, log_every=5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"prompt": prompt, "chosen": "省会是长沙。", "rejected": "长沙"} for prompt in some_prompts(16)]
    return write_rows(tmp_path_factory.mktemp("pairs") / "pairs.parquet", rows)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory, base: Path, pairs: Path) -> Path:
    folder = tmp_path_factory.mktemp("dpo") / "adapter"
    dpo_files([pairs], folder, TRAINING, model=base)
    return folder


def logits(model: torch.nn.Module) -> torch.Tensor:
    source = torch.tensor([tiny_tokenizer().encode("湖南的省会是？")])
    with torch.no_grad():
        return model.eval()(input_ids=source, decoder_input_ids=torch.tensor([[0, 8, 9, 10]])).logits


def test_the_merged_folder_says_what_the_adapted_model_says(
    tmp_path: Path, base: Path, adapter: Path
) -> None:
    report = merge_files([adapter], tmp_path / "merged", model=base)
    merged = logits(AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "merged"))
    plain = AutoModelForSeq2SeqLM.from_pretrained(base)
    before = logits(plain)
    adapted = logits(PeftModel.from_pretrained(plain, adapter))
    assert torch.allclose(merged, adapted, atol=1e-3)
    assert not torch.allclose(merged, before, atol=1e-1)
    assert report.dtype == "float32"
    assert report.largest_difference <= 1e-4 * report.largest_logit
    assert report.largest_change > 0.1
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").encode("长沙") == tiny_tokenizer().encode(
        "长沙"
    )


def test_a_merge_is_proved_on_rows_of_a_file_too(
    tmp_path: Path, base: Path, adapter: Path, pairs: Path
) -> None:
    report = merge_files([adapter], tmp_path / "merged", MergeOptions(rows=8), model=base, samples=pairs)
    assert report.rows == 8


def test_a_broken_merge_is_refused_and_leaves_nothing(
    tmp_path: Path, base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = LoraModel.merge_and_unload

    def half_merged(self: LoraModel) -> torch.nn.Module:
        for name, weight in self.named_parameters():
            if "lora_B" in name and "block.1" in name:
                weight.data.zero_()
        return whole(self)

    monkeypatch.setattr(LoraModel, "merge_and_unload", half_merged)
    with pytest.raises(StageError, match="does not say what the adapted one says"):
        merge_files([adapter], tmp_path / "merged", model=base)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("difference", [0.5, float("nan"), float("inf")])
def test_only_rounding_is_accepted(difference: float) -> None:
    report = {"dtype": "float32", "tolerance": 1e-4, "largest_logit": 20.0, "largest_difference": 1e-3}
    prove(report)
    with pytest.raises(StageError):
        prove(report | {"largest_difference": difference})


def test_an_adapter_of_another_model_is_refused(tmp_path: Path, adapter: Path) -> None:
    other = save_tiny(tmp_path / "other", seed=2)
    with pytest.raises(StageError, match="was trained on other weights"):
        merge_files([adapter], tmp_path / "merged", model=other)


def test_a_model_is_no_adapter(tmp_path: Path, base: Path, pairs: Path) -> None:
    dpo_files([pairs], tmp_path / "whole", replace(TRAINING, lora_rank=0, steps=1), model=base)
    with pytest.raises(DataError, match="no adapter"):
        merge_files([tmp_path / "whole"], tmp_path / "merged", model=base)


def test_one_adapter_is_merged_at_a_time(tmp_path: Path, base: Path, adapter: Path) -> None:
    with pytest.raises(DataError, match="one adapter folder, got 2"):
        merge_files([adapter, adapter], tmp_path / "merged", model=base)
