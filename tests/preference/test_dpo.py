"""Direct preference optimisation."""

from __future__ import annotations

import json
import math
import signal
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("trl")

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from smolchat_fast.errors import DataError, StageError
from smolchat_fast.preference import DpoOptions, dpo_files, trainer
from smolchat_fast.preference.pairs import PairCollator, answer_log_probs, read_pairs
from smolchat_fast.preference.trainer import Seq2SeqDpoTrainer, dpo_loss
from tiny import save_tiny, some_prompts, tiny_model, tiny_tokenizer, write_rows

LORA = DpoOptions(steps=12, batch_rows=8, lr=1e-2, lora_rank=4, log_every=1)
FULL = replace(LORA, lora_rank=0, lr=1e-3)
PAIRS = [
    {"prompt": prompt, "chosen": f"{prompt[:3]}的省会是长沙。", "rejected": "长沙" if i % 2 else "我不知道。"}
    for i, prompt in enumerate(some_prompts(24))
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"), dropout=0.1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("pairs") / "pairs.parquet", PAIRS)


def metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def log_prob_by_hand(model, prompt: str, answer: str) -> float:
    """One answer, unpadded, one token after the other."""
    tokenizer = tiny_tokenizer()
    source, target = tokenizer.encode(prompt), tokenizer.encode(answer)
    with torch.no_grad():
        logits = model(
            input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *target[:-1]]])
        ).logits[0]
    return sum(math.log(torch.softmax(logits[t].double(), 0)[token]) for t, token in enumerate(target))


def test_loss_is_the_formula_of_the_paper() -> None:
    beta, policy, reference = 0.1, (-3.0, -9.0), (-5.0, -4.0)
    chosen, rejected = (beta * (p - r) for p, r in zip(policy, reference, strict=True))
    # -log sigmoid(0.1 * (2 + 5)) = log(1 + e^-0.7)
    assert dpo_loss(torch.tensor([chosen]), torch.tensor([rejected])).item() == pytest.approx(
        0.4031860, abs=1e-6
    )
    assert dpo_loss(torch.zeros(3), torch.zeros(3)).tolist() == pytest.approx([math.log(2)] * 3)


def test_padding_weighs_nothing_and_the_end_mark_counts(pairs: Path) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    examples, _ = read_pairs([pairs], tokenizer, 64, 64)
    batch = PairCollator(0)(list(examples))
    with torch.no_grad():
        found = answer_log_probs(model, batch).tolist()
    by_hand = [
        log_prob_by_hand(model, row["prompt"], row[side]) for side in ("chosen", "rejected") for row in PAIRS
    ]
    assert found == pytest.approx(by_hand, rel=1e-4)
    assert (batch["labels"] == 1).sum(1).tolist() == [1] * (2 * len(PAIRS)), "one [EOS] an answer"


def test_long_prompts_and_answers_are_cut_and_counted(pairs: Path) -> None:
    examples, cut = read_pairs([pairs], tiny_tokenizer(), 6, 7)
    assert cut == sum(
        len(row["prompt"]) + 1 > 6 or max(len(row["chosen"]), len(row["rejected"])) + 1 > 7 for row in PAIRS
    )
    for example in examples:
        for name, most in (("prompt_ids", 6), ("chosen_ids", 7), ("rejected_ids", 7)):
            assert len(example[name]) <= most
            assert example[name][-1] == 1


@pytest.mark.parametrize("options", [LORA, FULL], ids=["lora", "full"])
def test_training_sets_chosen_above_rejected(
    tmp_path: Path, model: Path, pairs: Path, options: DpoOptions
) -> None:
    report = dpo_files([pairs], tmp_path / "out", options, model=model)
    lines = metrics(tmp_path / "out")
    assert [line["step"] for line in lines] == list(range(1, 13))
    # Before the first step the model is its own reference: no reward, loss log 2.
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert lines[0]["chosen_reward"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["chosen_reward"] > lines[0]["chosen_reward"] + 0.1
    assert lines[-1]["margin"] == pytest.approx(report.margin, abs=1e-6)
    assert report.loss < 0.5
    assert report.accuracy > 0.9
    assert (report.pairs, report.cut, report.steps, report.adapter) == (24, 0, 12, options.lora_rank > 0)
    assert "chosen ahead in" in str(report)


def test_rewards_of_a_run_are_those_of_its_model(tmp_path: Path, model: Path, pairs: Path) -> None:
    dpo_files([pairs], tmp_path / "one", replace(FULL, steps=1, batch_rows=24), model=model)
    dpo_files(
        [pairs],
        tmp_path / "two",
        replace(FULL, steps=2, batch_rows=24, schedule="constant", warmup_share=0),
        model=model,
    )
    base = AutoModelForSeq2SeqLM.from_pretrained(model).eval()
    dpo_files(
        [pairs],
        tmp_path / "step",
        replace(FULL, steps=1, batch_rows=24, schedule="constant", warmup_share=0),
        model=model,
    )
    after = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "step").eval()
    rewards = {
        side: [
            0.1
            * (
                log_prob_by_hand(after, row["prompt"], row[side])
                - log_prob_by_hand(base, row["prompt"], row[side])
            )
            for row in PAIRS
        ]
        for side in ("chosen", "rejected")
    }
    second = metrics(tmp_path / "two")[1]
    losses = [-math.log(1 / (1 + math.exp(r - c))) for c, r in zip(*rewards.values(), strict=True)]
    assert second["chosen_reward"] == pytest.approx(sum(rewards["chosen"]) / 24, abs=1e-4)
    assert second["rejected_reward"] == pytest.approx(sum(rewards["rejected"]) / 24, abs=1e-4)
    assert second["loss"] == pytest.approx(sum(losses) / 24, abs=1e-4)


