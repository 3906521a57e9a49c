"""A trainer of another library in a process of its own: whatever it is doing, Ctrl+C ends it at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.tokenizer.options import TokenizerOptions
from smolchat_fast.tokenizer.trainers import TRAINERS, Learned

REFUSALS = {error.__name__: error for error in (DataError, ValueError, MissingExtraError)}
"""What a trainer says of its input; anything else is a defect."""


def learn(
    tables: Iterable[pa.Table],
    options: TokenizerOptions,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Learned:
    """What the trainer of `options.kind` learns.

    Args:
        tables: Texts or word counts.
        options: How the tokenizer is built.
        threads: Threads of the trainers of `tokenizers`; sentencepiece always has 16, since its result
            depends on their number.
        progress: Called with (phase, rows read, 0).
    Raises:
        DataError, ValueError, MissingExtraError: the trainer refuses.
    """
    tell = progress or ignore
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    if threads is not None:
        environment["RAYON_NUM_THREADS"] = str(threads)
    with TemporaryDirectory() as folder:
        answer = Path(folder, "learned.json")
        program = f"from {__name__} import main; main()"
        command = [sys.executable, "-c", program, json.dumps(asdict(options)), str(answer)]
        # A session of its own: Ctrl+C on a terminal is for this process alone, which ends the other.
        child = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
        try:
            with suppress(BrokenPipeError):  # it ended early, and says why
                if not _send(tables, child.stdin, tell):
                    raise DataError("there is no text to learn from")
            while child.poll() is None:
                tell("learn", 0, 0)
                time.sleep(0.05)
        finally:
            child.kill()
            child.wait()
        if child.returncode:
            raise RuntimeError(f"the trainer of {options.kind} ended with status {child.returncode}")
        told = json.loads(answer.read_text("utf-8"))
    if "refusal" in told:
        raise REFUSALS[told["refusal"]](told["message"])
    return Learned(**told)


def _send(tables: Iterable[pa.Table], pipe: Any, tell: Progress) -> int:
    """Write tables to the process; returns their rows."""
    rows, writer = 0, None
    with pipe:
        for table in tables:
            writer = writer or pa.ipc.new_stream(pipe, table.schema)
            writer.write_table(table)
            rows += table.num_rows
            tell("read", rows, 0)
        if writer is not None:
            writer.close()
    return rows


def main() -> None:
    """Learn from the tables on standard input, and write what was learned."""
    asked, answer = sys.argv[1:]
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    fields: dict[str, Any] = json.loads(asked)
    options = TokenizerOptions(**fields)
    with open(0, "rb") as pipe, pa.ipc.open_stream(pipe) as tables:
        data = tables.read_all()
    try:
        told = asdict(TRAINERS[options.kind](data, options))
    except tuple(REFUSALS.values()) as error:
        told = {"refusal": type(error).__name__, "message": str(error)}
    Path(answer).write_text(json.dumps(told), "utf-8")


def _end_with(parent: int) -> None:
    """End this process when its parent was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
