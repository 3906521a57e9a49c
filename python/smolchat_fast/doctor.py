"""What a recipe needs before it is run: parameters, memory by part, disk, time on this machine."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import MissingExtraError, StageError
from smolchat_fast.model_options import ModelOptions
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.recipe import Recipe
from smolchat_fast.rows import count_rows, read_texts
from smolchat_fast.sections import check_layers, check_sections
from smolchat_fast.stage import peak_mb
from smolchat_fast.train.options import TrainOptions

if TYPE_CHECKING:
    from smolchat_fast.memory import MemoryEstimate

GPU_CONTEXT_MB = 500.0
"""What the libraries of a GPU take of its memory before the first tensor, about."""

LIBRARIES_MB = 200.0
"""What threads, stream and kernels add to a process that has only imported its libraries."""

HELD = 1.15
"""Allocators hold more than is in use. With this and the above, the prediction for runs of 1, 8 and 34 M
parameters on a CPU was 1.03, 1.03 and 0.92 of the measured peak."""

BYTES_PER_TOKEN = 4
"""As the stream guesses: three bytes a Chinese character, and words of more than one."""

SAMPLE_ROWS = 20_000
TIMED_TOKENS = 1024
FULL = 0.97
"""Share of the token budget that batches fill, about."""


@dataclass(frozen=True)
class Need:
    """What one training needs."""

    name: str
    memory: MemoryEstimate
    base_mb: float
    """Python and its libraries, or those of the GPU."""
    stream_mb: float
    """Rows and ids that are held ready; in the memory of the machine, whatever trains."""
    checkpoint_mb: float
    disk_mb: float
    """Checkpoints that are kept, one more that is being written, and the model."""
    steps: int | None
    """None if there is nothing to count them from yet."""
    step_tokens: int
    """Source and target tokens of a step, about."""
    step_s: float | None = None
    """Seconds of a step, measured on a model of the same width with one and with two layers."""

    @property
    def device_mb(self) -> float:
        """The most that training takes on the device it runs on."""
        return _device_mb(self.memory, self.base_mb)


def predict_mb(model: ModelOptions, vocabulary: int, options: TrainOptions) -> float:
    """The most that this process will take if it trains now, on the CPU, in MiB."""
    from smolchat_fast.memory import estimate_memory

    base = peak_mb() + LIBRARIES_MB
    return _device_mb(estimate_memory(model, vocabulary, options), base)


def _device_mb(memory: MemoryEstimate, base_mb: float) -> float:
    passing = memory.peak_mb - memory.weights_mb - memory.optimizer_mb
    return memory.peak_mb + (HELD - 1) * passing + memory.holes_mb + base_mb


@dataclass(frozen=True)
class Diagnosis:
    """What a recipe needs, and what there is."""

    vocabulary: int
    parameters: int
    parameters_twice: int
    """With the shared embedding counted again as output matrix, as some count."""
    device: str
    memory_mb: float
    disk_mb: float
    needs: tuple[Need, ...]
    answering_mb: tuple[float, float]
    """Memory to answer one prompt, both as long as in the last training: in half precision, in float32."""

    def __str__(self) -> str:
        lines = [
            f"parameters    {self.parameters / 1e6:,.1f} M ({self.parameters_twice / 1e6:,.1f} M with the shared "
            f"embedding counted twice), vocabulary {self.vocabulary:,}",
            f"machine       {self.device}: {self.memory_mb:,.0f} MB of memory, {self.disk_mb / 1024:,.0f} GB of disk",
        ]
        for need in self.needs:
            parts = ", ".join(
                f"{name} {mb:,.0f}" for name, mb in need.memory.parts().items() if name != "peak"
            )
            time = "unknown" if need.steps else "unknown until the rows are made (`run --until data`)"
            if need.steps is not None and need.step_s is not None:
                time = f"{need.steps:,} steps of {need.step_s:.2f} s: {_duration(need.steps * need.step_s)}"
            lines += [
                "",
                f"{need.name}",
                f"  memory      {need.device_mb:,.0f} MB at most ({parts}, libraries {need.base_mb:,.0f})",
                f"  stream      {need.stream_mb:,.0f} MB of rows and ids held ready",
                f"  disk        {need.disk_mb:,.0f} MB (a checkpoint has {need.checkpoint_mb:,.0f})",
                f"  time        {time}",
            ]
        half, full = self.answering_mb
        lines += [
            "",
            f"answering     {half:,.0f} MB in half precision, {full:,.0f} MB in float32, one prompt",
        ]
        return "\n".join(lines)


@arguments
def diagnose(
    recipe: Recipe,
    *,
    out: Path = Path("runs"),
    memory_mb: float | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Say what the trainings of a recipe need, and refuse what cannot fit.

    Args:
        recipe: TOML file of options, or the name of one that comes with the package.
        out: Folder of the run; its disk counts, and rows and tokenizer that are there already.
        memory_mb: Memory to fit into, instead of what this machine has: 4096 for a GPU of 4 GB.
        progress: Called with the training under way and how many are done.
    Returns:
        The figures.
    Raises:
        ValueError: an option of any section is out of range, or names no layer of the model.
        StageError: memory or disk do not suffice; names the option to change.
    """
    try:
        import torch

        from smolchat_fast.memory import count_twice, estimate_inference
    except ImportError as error:
        raise MissingExtraError("this command needs torch: pip install 'smolchat-fast[train]'") from error

    gpu = torch.cuda.is_available()
    base = GPU_CONTEXT_MB if gpu or memory_mb is not None else peak_mb() + LIBRARIES_MB
    found = memory_mb or (torch.cuda.mem_get_info()[1] / (1 << 20) if gpu else _free_mb() + base)
    check_sections(recipe)
    check_layers(recipe)
    vocabulary = _vocabulary(recipe, out)
    once, twice = count_twice(recipe.model, vocabulary)
    trainings = list(recipe.trainings().items())
    needs: list[Need] = []
    for name, options in trainings:
        (progress or ignore)(name, len(needs), len(trainings))
        rows = out / "data" / name / "train.parquet"
        needs.append(_need(name, recipe.model, vocabulary, options, rows if rows.exists() else None, base))
    source, target = trainings[-1][1].stream.max_source, trainings[-1][1].stream.max_target
    existing = next(folder for folder in [out, *out.absolute().parents] if folder.exists())
    diagnosis = Diagnosis(
        vocabulary=vocabulary,
        parameters=once,
        parameters_twice=twice,
        device=torch.cuda.get_device_name() if gpu else f"CPU, {torch.get_num_threads()} threads",
        memory_mb=found,
        disk_mb=shutil.disk_usage(existing).free / (1 << 20),
        needs=tuple(needs),
        answering_mb=(
            estimate_inference(recipe.model, vocabulary, half=True, source=source, target=target),
            estimate_inference(recipe.model, vocabulary, half=False, source=source, target=target),
        ),
    )
    for (name, options), need in zip(trainings, needs, strict=True):
        _refuse(diagnosis, name, options, need, recipe.model)
    # Only what fits can be timed.
    timed = [
        replace(need, step_s=need.step_tokens * _token_seconds(recipe.model, vocabulary, options))
        for (_, options), need in zip(trainings, needs, strict=True)
    ]
    return replace(diagnosis, needs=tuple(timed))


