"""Whole or absent, and never twice: how every stage, data and training alike, writes its output.

A stage writes to `NAME.partial` and renames at the end. Beside a file stands `NAME.manifest.json`, in
a folder `manifest.json`: inputs and outputs with hashes, options, counts, version. A second run with the same
inputs and options reads the report back instead of working again, unless an output is missing; with
others it refuses to overwrite. What is read, and a folder that this program did not make, it never removes.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from smolchat_fast import _core
from smolchat_fast.errors import StageError

PARTIAL = ".partial"
INT8_PACK = "int8.pack"
"""What `serve` keeps beside a model."""
MANIFEST = "manifest.json"
BEGUN = "begun.json"
"""In a partial folder, what it was begun with; in one that is being removed, what it was finished with."""
NOT_OUTPUT = (MANIFEST, BEGUN, INT8_PACK)
"""Files of a folder that are not what was made: they say how, or can be made again."""
LOGS = ("metrics.jsonl", "curves.png", "curves.html", "card.md", "smolchat-fast")
"""Files of a folder, and what a tracker writes there, with times in them: other on each run, and no part of its hash."""

PARQUET = (".parquet",)
"""The endings of files that most stages write."""
FOLDER: tuple[str, ...] = ()
"""What a stage writes that makes a folder."""
FORMATS = frozenset(
    [
        ".arrow",
        ".bz2",
        ".csv",
        ".feather",
        ".gguf",
        ".gz",
        ".json",
        ".jsonl",
        ".model",
        ".ndjson",
        ".parquet",
        ".tsv",
        ".txt",
        ".xz",
        ".zip",
        ".zst",
    ]
)
"""Endings that say what a file holds."""

Report = dict[str, Any]
"""What a stage tells of its work, as JSON types: counts, reasons, measures."""


@dataclass(frozen=True)
class Finished:
    """A finished stage."""

    report: Report
    """What the stage told, the same when read back later."""
    skipped: bool
    """True if an earlier run had done it."""
    seconds: float
    """Wall time of the run that did it."""
    peak_mb: float
    """Peak memory of the process up to the end of the stage, in MiB."""


def run_stage(
    name: str,
    out: Path,
    work: Callable[[list[Path]], Report],
    *,
    makes: Sequence[str] = PARQUET,
    inputs: Sequence[Path] = (),
    options: Any = None,
    also: Sequence[Path] = (),
    overwrite: bool = False,
    resumable: bool = False,
    scratch: Sequence[str] = (),
    result: str | None = None,
) -> Finished:
    """Run `work` unless its output is already there.

    Args:
        name: The stage's noun, as in `dedup`.
        out: File or folder that the stage makes.
        work: Called with the partial paths of `out` and of each of `also`; returns its report. A partial folder is
            there already.
        makes: Endings that the name of a file may have, or `FOLDER`.
        inputs: Files or folders read; their content counts, not their names.
        options: A dataclass, or a mapping of names to dataclasses and JSON values: those that decide the result.
            How many threads or how much memory a stage takes does not, and files that are read are inputs.
        also: Further outputs, for example the removed rows.
        overwrite: Replace an output that was made otherwise, or a file of somebody else; never a folder of theirs.
        resumable: Keep the partial output of an interrupted run, a folder, for `work` to go on with.
        scratch: Folders in it that are for going on alone: no part of what is made, they go once it is published.
        result: File of that folder that becomes `out`, if `out` is a file; the rest of it goes.
    Raises:
        StageError: an output is there and was made from other inputs or options, or by something else; or
            a resumable stage was begun with others; or an output would take the place of what is read.
        ValueError: the name of an output says another format.
        FileNotFoundError: an input is missing.
    """
    finals = [out, *also]
    refuse_loss(finals, inputs, makes)
    wanted = _fingerprint(name, inputs, options)
    made = read_manifest(out)
    if made is not None and not (overwrite and differences(made, wanted)):
        _refuse_if_different(out, made, wanted)
        if all(path.exists() and _name(path, out) in _outputs(made) for path in also):
            _remove(*(out / name for name in scratch))
            return Finished(made["report"], True, made["seconds"], made["peak_mb"])
    if not overwrite:
        _refuse_foreign(out, also)

    partials = [_partial(path) for path in finals]
    if not resumable:
        _remove(*partials)
    out.parent.mkdir(parents=True, exist_ok=True)
    if result or not makes:
        _take_up(partials[0], wanted, overwrite=overwrite)
    began = time.monotonic()
    try:
        report = json.loads(json.dumps(work(partials)))
        made_now = [partials[0] / result, *partials[1:]] if result else partials
        manifest = wanted | {
            # The hash of what was made: who runs the same recipe on the same inputs can compare.
            "outputs": [
                {"name": _name(final, out), "hash": file_hash(path, scratch)}
                for final, path in zip(finals, made_now, strict=True)
                if path.exists()
            ],
            "report": report,
            "seconds": round(time.monotonic() - began, 3),
            "peak_mb": round(peak_mb(), 1),
        }
        _publish(finals, made_now, manifest)
    except BaseException:
        if not resumable:
            _remove(*partials, manifest_path(partials[0]))
        raise
    _remove(*(out / name for name in scratch))
    if result:
        _remove(partials[0])
    return Finished(report, False, manifest["seconds"], manifest["peak_mb"])


def refuse_loss(finals: Sequence[Path], inputs: Sequence[Path], makes: Sequence[str]) -> None:
    """Refuse, whatever may be overwritten, to lose what is read or a folder that this program did not make.

    Args:
        finals: The outputs; the first may be a folder.
        inputs: What is read.
        makes: Endings that the names of files may have, or `FOLDER`.
    Raises:
        StageError: an output is, holds or lies in an input, or is such a folder.
        ValueError: its name says another format.
    """
    for number, path in enumerate(finals):
        makes_folder = not makes and number == 0
        if not makes_folder and path.suffix.lower() in FORMATS.difference(makes):
            raise ValueError(f"{path}: cannot be written in this format; name it {' or '.join(makes)}")
        for other in (*inputs, *finals[:number]):
            if _overlap(path, other) or _overlap(_partial(path), other):
                raise StageError(
                    f"{path} would take the place of {other}, or lie in it. Name another output."
                )
        if path.exists() and path.is_dir() != makes_folder:
            found, made = ("file", "folder") if makes_folder else ("folder", "file")
            raise StageError(f"{path} is a {found}, and a {made} is made here. Name another output.")
        for place in (path, _partial(path)):
            if place.is_dir() and not _is_ours(place):
                raise StageError(f"{place} is a folder that this program did not make. Name another output.")


def refuse_several_processes(stage: str) -> None:
    """Refuse to run as one of several processes that would all do and write the same.

    Raises:
        StageError: `torchrun` or `accelerate launch` started several.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1:
        raise StageError(
            f"{stage} is for one process; this is one of {processes}: leave out torchrun or accelerate launch"
        )


