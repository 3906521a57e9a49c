"""What `doctor` predicts of the memory of a training, beside what the training takes.

Shapes, optimizers and batches are others than those that its constants were fitted on. Every row is as long
as it may be, so that the batches are the largest there are.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast.model_options import ModelOptions
from smolchat_fast.stream import StreamOptions
from smolchat_fast.train.options import TrainOptions

from .measure import machine, measure, table

STEPS = 4
SPECIAL = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]


@dataclass(frozen=True)
class Case:
    """One training."""

    model: ModelOptions
    vocabulary: int
    options: TrainOptions
    folder: Path = Path()

    def __str__(self) -> str:
        stream, more = self.options.stream, ", recomputed" if self.options.gradient_checkpointing else ""
        rows = f"{stream.batch_rows} x ({stream.max_source} + {stream.max_target})"
        return f"{self.options.optimizer}, {rows}{more}"


def _case(width: int, layers: int, vocabulary: int, rows: int, tokens: int, **options: Any) -> Case:
    model = ModelOptions(
        preset="0.2b",
        d_model=width,
        d_ff=3 * width,
        num_heads=width // 64,
        num_layers=layers,
        num_decoder_layers=layers,
    )
    stream = StreamOptions(batch_rows=rows, max_source=tokens, max_target=tokens)
    return Case(
        model,
        vocabulary,
        TrainOptions(steps=STEPS, eval_every=0, save_every=0, save_minutes=0, stream=stream, **options),
    )


CASES = [
    _case(192, 3, 4_000, 48, 96, optimizer="adamw"),
    _case(320, 4, 8_000, 16, 160, optimizer="muon"),
    _case(512, 6, 16_000, 8, 192, optimizer="adafactor", gradient_checkpointing=True),
]


def predicted(case: Case) -> tuple[Case, float, float]:
    """A case, its parameters and what `doctor` says of it, in MiB."""
    import smolchat_fast.train.plan  # noqa: F401
    from smolchat_fast.doctor import predict_mb
    from smolchat_fast.memory import count_twice

    once, _ = count_twice(case.model, case.vocabulary)
    return case, once, predict_mb(case.model, case.vocabulary, case.options)


def trained(given: tuple[Case, float, float]) -> tuple[float, float]:
    """Train; returns parameters and prediction, from before."""
    from smolchat_fast.train import pretrain_files

    case, parameters, told = given
    rows = case.folder / "rows.parquet"
    pretrain_files(
        [rows], case.folder / "model", case.options, tokenizer=case.folder, model=case.model, overwrite=True
    )
    return parameters, told


def run() -> str:
    """Measure all cases and return the report."""
    lines = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            case = Case(case.model, case.vocabulary, case.options, Path(folder))
            _write(case)
            found = measure(predicted, trained, case, most=1)
        parameters, told = found.result
        lines.append(
            [
                f"{parameters / 1e6:.1f} M, {case}",
                f"{told:,.0f}",
                f"{found.peak_mb:,.0f}",
                f"{told / found.peak_mb:.2f}",
            ]
        )
    header = ["parameters, optimizer, batch", "predicted MB", "measured MB", "predicted / measured"]
    title = "doctor: peak memory of whole processes on the CPU"
    return "\n".join([title, machine(["smolchat-fast", "torch", "transformers"]), "", table(header, lines)])


def _write(case: Case) -> None:
    """A tokenizer of single characters, and rows that are as long as they may be."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    from smolchat_fast.tokenizer import save

    characters = [chr(0x4E00 + i) for i in range(case.vocabulary - len(SPECIAL))]
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *characters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 1)])
    save(tokenizer, case.folder)
    rng, stream = random.Random(1), case.options.stream
    rows = STEPS * stream.batch_rows
    columns = {
        name: ["".join(rng.choices(characters, k=tokens)) for _ in range(rows)]
        for name, tokens in (("prompt", stream.max_source), ("response", stream.max_target))
    }
    pq.write_table(pa.table(columns), case.folder / "rows.parquet")