def _need(
    name: str, model: ModelOptions, vocabulary: int, options: TrainOptions, rows: Path | None, base: float
) -> Need:
    from smolchat_fast.memory import estimate_memory, largest_batch

    memory = estimate_memory(model, vocabulary, options)
    checkpoint = memory.weights_mb + memory.optimizer_mb
    batch = largest_batch(options)
    tokens = options.stream.batch_tokens or batch.rows * (batch.source_tokens + batch.target_tokens)
    count, row_tokens = _measure_rows(rows, options) if rows else (0, 0.0)
    # Ids of the chunk in use and of the next one, and the text of a window.
    stream_mb = 2 * options.stream.bucket_batches * tokens * 4 / (1 << 20)
    stream_mb += min(count, options.stream.shuffle_rows) * row_tokens * BYTES_PER_TOKEN / (1 << 20)
    if options.stream.batch_rows:
        tokens = round(options.stream.batch_rows * row_tokens) or tokens
    steps = options.steps or None
    if steps is None and rows:
        batches = (
            count / options.stream.batch_rows
            if options.stream.batch_rows
            else count * row_tokens / (FULL * options.stream.batch_tokens)
        )
        steps = max(1, round(options.epochs * batches / options.accumulate))
    return Need(
        name=name,
        memory=memory,
        base_mb=base,
        stream_mb=stream_mb,
        checkpoint_mb=checkpoint,
        disk_mb=(options.keep + 2) * checkpoint + memory.weights_mb,
        steps=steps,
        step_tokens=options.accumulate * tokens,
    )


