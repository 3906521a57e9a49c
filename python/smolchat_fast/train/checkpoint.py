"""Checkpoints: folders that are whole or absent.

`step-00001200/` is a plain model folder plus `trainer/`, which holds what a run needs to go on;
`checkpoint-1200/` is what a trainer of transformers has written, plus `trainer/`. Either way the manifest
names every file with its size and its hash and is written last, so a folder without one was never
finished, and one with other bytes is not what was written.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smolchat_fast.errors import StageError
from smolchat_fast.stage import PARTIAL, file_hash
from smolchat_fast.train.state import TrainState

MANIFEST = "trainer/manifest.json"
STATE = "trainer/state.json"
TENSORS = "trainer/tensors.pt"


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Look after the checkpoints in `folder` and keep the newest `keep`, and the best one."""
        self.folder, self.keep = folder, keep
        self._passed_over: set[Path] = set()

    def save(self, state: TrainState, save_model: Callable[[Path], None], tensors: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove the oldest ones.

        Args:
            state: Where the run stands.
            save_model: Writes the model and its tokenizer into the folder it is given.
            tensors: Optimizer, scaler and generator states.
        Returns:
            The new folder; an already complete one of the same step is left as it is.
        Raises:
            OSError: it could not be written, for example on a full disk; nothing of it is left, and the
                older ones are as they were.
        """
        final = self.step(state.step)
        if final.exists() and find_problem(final) is None:
            return final
        partial = final.with_name(final.name + PARTIAL)
        for left_over in (final, partial):
            shutil.rmtree(left_over, ignore_errors=True)
        try:
            (partial / "trainer").mkdir(parents=True)
            save_model(partial)
            torch.save(tensors, partial / TENSORS)
            _write_state(state, partial)
            _write_manifest(partial)
        except Exception as error:
            full = _is_full(error, self.folder)
            shutil.rmtree(partial, ignore_errors=True)
            if full:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(final)) from error
            raise
        partial.rename(final)
        _sync(self.folder)
        self._prune(final, state)
        return final

    def seal(self, step: int, state: TrainState | None = None) -> None:
        """Make a checkpoint of what a trainer of transformers has just written, then remove the oldest ones.

        Args:
            step: The step it was written at.
            state: Where the run stands, to be kept beside it.
        """
        folder = self.folder / f"checkpoint-{step}"
        (folder / "trainer").mkdir(exist_ok=True)
        if state is not None:
            _write_state(state, folder)
        _write_manifest(folder)
        self._prune(folder, state)

    def step(self, step: int) -> Path:
        """The folder of a step."""
        return self.folder / f"step-{step:08d}"

    def latest(self) -> Path | None:
        """The newest complete checkpoint, read through and compared with its hashes.

        A damaged one is passed over with a warning that names it. It stays, without counting among those that are
        kept, until the run has come as far again.
        """
        for folder in self._newest_first():
            problem = find_problem(folder)
            if problem is None:
                return folder
            self._passed_over.add(folder)
            warnings.warn(f"{folder}: passed over, {problem}", RuntimeWarning, stacklevel=2)
        return None

    def best(self, state: TrainState, *, read: bool = True) -> tuple[float, Path] | None:
        """The lowest validation loss of the checkpoints that are there, and which of them has it.

        Args:
            state: Where the run stands; its best step may have no checkpoint, if the disk was full.
            read: Compare contents with their hashes too.
        """
        found: list[tuple[float, Path]] = []
        for folder in self._newest_first():
            if folder in self._passed_over or find_problem(folder, read=read) is not None:
                continue
            saved = read_state(folder)
            # A run that was stopped while it validated has saved before, and validates when it goes on.
            loss = state.best_loss if saved.step == state.best_step else saved.own_loss
            if loss is not None:
                found.append((loss, folder))
        return min(found, default=None)

    def _newest_first(self) -> list[Path]:
        return sorted((p for p in self.folder.glob("*-*") if step_of(p) >= 0), key=step_of, reverse=True)

    def _prune(self, newest: Path, state: TrainState | None) -> None:
        """Remove what is older than the newest ones, a damaged one too, unless it is the best."""
        self._passed_over.discard(newest)
        # Later ones were passed over when the run began.
        past = [folder for folder in self._newest_first() if step_of(folder) <= step_of(newest)]
        whole = [folder for folder in past if folder not in self._passed_over and is_complete(folder)]
        best = self.best(state, read=False) if state is not None else None
        for folder in past:
            if folder not in whole[: self.keep] and (best is None or folder != best[1]):
                # A checkpoint too many is no reason to end a run.
                shutil.rmtree(folder, ignore_errors=True)


def step_of(folder: Path) -> int:
    """The step of a checkpoint, by its name; -1 if it is none, or was being written."""
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdigit() else -1


def is_complete(folder: Path) -> bool:
    """Whether every file of a checkpoint is there with its size; quick, since nothing is read."""
    return find_problem(folder, read=False) is None


def find_problem(folder: Path, *, read: bool = True) -> str | None:
    """What is wrong with a checkpoint, in words, or None.

    Args:
        folder: The checkpoint.
        read: Compare contents with their hashes too.
    """
    try:
        files: dict[str, dict[str, Any]] = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        for name, about in files.items():
            size = (folder / name).stat().st_size
            if size != about["bytes"]:
                return f"{name} has {size:,} bytes instead of {about['bytes']:,}"
            if read and file_hash(folder / name) != about.get("hash"):
                return f"{name} does not hold what was written"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest cannot be read ({error})"
    return None


def read_checkpoint(folder: Path) -> tuple[TrainState, dict[str, Any]]:
    """What `Checkpoints.save` was given, without the model.

    Raises:
        StageError: the checkpoint is of another version.
    """
    # Generator states are tuples of numbers, which the loader for weights alone refuses.
    return read_state(folder), torch.load(folder / TENSORS, map_location="cpu", weights_only=False)


def read_state(folder: Path) -> TrainState:
    """Where the run stood that wrote a checkpoint.

    Raises:
        StageError: the checkpoint is of another version.
    """
    saved = json.loads((folder / STATE).read_text("utf-8"))
    try:
        return TrainState(**saved)
    except TypeError as error:
        raise StageError(
            f"{folder}: was written by another version ({error}). Use --overwrite to begin anew."
        ) from error


def _write_state(state: TrainState, folder: Path) -> None:
    (folder / STATE).write_text(json.dumps(state.to_json()), "utf-8")


def _write_manifest(folder: Path) -> None:
    manifest = folder / MANIFEST
    manifest.unlink(missing_ok=True)  # of an earlier one that was written over
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        _sync(path)
    about = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "hash": file_hash(path)}
        for path in files
    }
    manifest.write_text(json.dumps({"files": about}, indent=1) + "\n", "utf-8")
    _sync(manifest)
    _sync(manifest.parent)
    _sync(folder)


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether writing failed for want of space; safetensors and torch raise errors of their own then."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return os.strerror(errno.ENOSPC) in str(error) or shutil.disk_usage(folder).free < 1 << 20


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
