"""How well tokenizers do on texts: one by one, or side by side over the sources of rows."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smolchat_fast.arguments import arguments
from smolchat_fast.errors import DataError, MissingExtraError
from smolchat_fast.progress import Progress, ignore
from smolchat_fast.stage import FOLDER, run_stage
from smolchat_fast.tokenizer.folder import load
from smolchat_fast.tokenizer.texts import rows_of_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHOWN = 20
"""Entries of a list that is shown: the longest ones, the rarest ones."""

BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def report(tokenizer: Tokenizer, texts: Sequence[str]) -> dict[str, Any]:
    """How well a tokenizer does on texts.

    Args:
        tokenizer: A tokenizer of `build_tokenizer` or `load`.
        texts: At least one text, best of rows that it was not built from.
    Returns:
        `tokens`, `characters`, `characters_per_token`; `unknown_share` and `byte_share` of the tokens;
        `round_trip_share` of the texts that come back unchanged; `mb_per_s` of UTF-8 encoded on all cores;
        `unreachable`, the entries that their own text does not give; `unused`, how many entries the texts
        never need; `longest` and `rarest`, some entries: of the rarest each is used at least once.
    """
    texts = list(texts)
    began = time.perf_counter()
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    seconds = time.perf_counter() - began
    ids = [encoding.ids for encoding in encodings]
    back = tokenizer.decode_batch(ids, skip_special_tokens=False)
    used = Counter(token for row in ids for token in row)
    tokens, characters = used.total(), sum(map(len, texts))
    vocabulary = tokenizer.get_vocab(with_added_tokens=False)
    special = {t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special}
    entries = {t: i for t, i in vocabulary.items() if t not in special and not BYTE.fullmatch(t)}
    bytes_used = sum(used[i] for t, i in vocabulary.items() if BYTE.fullmatch(t))
    rarest = sorted((used[i], t) for t, i in entries.items() if used[i])
    return {
        "vocab_size": tokenizer.get_vocab_size(),
        "tokens": tokens,
        "characters": characters,
        "characters_per_token": round(characters / max(tokens, 1), 4),
        "unknown_share": used[_unknown_id(tokenizer)] / max(tokens, 1),
        "byte_share": bytes_used / max(tokens, 1),
        "round_trip_share": sum(a == b for a, b in zip(back, texts, strict=True)) / max(len(texts), 1),
        "mb_per_s": round(sum(len(text.encode()) for text in texts) / 1e6 / max(seconds, 1e-9), 2),
        "unreachable": _unreachable(tokenizer, entries),
        "unused": sum(not used[i] for i in entries.values()),
        "longest": sorted(entries, key=lambda entry: (-len(entry), entry))[:SHOWN],
        "rarest": [entry for _, entry in rarest[:SHOWN]],
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Tokenizers side by side."""

    tokenizers: dict[str, dict[str, Any]]
    """What `report` says of each, by its name, over all texts."""
    by_source: dict[str, dict[str, float]]
    """Characters a token of each tokenizer, by the `source` of the rows."""
    texts: int
    """Texts tried."""

    def __str__(self) -> str:
        header = ["", *self.tokenizers]
        rows = [
            [label, *(shown(told) for told in self.tokenizers.values())] for label, shown in SHOWN_AS.items()
        ]
        rows += [
            [f"characters a token: {source}", *(f"{rates[name]:.3f}" for name in self.tokenizers)]
            for source, rates in self.by_source.items()
        ]
        widths = [max(_width(row[i]) for row in [header, *rows]) for i in range(len(header))]
        return "\n".join(
            "  ".join(_padded(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in [header, *rows]
        )


SHOWN_AS: Mapping[str, Any] = {
    "entries": lambda told: f"{told['vocab_size']:,}",
    "characters a token": lambda told: f"{told['characters_per_token']:.3f}",
    "unknown": lambda told: f"{told['unknown_share']:.3%}",
    "bytes": lambda told: f"{told['byte_share']:.3%}",
    "round trip": lambda told: f"{told['round_trip_share']:.2%}",
    "unreachable": lambda told: f"{len(told['unreachable']):,}",
    "unused here": lambda told: f"{told['unused']:,}",
    "MB/s": lambda told: f"{told['mb_per_s']:.1f}",
    "longest": lambda told: " ".join(map(repr, told["longest"][:1])),
    "rarest here": lambda told: " ".join(map(repr, told["rarest"][:3])),
}
"""Lines of the table that a comparison is shown as."""


@arguments
def compare_files(
    inputs: Sequence[Path],
    out: Path,
    *,
    tokenizers: tuple[Path, ...],
    columns: tuple[str, ...] = (),
    max_texts: int = 20_000,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Try tokenizers on the texts of row files, side by side and by source, and draw the lengths.

    Args:
        inputs: Row files, best ones that no tokenizer was built from.
        out: Folder: `report.json`, `report.txt`, and `histogram.png` of the tokens of a text.
        tokenizers: Tokenizer folders.
        columns: Columns that are read; none: every text column but `source`.
        max_texts: Texts of a source at most, the first ones.
        overwrite: Replace an output that was made otherwise.
        progress: Called with (phase, tokenizers done, in all).
    Returns:
        What is known of each.
    Raises:
        DataError: a file cannot be read, has a null or all have no rows, or a folder holds no tokenizer.
        ValueError: there are no inputs or no tokenizers, or one is named twice.
        MissingExtraError: matplotlib is not installed.
        StageError: `out` exists and was made otherwise.
    """
    tell = progress or ignore
    if not inputs:
        raise ValueError("no input files; give row files")
    if max_texts < 1:
        raise ValueError(f"option max_texts = {max_texts}: must be at least 1")
    named = _named(tokenizers)

    def work(partial: list[Path]) -> dict[str, Any]:
        sources: dict[str, list[str]] = {}
        for source, text in _texts_by_source(inputs, columns):
            known = sources.setdefault(source, [])
            if len(known) < max_texts:
                known.append(text)
        if not sources:
            raise DataError(f"{', '.join(map(str, inputs))}: no rows to try tokenizers on")
        told: dict[str, dict[str, Any]] = {}
        rates: dict[str, dict[str, float]] = {source: {} for source in sorted(sources)}
        lengths: dict[str, list[int]] = {}
        for done, (name, folder) in enumerate(named.items()):
            tell("try", done, len(tokenizers))
            tokenizer = load(folder)
            told[name] = report(tokenizer, [text for texts in sources.values() for text in texts])
            lengths[name] = []
            for source in rates:
                counts = [len(e.ids) for e in tokenizer.encode_batch_fast(sources[source])]
                lengths[name] += counts
                # Each text ends with one token more, which carries no text.
                tokens = sum(counts) - len(counts) * (len(tokenizer.encode("").ids))
                characters = sum(map(len, sources[source]))
                rates[source][name] = round(characters / max(tokens, 1), 4)
        texts = sum(map(len, sources.values()))
        comparison = Comparison(tokenizers=told, by_source=rates, texts=texts)
        draw_lengths(lengths, partial[0] / "histogram.png")
        (partial[0] / "report.txt").write_text(f"{comparison}\n", "utf-8")
        listed = json.dumps(asdict(comparison), ensure_ascii=False, indent=2)
        (partial[0] / "report.json").write_text(f"{listed}\n", "utf-8")
        return asdict(comparison)

    files = [folder / "tokenizer.json" for folder in tokenizers]
    asked = {"columns": columns, "max_texts": max_texts, "tokenizers": list(named)}
    finished = run_stage(
        "tokenizer report",
        out,
        work,
        makes=FOLDER,
        inputs=[*inputs, *files],
        options=asked,
        overwrite=overwrite,
    )
    return Comparison(**finished.report)


@arguments
def draw_lengths(lengths: Mapping[str, Sequence[int]], path: Path) -> None:
    """A histogram of the tokens of a text, one line a tokenizer.

    Args:
        lengths: Tokens of each text, by the name of the tokenizer.
        path: PNG file.
    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a histogram needs one more package: pip install matplotlib") from error
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    longest = max([2, *(max(counts, default=1) for counts in lengths.values())])
    edges = [longest ** (i / 60) for i in range(61)]
    for name, counts in lengths.items():
        mean = sum(counts) / max(len(counts), 1)
        axes.hist(counts, bins=edges, histtype="step", linewidth=1.5, label=f"{name}: mean {mean:.0f}")
    axes.set(xscale="log", xlabel="tokens of a text", ylabel="texts")
    axes.legend()
    figure.savefig(path, dpi=120)


def _named(folders: Sequence[Path]) -> dict[str, Path]:
    """Each folder by the shortest end of its path that tells it from the others."""
    whole = [folder.resolve() for folder in folders]
    twice = [str(folder) for i, folder in enumerate(folders) if whole[i] in whole[:i]]
    if twice or not folders:
        shown = f"{', '.join(twice)}: named twice" if twice else "none is named; give folders"
        raise ValueError(f"option tokenizers: {shown}")
    parts = 1
    while len(named := {"/".join(path.parts[-parts:]): path for path in whole}) < len(whole):
        parts += 1
    return named


def _texts_by_source(inputs: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Texts with the `source` of their row, or the name of their file."""
    for path in inputs:
        for rows, texts in rows_of_files([path], columns):
            named = "source" in rows.column_names
            sources = rows.column("source").to_pylist() if named else [path.stem] * rows.num_rows
            for column in texts.columns:
                yield from zip(map(str, sources), column.to_pylist(), strict=True)


def _unknown_id(tokenizer: Tokenizer) -> int:
    """The id of the unknown token; -1, which no text gives, if there is none."""
    unknown = tokenizer.token_to_id(getattr(tokenizer.model, "unk_token", None) or "[UNK]")
    return -1 if unknown is None else unknown


def _unreachable(tokenizer: Tokenizer, entries: Mapping[str, int]) -> list[str]:
    """Entries that the text they stand for does not give."""
    ids = sorted(entries.values())
    texts = [tokenizer.decode([i], skip_special_tokens=False) for i in ids]
    encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return [
        tokenizer.id_to_token(i) or ""
        for i, text, got in zip(ids, texts, encodings, strict=True)
        # Half a character, as byte-level tokenizers have it, has no text of its own.
        if got.ids != [i] and "\ufffd" not in text
    ]


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    return sum(2 if "\u1100" <= c <= "\uffdc" else 1 for c in text)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