def read_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of a finished stage, or None if `out` is not whole."""
    return _read_json(manifest_path(out)) if out.exists() else None


def manifest_path(out: Path) -> Path:
    """Where the manifest of `out` stands."""
    return out / MANIFEST if out.is_dir() else out.with_name(f"{out.name}.{MANIFEST}")


def peak_mb() -> float:
    """Peak resident memory of this process, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def to_json(options: Any) -> Any:
    """Options as JSON types: dataclasses become mappings, paths their text."""
    if is_dataclass(options) and not isinstance(options, type):
        return to_json(asdict(options))
    if isinstance(options, Mapping):
        return {str(key): to_json(value) for key, value in options.items()}
    if isinstance(options, (list, tuple)):
        return [to_json(value) for value in options]
    return str(options) if isinstance(options, Path) else options


def file_hash(path: Path, scratch: Sequence[str] = ()) -> str:
    """Hash of what a file holds: BLAKE3, as `b3sum` prints it.

    Of a folder: SHA-256 of the names and hashes of its files, without those that say how it was made, without
    its logs and without the folders `scratch` in it: the same on each run that makes the same.
    """
    if not path.is_dir():
        return _core.file_hash(path)
    digest = hashlib.sha256()
    for child in output_files(path):
        name = child.relative_to(path)
        if name.parts[0] not in (*LOGS, *scratch):
            digest.update(f"{name.as_posix()}\0{file_hash(child)}\0".encode())
    return digest.hexdigest()