def _refuse(diagnosis: Diagnosis, name: str, options: TrainOptions, need: Need, model: ModelOptions) -> None:
    """Raise an error that tells what to change if a training does not fit."""
    from smolchat_fast.memory import estimate_memory, savings

    if need.disk_mb > diagnosis.disk_mb:
        raise StageError(
            f"{diagnosis}\n\n{name} needs {need.disk_mb:,.0f} MB of disk, {diagnosis.disk_mb:,.0f} are free. "
            f"Lower {name}.keep = {options.keep}, or name an --out on another disk."
        )
    if need.device_mb <= diagnosis.memory_mb:
        return
    told = f"{name} needs {need.device_mb:,.0f} MB of memory, there are {diagnosis.memory_mb:,.0f}"
    for words, changed in savings(options):
        peak = _device_mb(estimate_memory(model, diagnosis.vocabulary, changed), need.base_mb)
        if peak <= diagnosis.memory_mb:
            raise StageError(f"{diagnosis}\n\n{told}. With {words} in [{name}] it needs {peak:,.0f} MB.")
    raise StageError(
        f"{diagnosis}\n\n{told}, and no option of [{name}] helps enough. Choose a smaller [model]."
    )


def _vocabulary(recipe: Recipe, out: Path) -> int:
    from smolchat_fast.model import vocabulary_size

    folder = out / "tokenizer"
    return vocabulary_size(folder) if (folder / "tokenizer.json").exists() else recipe.tokenizer.vocab_size


def _measure_rows(path: Path, options: TrainOptions) -> tuple[int, float]:
    """Rows of a file, and about how many tokens one of them has after cutting."""
    stream = options.stream
    tokens, seen = 0, 0
    for sources, targets in read_texts([path], [stream.source_column, stream.target_column]):
        for texts, most in ((sources, stream.max_source), (targets, stream.max_target)):
            tokens += sum(min(most, len(text.encode()) // BYTES_PER_TOKEN + 1) for text in texts)
        seen += len(sources)
        if seen >= SAMPLE_ROWS:
            break
    return count_rows([path]), tokens / max(1, seen)


def _token_seconds(model: ModelOptions, vocabulary: int, options: TrainOptions) -> float:
    """Seconds that a token takes in a step, from models of one and of two layers on either side."""
    shape = model.shape()
    one, two = (
        _time_layers(replace(model, num_layers=n, num_decoder_layers=n), vocabulary, options) for n in (1, 2)
    )
    layers = (shape.num_layers + shape.num_decoder_layers) / 2
    return one + (layers - 1) * max(0.0, two - one)


def _time_layers(model: ModelOptions, vocabulary: int, options: TrainOptions) -> float:
    import time

    import torch
    from transformers import T5ForConditionalGeneration

    from smolchat_fast.memory import largest_batch
    from smolchat_fast.model import t5_config
    from smolchat_fast.train.optimizer import build_optimizer, freeze

    batch, device = largest_batch(options), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = max(1, min(batch.rows, TIMED_TOKENS // (batch.source_tokens + batch.target_tokens)))
    net = T5ForConditionalGeneration(t5_config(model, vocabulary)).to(device)  # type: ignore[arg-type]
    net.train()
    freeze(net, options.freeze, stand_in=True)
    optimizer = build_optimizer(net, options)
    half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(options.precision)
    source = torch.ones(rows, batch.source_tokens, dtype=torch.long, device=device)
    labels = torch.ones(rows, batch.target_tokens, dtype=torch.long, device=device)
    best = float("inf")
    for _ in range(3):  # the first one warms up
        began = time.perf_counter()
        with torch.autocast(device.type, half, enabled=half is not None):
            net(input_ids=source, labels=labels, use_cache=False).loss.backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        forward = time.perf_counter() - began
        best = min(best, forward)
    began = time.perf_counter()
    optimizer.step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    # The optimizer works once a step, however many tokens there are.
    tokens = options.accumulate * batch.rows * (batch.source_tokens + batch.target_tokens)
    again = 4 / 3 if options.gradient_checkpointing else 1.0
    return again * best / (source.numel() + labels.numel()) + (time.perf_counter() - began) / tokens


def _free_mb() -> float:
    """Memory of this machine that nothing uses."""
    import os

    info = Path("/proc/meminfo")
    if info.exists():
        line = next(line for line in info.read_text().splitlines() if line.startswith("MemAvailable"))
        return int(line.split()[1]) / 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
