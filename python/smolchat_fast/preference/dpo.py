"""Direct preference optimisation of a fine-tuned model: a LoRA adapter, or all weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from smolchat_fast import device
from smolchat_fast.arguments import arguments
from smolchat_fast.errors import StoppedError
from smolchat_fast.preference.options import DpoOptions, DpoReport
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stage import FOLDER, Report, file_hash, refuse_several_processes, run_stage

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from torch import nn
    from trl.trainer.dpo_config import DPOConfig

    from smolchat_fast.preference.log import RunLog
    from smolchat_fast.preference.trainer import Seq2SeqDpoTrainer

CHECKPOINTS = "checkpoints"


@arguments
def dpo_files(
    inputs: Sequence[Path],
    out: Path,
    options: DpoOptions = DpoOptions(),
    *,
    model: Path,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DpoReport:
    """Train a model to prefer the chosen answers over the rejected ones.

    The reference is the model as given; its log-probabilities are computed once, before training, so
    only one model is held in memory. A run that is stopped goes on from its last checkpoint. One process
    trains, on the first GPU if there are several.

    Args:
        inputs: Parquet files of pairs: prompt, chosen, rejected.
        out: Folder of the adapter (`merge` makes a model of it), or of the model with lora_rank 0; with
            `metrics.jsonl`.
        options: How preferences are trained.
        model: Folder of the fine-tuned model and its tokenizer.
        threads: CPU threads of torch.
        overwrite: Replace an output that was made otherwise.
        progress: Called with ("reference" or "train", pairs or steps done, all).
    Returns:
        Pairs, steps, and how far the answers were set apart.
    Raises:
        DataError: a file lacks a column or has a null, or no pair is there.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise, the loss is no longer a number, or this is one of
            several processes.
    Source: Rafailov et al. 2023, https://arxiv.org/abs/2305.18290; LoRA: Hu et al. 2021,
        https://arxiv.org/abs/2106.09685
    """
    options.check()
    refuse_several_processes("dpo")

    def work(partials: list[Path]) -> Report:
        with device.session(threads) as place:
            trainer, log, cut = _prepare(inputs, partials[0], options, model, place, progress or ignore)
            _train(trainer, log, model, partials[0])
        return _report(trainer, log, options, cut) | {"base_sha256": weights_hash(model)}

    finished = run_stage(
        "dpo",
        out,
        work,
        makes=FOLDER,
        inputs=[*inputs, model],
        options=options.deciding(),
        overwrite=overwrite,
        resumable=True,
        scratch=(CHECKPOINTS,),
    )
    return DpoReport(**finished.report)


def _prepare(
    inputs: Sequence[Path],
    out: Path,
    options: DpoOptions,
    folder: Path,
    place: torch.device,
    progress: Progress,
) -> tuple[Seq2SeqDpoTrainer, RunLog, int]:
    """The trainer, ready to start or to go on; its log; and how many pairs were cut."""
    import torch
    from transformers import AutoTokenizer, PrinterCallback

    from smolchat_fast.model import PAD, load_model, set_dropout
    from smolchat_fast.preference.log import RunLog
    from smolchat_fast.preference.pairs import PairCollator, read_pairs, with_reference
    from smolchat_fast.preference.trainer import Seq2SeqDpoTrainer
    from smolchat_fast.train.checkpoint import Checkpoints

    arguments = _arguments(options, out / CHECKPOINTS, place)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), load_model(folder)
    # A reward compares with a reference that has no dropout; trl would leave that of the attention on.
    set_dropout(model, 0.0)
    model.to(place).eval()  # type: ignore[arg-type]
    pairs, cut = read_pairs(inputs, tokenizer, options.max_source, options.max_target)
    collator = PairCollator(PAD)
    with torch.autocast(place.type, torch.bfloat16, enabled=options.precision == "bf16"):
        pairs = with_reference(pairs, model, collator, 2 * options.batch_rows, progress)
    # trl makes the adapter before, or after, it seeds: that depends on its release.
    torch.manual_seed(options.seed)
    trainer = Seq2SeqDpoTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=pairs,
        processing_class=tokenizer,
        peft_config=_lora(options, model) if options.lora_rank else None,
    )
    log = RunLog(out / "metrics.jsonl", progress, Checkpoints(out / CHECKPOINTS))
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(log)
    return trainer, log, cut


def _train(trainer: Seq2SeqDpoTrainer, log: RunLog, base: Path, out: Path) -> None:
    """Train to the end and save, or raise `StoppedError` once a checkpoint is written."""
    from smolchat_fast.train.stop import stop_on_signal

    newest = log.checkpoints.latest()
    with stop_on_signal() as log.stop:
        trainer.train(resume_from_checkpoint=str(newest) if newest is not None else None)
    if log.stopped:
        step = f"{trainer.state.global_step:,}"
        raise StoppedError(f"stopped after step {step}; the same command goes on from there:")
    _save(trainer, base, out)


def _report(trainer: Seq2SeqDpoTrainer, log: RunLog, options: DpoOptions, cut: int) -> Report:
    from smolchat_fast.model import count_parameters

    return {
        "pairs": len(cast("Sized", trainer.train_dataset)),
        "cut": cut,
        "steps": trainer.state.global_step,
        **{name: log.last[name] for name in ("loss", "chosen_reward", "rejected_reward", "accuracy")},
        "trained_parameters": count_parameters(trainer.model, trainable=True),
        "parameters": sum(p.numel() for name, p in trainer.model.named_parameters() if "lora_" not in name),
        "adapter": options.lora_rank > 0,
    }


def _arguments(options: DpoOptions, checkpoints: Path, place: torch.device) -> DPOConfig:
    from accelerate.state import AcceleratorState
    from trl.trainer.dpo_config import DPOConfig

    from smolchat_fast.train.ranks import on_one_device

    # An earlier stage of this process may have run in another precision, which accelerate keeps for ever.
    AcceleratorState._reset_state()
    arguments = DPOConfig(
        output_dir=str(checkpoints),
        beta=options.beta,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, options.sft_weight],
        precompute_ref_log_probs=True,
        num_train_epochs=options.epochs,
        max_steps=options.steps or -1,
        per_device_train_batch_size=options.batch_rows,
        gradient_accumulation_steps=options.accumulate,
        optim={"adamw": "adamw_torch", "adafactor": "adafactor"}[options.optimizer],
        learning_rate=options.lr,
        lr_scheduler_type=options.schedule if options.schedule != "constant" else "constant_with_warmup",
        warmup_steps=options.warmup_share,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_norm,
        bf16=options.precision == "bf16",
        gradient_checkpointing=False,
        # Where this is False the trainer would write it into the model's configuration.
        use_cache=True,
        logging_steps=options.log_every,
        # A loss that is no number must end the run, not be left out of the log.
        logging_nan_inf_filter=False,
        save_strategy="steps" if options.save_every else "no",
        save_steps=options.save_every or 1,
        seed=options.seed,
        data_seed=options.seed,
        remove_unused_columns=False,
        use_cpu=place.type == "cpu",
        dataloader_pin_memory=place.type != "cpu",
        disable_tqdm=True,
        report_to="none",
    )
    return on_one_device(arguments)


def adapted_layers(model: nn.Module, options: DpoOptions) -> list[str]:
    """The linear layers that get an adapter.

    Raises:
        ValueError: the model has none of those that are wanted.
    """
    from torch.nn import Linear

    linear = [name for name, module in model.named_modules() if isinstance(module, Linear)]
    wanted = [re.compile(pattern) for pattern in options.lora_targets]
    targets = [name for name in linear if any(pattern.match(name) for pattern in wanted)]
    if not targets:
        raise ValueError(
            f"option lora_targets = {options.lora_targets}: matches none of the model's layers, "
            f"such as {linear[0]}"
        )
    return targets


def _lora(options: DpoOptions, model: nn.Module) -> LoraConfig:
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType.SEQ_2_SEQ_LM,
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=adapted_layers(model, options),
    )


def weights_hash(folder: Path) -> str:
    """SHA-256 of the weights of a model folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(file_hash(path).encode())
    return digest.hexdigest()


def _save(trainer: Seq2SeqDpoTrainer, base: Path, out: Path) -> None:
    from peft import PeftModel
    from transformers import AutoConfig

    from smolchat_fast.model import save_model, set_dropout

    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(model, PeftModel):
        # peft would write the path of the base, and a set in the order of this process.
        config: Any = model.peft_config["default"]
        config.base_model_name_or_path, config.target_modules = "", sorted(config.target_modules)
        model.save_pretrained(str(out))
        # peft's form of a model card, with nothing filled in.
        (out / "README.md").unlink(missing_ok=True)
        return
    set_dropout(model, AutoConfig.from_pretrained(base).dropout_rate)
    save_model(model, base, out)
