"""A LoRA adapter and its base model to one plain model, with proof that both say the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from smolchat_fast import device
from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError, StageError
from smolchat_fast.preference.dpo import weights_hash
from smolchat_fast.preference.options import MergeOptions, MergeReport
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stage import FOLDER, Report, read_manifest, run_stage


@arguments
def merge_files(
    inputs: Sequence[Path],
    out: Path,
    options: MergeOptions = MergeOptions(),
    *,
    model: Path,
    samples: Path | None = None,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MergeReport:
    """Merge an adapter into its base model, and prove on sample rows that the saved result says the same.

    The saved folder is read back and its logits are compared with those of the base model with the
    adapter beside it. If they differ by more than rounding, nothing is written.

    Args:
        inputs: The adapter's folder.
        out: Folder of the merged model and its tokenizer, as plain `from_pretrained` reads it.
        options: How the merge is proved.
        model: Folder of the base model, the one the adapter was trained on.
        samples: Parquet file of rows (prompt, and response or chosen) to compare on; random tokens by
            default.
        threads: CPU threads of torch.
        overwrite: Replace an output that was made otherwise.
        progress: Called with the step under way.
    Returns:
        The number format and the largest differences seen.
    Raises:
        DataError: `inputs` is not one adapter folder.
        ValueError: an option is out of range.
        StageError: the adapter was trained on another base model, the merged model says something else,
            or `out` exists and was made otherwise.
    """
    options.check()
    adapter = _adapter_folder(inputs)
    _check_base(adapter, model)

    def work(partials: list[Path]) -> Report:
        with device.session(threads):
            return _merge(adapter, model, partials[0], options, samples, progress or ignore)

    read = [adapter, model, *([samples] if samples else [])]
    finished = run_stage("merge", out, work, makes=FOLDER, inputs=read, options=options, overwrite=overwrite)
    return MergeReport(**finished.report)


def _adapter_folder(inputs: Sequence[Path]) -> Path:
    if len(inputs) != 1:
        raise DataError(f"merge takes one adapter folder, got {len(inputs)}: {', '.join(map(str, inputs))}")
    if not (inputs[0] / "adapter_config.json").is_file():
        raise DataError(
            f"{inputs[0]}: no adapter (adapter_config.json not found). "
            "A model trained with lora_rank 0 is whole already."
        )
    return inputs[0]


def _check_base(adapter: Path, base: Path) -> None:
    """Refuse another base than the one in the adapter's manifest; shapes alone would not tell."""
    manifest = read_manifest(adapter)
    if manifest is not None and manifest["report"]["base_sha256"] != weights_hash(base):
        raise StageError(
            f"{adapter} was trained on other weights than those of {base}. "
            "Name the folder that `dpo` was given as --model."
        )


def _merge(
    adapter: Path, base: Path, out: Path, options: MergeOptions, rows: Path | None, progress: Progress
) -> Report:
    from peft import PeftModel

    from smolchat_fast.model import load_model, save_model
    from smolchat_fast.preference.proof import draw_samples, logits_of, read_samples

    progress("merge", 0, 3)
    plain = load_model(base).eval()
    samples = read_samples(rows, base, options) if rows else draw_samples(plain.config, options)
    before = logits_of(plain, samples)
    adapted_model = PeftModel.from_pretrained(plain, str(adapter)).eval()
    adapted = logits_of(adapted_model, samples)
    progress("merge", 1, 3)
    save_model(adapted_model.merge_and_unload(), base, out)
    progress("merge", 2, 3)
    merged = logits_of(load_model(out).eval(), samples)
    report = {
        "dtype": str(plain.dtype).removeprefix("torch."),
        "rows": len(samples.labels),
        "largest_logit": adapted.abs().max().item(),
        "largest_difference": (merged - adapted).abs().max().item(),
        "largest_change": (adapted - before).abs().max().item(),
        "tolerance": options.tolerance,
    }
    prove(report)
    return report


def prove(report: Report) -> None:
    """Accept a merge whose logits differ by no more than rounding.

    Raises:
        StageError: they differ by more, or are no numbers.
    """
    allowed = report["tolerance"] * max(1.0, report["largest_logit"])
    # Written so that a difference that is no number is refused too.
    if not report["largest_difference"] <= allowed:
        raise StageError(
            f"the merged model does not say what the adapted one says: logits differ by up to "
            f"{report['largest_difference']:.3g} in {report['dtype']}, rounding allows {allowed:.3g}. "
            "Nothing was written."
        )
