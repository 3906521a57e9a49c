"""Rejected answers: what the fine-tuned model itself says, to be ranked below the chosen answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from smolchat_fast import device
from smolchat_fast.arguments import arguments
from smolchat_fast.preference.options import RejectOptions, RejectReport
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.rows import count_rows, read_texts
from smolchat_fast.stage import Report, run_stage

if TYPE_CHECKING:
    import torch

SCHEMA = pa.schema([(name, pa.string()) for name in ("prompt", "chosen", "rejected", "source")])

Answer = Callable[[list[str], Progress], list[str]]
"""Prompts to answers, one each; tells how many are done."""


@arguments
def reject_files(
    inputs: Sequence[Path],
    out: Path,
    options: RejectOptions = RejectOptions(),
    *,
    model: Path,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> RejectReport:
    """Let a model answer prompts whose good answer is known; its own greedy answers become the rejected ones.

    A row whose good answer the model already gives is dropped: there is nothing to prefer. A run that
    is stopped goes on after the last whole chunk and ends with the same file.

    Args:
        inputs: Parquet files with `prompt` and `chosen` (or `response`), and `source` if there is one.
        out: Parquet file of the pairs: prompt, chosen, rejected, source.
        options: How the model answers.
        model: Folder of the fine-tuned model and its tokenizer.
        threads: CPU threads of torch.
        overwrite: Replace an output that was made otherwise.
        progress: Called with ("answers", rows done, rows in all).
    Returns:
        Rows read, pairs written, rows dropped.
    Raises:
        DataError: a file lacks a column or has a null; names file and row.
        ValueError: an option is out of range.
        StageError: `out` exists and was made otherwise.
    """
    options.check()

    def work(partials: list[Path]) -> Report:
        with device.session(threads) as place:
            answer = _answers_of(model, options, place)
            return _write_pairs(inputs, partials[0], options, answer, progress or ignore)

    finished = run_stage(
        "reject",
        out,
        work,
        inputs=[*inputs, model],
        options=options,
        overwrite=overwrite,
        resumable=True,
        result="pairs.parquet",
    )
    return RejectReport(**finished.report)


def _answers_of(folder: Path, options: RejectOptions, place: torch.device) -> Answer:
    from transformers import AutoTokenizer

    from smolchat_fast.generate import generate_answers
    from smolchat_fast.model import load_model

    model, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
    model.to(place)  # type: ignore[arg-type]

    def answer(prompts: list[str], progress: Progress) -> list[str]:
        return generate_answers(
            model,
            tokenizer,
            prompts,
            options.max_new_tokens,
            options.batch_rows,
            max_source=options.max_source,
            progress=progress,
        )

    return answer


def _write_pairs(
    inputs: Sequence[Path], folder: Path, options: RejectOptions, answer: Answer, progress: Progress
) -> Report:
    """Answer chunk by chunk; a chunk that an earlier run has written is not answered again."""
    rows_in, begun = count_rows(inputs), 0
    chunks: list[Path] = []

    def told(phase: str, done: int, total: int) -> None:
        progress(phase, begun + done, rows_in)

    for prompts, chosen, source in _chunks(inputs, options.chunk_rows):
        chunks.append(folder / f"chunk-{len(chunks):06d}.parquet")
        if not chunks[-1].exists():
            rows = zip(prompts, chosen, answer(prompts, told), source, strict=True)
            _write_chunk(chunks[-1], [row for row in rows if row[1] != row[2]])
        begun += len(prompts)
    pairs = 0
    with pq.ParquetWriter(folder / "pairs.parquet", SCHEMA, compression="zstd") as writer:
        for chunk in chunks:
            table = pq.read_table(chunk, schema=SCHEMA)
            writer.write_table(table)
            pairs += table.num_rows
    return {"rows_in": begun, "pairs": pairs, "dropped_equal": begun - pairs}


def _chunks(inputs: Sequence[Path], rows: int) -> Iterator[list[list[str]]]:
    return read_texts(inputs, ["prompt", ("chosen", "response")], optional=["source"], batch_rows=rows)


def _write_chunk(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    draft = path.with_suffix(".draft")
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(SCHEMA))]
    pq.write_table(pa.table(columns, schema=SCHEMA), draft, compression="zstd")
    draft.replace(path)