def test_the_chosen_answers_own_loss_is_added_by_token(tmp_path: Path, model: Path, pairs: Path) -> None:
    options = replace(LORA, steps=1, batch_rows=24, sft_weight=0.5)
    report = dpo_files([pairs], tmp_path / "out", options, model=model)
    base, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(model).eval(), tiny_tokenizer()
    nats = -sum(log_prob_by_hand(base, row["prompt"], row["chosen"]) for row in PAIRS)
    by_token = nats / sum(len(tokenizer.encode(row["chosen"])) for row in PAIRS)
    assert metrics(tmp_path / "out")[0]["sft_loss"] == pytest.approx(by_token, rel=1e-4)
    assert report.loss == pytest.approx(math.log(2) + 0.5 * by_token, rel=1e-4)


def test_only_layers_that_are_wanted_get_an_adapter(tmp_path: Path, model: Path, pairs: Path) -> None:
    options = replace(LORA, steps=1, lora_targets=(r"decoder.*EncDec.*\.(q|v)$",))
    dpo_files([pairs], tmp_path / "out", options, model=model)
    names = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert len(names) == 2 * 2 * 2, "A and B of q and v in two layers"
    assert all("decoder" in name and "EncDecAttention" in name for name in names)


def test_lora_writes_an_adapter_and_full_training_a_model(tmp_path: Path, model: Path, pairs: Path) -> None:
    adapter = dpo_files([pairs], tmp_path / "adapter", LORA, model=model)
    whole = dpo_files([pairs], tmp_path / "whole", FULL, model=model)
    assert adapter.trained_parameters < whole.trained_parameters == adapter.parameters == whole.parameters
    names = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert len(names) > 0
    assert all("lora_" in name for name in names)
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    trained, base = (AutoModelForSeq2SeqLM.from_pretrained(folder) for folder in (tmp_path / "whole", model))
    assert any(not torch.equal(a, b) for a, b in zip(trained.parameters(), base.parameters(), strict=True))
    assert trained.config.to_diff_dict() == base.config.to_diff_dict()
    assert AutoTokenizer.from_pretrained(tmp_path / "whole").encode("长沙") == tiny_tokenizer().encode("长沙")


