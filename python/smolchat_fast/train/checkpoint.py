"""Checkpoints: folders that are whole or absent.

`step-00001200/` is a plain model folder plus `trainer/`, which holds what a run needs to go on. The
manifest names every file with its size and is written last, into a folder under another name, so a
folder without one, or with other sizes, was never finished.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from smolchat_fast.errors import StageError
from smolchat_fast.stage import PARTIAL
from smolchat_fast.train.state import TrainState

MANIFEST = "trainer/manifest.json"
STATE = "trainer/state.json"
TENSORS = "trainer/tensors.pt"


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        """Look after the checkpoints in `folder` and keep the newest `keep`."""
        self.folder, self.keep = folder, keep

    def save(self, state: TrainState, save_model: Callable[[Path], None], tensors: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove the oldest ones.

        Args:
            state: Where the run stands.
            save_model: Writes the model and its tokenizer into the folder it is given.
            tensors: Optimizer, scaler and generator states.
        Returns:
            The new folder; an already complete one of the same step is left as it is.
        """
        final = self.folder / f"step-{state.step:08d}"
        if is_complete(final):
            return final
        partial = final.with_name(final.name + PARTIAL)
        for left_over in (final, partial):
            shutil.rmtree(left_over, ignore_errors=True)
        (partial / "trainer").mkdir(parents=True)
        save_model(partial)
        torch.save(tensors, partial / TENSORS)
        (partial / STATE).write_text(json.dumps(state.to_json()), "utf-8")
        _write_manifest(partial)
        partial.rename(final)
        _sync(self.folder)
        self._prune()
        return final

    def latest(self) -> Path | None:
        """The newest complete checkpoint."""
        return next((folder for folder in self._newest_first() if is_complete(folder)), None)

    def _newest_first(self) -> list[Path]:
        return sorted((p for p in self.folder.glob("step-*") if p.suffix != PARTIAL), reverse=True)

    def _prune(self) -> None:
        for folder in [f for f in self._newest_first() if is_complete(f)][self.keep :]:
            # A checkpoint too many is no reason to end a run.
            shutil.rmtree(folder, ignore_errors=True)


def is_complete(folder: Path) -> bool:
    """Whether every file of a checkpoint is there with its size."""
    try:
        sizes: dict[str, int] = json.loads((folder / MANIFEST).read_text("utf-8"))["bytes"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError):
        return False


def read_checkpoint(folder: Path) -> tuple[TrainState, dict[str, Any]]:
    """What `Checkpoints.save` was given, without the model.

    Raises:
        StageError: the checkpoint is of another version.
    """
    saved = json.loads((folder / STATE).read_text("utf-8"))
    try:
        state = TrainState(**saved)
    except TypeError as error:
        raise StageError(
            f"{folder}: was written by another version ({error}). Use --overwrite to begin anew."
        ) from error
    # Generator states are tuples of numbers, which the loader for weights alone refuses.
    return state, torch.load(folder / TENSORS, map_location="cpu", weights_only=False)


def _write_manifest(folder: Path) -> None:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in files:
        _sync(path)
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"bytes": sizes}, indent=1) + "\n", "utf-8")
    _sync(manifest)
    _sync(manifest.parent)
    _sync(folder)


def _sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