def output_files(folder: Path) -> list[Path]:
    """The files that were made, without those that say how, at any depth."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_OUTPUT)


def _fingerprint(name: str, inputs: Sequence[Path], options: Any) -> dict[str, Any]:
    return {
        "stage": name,
        "version": _core.version(),
        "options": to_json(options) or {},
        "inputs": [{"name": path.name, "hash": file_hash(path)} for path in inputs],
    }


def _refuse_if_different(out: Path, made: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    changes = differences(made, wanted)
    if changes:
        raise StageError(
            f"{out} exists and differs in: {'; '.join(changes)}. Use --overwrite, or another --out."
        )


def _overlap(one: Path, other: Path) -> bool:
    """Whether they are one file or folder, or one of them lies in the other."""
    one, other = one.resolve(), other.resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def _is_ours(folder: Path) -> bool:
    """Whether this program made or began a folder; nobody misses an empty one."""
    manifest = _read_json(folder / MANIFEST)
    finished = isinstance(manifest, dict) and {"stage", "outputs"} <= manifest.keys()
    return finished or any(folder.glob(f"{BEGUN}*")) or not any(folder.iterdir())


def _refuse_foreign(out: Path, also: Sequence[Path]) -> None:
    """Refuse to replace what no manifest names; that of a killed run names its further outputs too."""
    known = _outputs(_read_json(manifest_path(out)))
    for path in (out, *also):
        if path.exists() and _name(path, out) not in known:
            raise StageError(
                f"{path} exists but was not finished by this program. Use --overwrite, or name another file."
            )


def _name(output: Path, out: Path) -> str:
    """What the manifest of `out` calls an output: its place as seen from there."""
    return Path(os.path.relpath(output, out.parent)).as_posix()


def _outputs(manifest: Mapping[str, Any] | None) -> set[str]:
    """Names of what was made."""
    return {output["name"] for output in (manifest or {}).get("outputs", ())}


def differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """In words, what of a manifest is not as wanted."""
    if made.get("stage") != wanted["stage"]:
        return [f"stage ({made.get('stage')} -> {wanted['stage']})"]
    changes = []
    if made.get("version") != wanted["version"]:
        changes.append(f"version ({made.get('version')} -> {wanted['version']})")
    before, after = _flat(made.get("options", {})), _flat(wanted["options"])
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            changes.append(f"{key} ({before.get(key)} -> {after.get(key)})")
    # Earlier manifests hold other hashes, under another name: their inputs count as changed.
    was = [(i.get("hash", ""), i["name"]) for i in made.get("inputs", [])]
    now = [(i["hash"], i["name"]) for i in wanted["inputs"]]
    if [h for h, _ in was] != [h for h, _ in now]:
        changed = dict(was).keys() ^ dict(now).keys()
        names = sorted({name for h, name in (*was, *now) if h in changed})
        changes.append(f"inputs ({', '.join(names) or 'their number or order'})")
    return changes


def _flat(options: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(options, Mapping):
        return {prefix: options}
    flat: dict[str, Any] = {}
    for key, value in options.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _partial(path: Path) -> Path:
    return path.with_name(path.name + PARTIAL)


def _take_up(partial: Path, wanted: dict[str, Any], *, overwrite: bool) -> None:
    """Begin a partial folder, or go on with one that was begun with the same inputs and options.

    Hours of work may be in one that was begun otherwise, so only `overwrite` removes it.
    """
    begun = partial / BEGUN
    if partial.exists():
        before = _read_json(begun)
        changes = ["what it was begun with"] if before is None else differences(before, wanted)
        if changes and begun.exists() and not overwrite:
            raise StageError(
                f"{partial} was begun with other options or inputs: {'; '.join(changes)}. Use those to go on, "
                "--overwrite to begin anew, or another --out."
            )
        if changes:
            _remove(partial)
    partial.mkdir(parents=True, exist_ok=True)
    _write_synced(begun, json.dumps(wanted, ensure_ascii=False))


def _publish(finals: Sequence[Path], partials: Sequence[Path], manifest: Mapping[str, Any]) -> None:
    """Move the partial outputs to their names; the first, which makes the stage finished, last.

    The manifest is written before anything else changes, so a full disk costs nothing that was made. It is
    in its place before the further outputs are, so a run that is killed in between knows them again.
    """
    (out, *also), (partial, *others), draft = finals, partials, manifest_path(partials[0])
    _write_synced(draft, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    _remove(out)
    if not partial.is_dir():
        draft.replace(manifest_path(out))
    for final, other in zip(also, others, strict=True):
        if other.exists():
            _remove(final)
            other.replace(final)
    partial.replace(out)
    if out.is_dir():
        (out / BEGUN).unlink(missing_ok=True)  # only now: without it a partial folder is thrown away


def _read_json(path: Path) -> Any:
    """What a JSON file holds; None if it is not there or damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A write that fails, as on a full disk, names the file; Python alone names it only when it is opened."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def _write_synced(path: Path, text: str) -> None:
    draft = path.with_name(path.name + ".draft")
    try:
        with naming(draft), draft.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            # Half a folder is not taken for a finished one, and known to be ours to the last.
            with suppress(FileNotFoundError):
                (path / MANIFEST).replace(path / BEGUN)
            _remove(*(child for child in path.iterdir() if child.name != BEGUN))
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