def test_the_same_seed_gives_the_same_adapter(tmp_path: Path, model: Path, pairs: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        dpo_files([pairs], tmp_path / name, replace(LORA, steps=3, seed=seed), model=model)
    weights = [(tmp_path / name / "adapter_model.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


class Killed(BaseException):
    """As good as a kill: no handler of ours sees it."""


@pytest.mark.parametrize("options", [LORA, FULL], ids=["lora", "full"])
def test_a_killed_run_goes_on_to_the_same_weights(
    tmp_path: Path, model: Path, pairs: Path, options: DpoOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(options, save_every=4)
    dpo_files([pairs], tmp_path / "whole", options, model=model)
    steps = {"from": 0}
    training_step = Seq2SeqDpoTrainer.training_step

    def until_the_tenth(self, *args, **kwargs):
        steps["from"] = steps["from"] or self.state.global_step + 1
        if self.state.global_step == 9:
            raise Killed
        return training_step(self, *args, **kwargs)

    monkeypatch.setattr(Seq2SeqDpoTrainer, "training_step", until_the_tenth)
    with pytest.raises(Killed):
        dpo_files([pairs], tmp_path / "out", options, model=model)
    assert not (tmp_path / "out").exists()
    # A checkpoint that was being written when the kill came has no manifest yet and does not count.
    (tmp_path / "out.partial" / "checkpoints" / "checkpoint-9").mkdir()

    steps["from"] = 0
    monkeypatch.setattr(Seq2SeqDpoTrainer, "training_step", training_step)
    with pytest.warns(RuntimeWarning, match=r"checkpoint-9: passed over, manifest\.json is missing"):
        dpo_files([pairs], tmp_path / "out", options, model=model)
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")
    name = "adapter_model.safetensors" if options.lora_rank else "model.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.usefixtures("two_gpus")
def test_one_of_several_gpus_is_used(tmp_path: Path, model: Path, pairs: Path) -> None:
    """trl refuses to train where two are in sight of one process."""
    assert dpo_files([pairs], tmp_path / "out", replace(LORA, steps=2), model=model).steps == 2


def test_one_of_several_processes_is_refused_before_anything_is_done(
    tmp_path: Path, model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StageError, match="dpo is for one process; this is one of 2: leave out torchrun"):
        dpo_files([pairs], tmp_path / "out", LORA, model=model)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_saves_and_the_run_goes_on_from_there(tmp_path: Path, model: Path, pairs: Path) -> None:
    dpo_files([pairs], tmp_path / "whole", LORA, model=model)

    def stop_at_five(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("train", 5):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 5"):
        dpo_files([pairs], tmp_path / "out", LORA, model=model, progress=stop_at_five)
    assert not (tmp_path / "out").exists()
    steps: list[int] = []
    dpo_files(
        [pairs],
        tmp_path / "out",
        LORA,
        model=model,
        progress=lambda phase, n, _: steps.append(n) if phase == "train" else None,
    )
    assert steps == [6, 7, 8, 9, 10, 11, 12]
    assert metrics(tmp_path / "out") == metrics(tmp_path / "whole")


def test_a_learning_rate_of_zero_changes_nothing(tmp_path: Path, model: Path, pairs: Path) -> None:
    dpo_files([pairs], tmp_path / "out", replace(FULL, lr=0.0, steps=3), model=model)
    before, after = (AutoModelForSeq2SeqLM.from_pretrained(folder) for folder in (model, tmp_path / "out"))
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))


def test_a_diverged_training_ends_with_an_error(tmp_path: Path, model: Path, pairs: Path) -> None:
    with pytest.raises(StageError, match="diverged"):
        dpo_files([pairs], tmp_path / "out", replace(FULL, lr=1e30, max_norm=1e30), model=model)
    assert not (tmp_path / "out").exists()


def test_nothing_is_printed(
    tmp_path: Path,
    model: Path,
    pairs: Path,
    capfd: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    seen: list[tuple[str, int, int]] = []
    dpo_files(
        [pairs],
        tmp_path / "out",
        replace(LORA, steps=2),
        model=model,
        progress=lambda *told: seen.append(told),
    )
    assert capfd.readouterr() == ("", "")
    assert not [str(warning.message) for warning in recwarn]
    assert seen == [("reference", 16, 24), ("reference", 24, 24), ("train", 1, 2), ("train", 2, 2)]


def test_targets_that_the_model_lacks_are_named(tmp_path: Path, model: Path, pairs: Path) -> None:
    with pytest.raises(ValueError, match=r"lora_targets.*matches none .* such as encoder\.block\.0"):
        dpo_files([pairs], tmp_path / "out", replace(LORA, lora_targets=("query",)), model=model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "option beta = 0.0: must be above 0"),
        ({"steps": 0, "epochs": 0}, "option epochs = 0: must be at least 1"),
        ({"warmup_share": 1.0}, r"option warmup_share = 1.0: must be in \[0, 1\)"),
        ({"lora_targets": ("(",)}, r"option lora_targets = '\('"),
        ({"sft_weight": -1.0}, "option sft_weight = -1.0: must be at least 0"),
        ({"lora_rank": -1}, "option lora_rank = -1: must be at least 0"),
    ],
)
def test_an_option_out_of_range_is_named(tmp_path: Path, model: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpo_files([], tmp_path / "out", replace(LORA, **change), model=model)


def test_files_without_pairs_are_refused(tmp_path: Path, model: Path) -> None:
    rows = write_rows(tmp_path / "rows.parquet", [{"prompt": "甲", "chosen": "乙"}])
    with pytest.raises(DataError, match="'rejected' not found"):
        dpo_files([rows], tmp_path / "out", LORA, model=model)


def test_precision_is_that_of_the_options_whatever_ran_before(
    tmp_path: Path, model: Path, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.dtype] = []

    def log_probs(model, batch):
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return answer_log_probs(model, batch)

    monkeypatch.setattr(trainer, "answer_log_probs", log_probs)
    for name, precision in (("a", "bf16"), ("b", "fp32"), ("c", "bf16")):
        dpo_files([pairs], tmp_path / name, replace(LORA, steps=1, precision=precision), model=model)
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]
