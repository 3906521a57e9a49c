"""Tokens a second of the serving engine beside `generate` of transformers and CTranslate2.

Random weights: how good the answers are plays no part in the time they take. All contenders get the same
prompts, choose greedily and write the same number of tokens; float32 must give the very tokens of
`generate`. Each runs in a process of its own; the best of the repeats counts. A line is printed as soon as
it is measured; words on the command line choose contenders whose names hold one of them:

    python -m benches.peers.serve int8 'transformers bfloat16' --batches 1 4 --repeats 1

Without such words the load of `serve_load` follows, and what was printed goes to `docs/figures.md`, unless
`--preset` or `--seconds` make it another measurement. All of it in little time, to see that it runs:

    python -m benches.peers.serve --preset demo --batches 1 --repeats 1 --seconds 3
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

from benches.peers import figures, serve_load

from smolchat_fast import _core

Answers = list[list[int]]
Answerer = Callable[[Sequence[list[int]]], Answers]

NEW = 64


@dataclass(frozen=True)
class Setting:
    """What is measured."""

    preset: str = "0.2b"
    vocabulary: int = 29_298
    prompt: int = 32
    batches: tuple[int, ...] = (1, 4, 16)
    repeats: int = 3
    threads: int = os.cpu_count() or 1
    seconds: float = 15.0
    """How long people arrive in each open loop."""


def make_model(folder: Path, setting: Setting) -> None:
    """Write a model with random weights whose answers vary."""
    import torch
    from transformers import T5ForConditionalGeneration

    from smolchat_fast.model import t5_config
    from smolchat_fast.model_options import ModelOptions

    torch.manual_seed(1)
    model = T5ForConditionalGeneration(t5_config(ModelOptions(preset=setting.preset), setting.vocabulary))  # type: ignore[arg-type]
    model.save_pretrained(folder)


def pack_model(folder: Path) -> None:
    """Keep the int8 matrices beside the model, as a first start does."""
    from transformers import T5Config

    from smolchat_fast.serve.pack import load
    from smolchat_fast.serve.weights import Weights

    with Weights(folder, T5Config.from_pretrained(folder)) as weights:
        load(weights)


def libraries_mb() -> float:
    """Memory of a process that has only imported what serving needs of torch and transformers."""
    import smolchat_fast.serve.loading  # noqa: F401

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def prompts(setting: Setting, count: int) -> list[list[int]]:
    """Prompts of random tokens, `[EOS]` at their end."""
    draw = random.Random(count)
    return [
        [*(draw.randrange(300, setting.vocabulary) for _ in range(setting.prompt - 1)), 1]
        for _ in range(count)
    ]


def ours(precision: str) -> Callable[[Path, Setting], Answerer]:
    """The engine, with everything but HTTP and text."""

    def build(folder: Path, setting: Setting) -> Answerer:
        import torch
        from transformers import T5Config

        from smolchat_fast.serve.decoder import T5Decoder
        from smolchat_fast.serve.engine import Engine, Limits
        from smolchat_fast.serve.loading import build_network
        from smolchat_fast.serve.options import Decoding
        from smolchat_fast.serve.weights import Weights

        torch.set_num_threads(setting.threads)
        with Weights(folder, T5Config.from_pretrained(folder)) as weights:
            network = build_network(weights, "cpu", precision, setting.threads)  # type: ignore[arg-type]
        decoder = T5Decoder(network, _Spelled(), 0, frozenset())  # type: ignore[arg-type]
        engine = Engine(decoder, Limits(max_running=max(setting.batches), cache_mb=4096))

        def answer(batch: Sequence[list[int]]) -> Answers:
            answers = engine.submit_all(batch, [Decoding(max_new_tokens=NEW)] * len(batch))
            return [list(map(ord, "".join(each))) for each in answers]

        return answer

    return build


class _Spelled:
    """Tokens as characters of the same number, so that text is no work."""

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))


def transformers_generate(dtype: str) -> Callable[[Path, Setting], Answerer]:
    """`generate` as its users call it."""

    def build(folder: Path, setting: Setting) -> Answerer:
        import torch
        from transformers import T5ForConditionalGeneration

        torch.set_num_threads(setting.threads)
        model = T5ForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
        model.generation_config.eos_token_id = None

        def answer(batch: Sequence[list[int]]) -> Answers:
            found = model.generate(
                input_ids=torch.tensor(batch), max_new_tokens=NEW, do_sample=False, decoder_start_token_id=0
            )
            return [row[1:] for row in found.tolist()]

        return answer

    return build


def ctranslate2_int8(threads: int, replicas: int) -> Callable[[Path, Setting], Answerer]:
    """CTranslate2, its batch split among replicas."""

    def build(folder: Path, setting: Setting) -> Answerer:
        import ctranslate2
        from ctranslate2.converters import TransformersConverter

        converted = folder.with_name("ctranslate2")
        names = [f"t{token}" for token in range(setting.vocabulary)]
        if not converted.exists():
            _converter(TransformersConverter, names)(str(folder)).convert(str(converted), quantization="int8")
        translator = ctranslate2.Translator(
            str(converted), inter_threads=replicas, intra_threads=threads, compute_type="int8"
        )

        def answer(batch: Sequence[list[int]]) -> Answers:
            found = translator.translate_batch(
                [[names[token] for token in prompt] for prompt in batch],
                beam_size=1,
                max_decoding_length=NEW,
                min_decoding_length=NEW,
                max_batch_size=-(-len(batch) // replicas),
            )
            return [[int(token[1:]) for token in each.hypotheses[0]] for each in found]

        return answer

    return build


def _converter(base: type, names: list[str]) -> type:
    """Its converter, for a folder without a tokenizer."""

    class Tokenizer:
        pad_token, eos_token, unk_token, bos_token = names[0], names[1], names[6], names[3]

        def get_vocab(self) -> dict[str, int]:
            return {name: token for token, name in enumerate(names)}

        def convert_ids_to_tokens(self, token: int) -> str:
            return names[token]

    class Converter(base):  # type: ignore[misc]
        def load_tokenizer(self, *_: object, **__: object) -> Tokenizer:
            return Tokenizer()

    return Converter


def contenders(setting: Setting) -> dict[str, Callable[[Path, Setting], Answerer]]:
    """All of them, by the name they are listed under."""
    threads = setting.threads
    return {
        "smolchat-fast float32": ours("float32"),
        "smolchat-fast int8": ours("int8"),
        "transformers float32": transformers_generate("float32"),
        "transformers bfloat16": transformers_generate("bfloat16"),
        f"ctranslate2 int8, {threads} threads": ctranslate2_int8(threads, 1),
        f"ctranslate2 int8, {threads} x 1 thread": ctranslate2_int8(1, threads),
    }


@dataclass(frozen=True)
class Speed:
    """What one contender did."""

    tokens_s: list[float]
    peak_mb: float
    answers: list[Answers]


def measure(name: str, folder: Path, setting: Setting) -> Speed:
    """Run one contender; to be called in a fresh process."""
    answer = contenders(setting)[name](folder, setting)
    answer(prompts(setting, 1))  # warm
    speeds, answers = [], []
    for count in setting.batches:
        batch, best = prompts(setting, count), 0.0
        for _ in range(setting.repeats):
            began = time.perf_counter()
            found = answer(batch)
            best = max(best, count * NEW / (time.perf_counter() - began))
        speeds.append(best)
        answers.append(found)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Speed(speeds, peak, answers)


def run(setting: Setting = Setting(), chosen: Sequence[str] = ()) -> Iterator[str]:
    """A table of contenders, line by line as they are measured.

    Args:
        setting: What is measured.
        chosen: Only contenders whose names hold one of these; all by default.
    """
    yield (
        f"serve: {setting.preset}, prompt {setting.prompt}, {NEW} new tokens, {setting.threads} threads, best of {setting.repeats}, "
        f"int8 by {_core.infer_kernels()[0]}, {platform.machine()}, {_versions()}\n"
    )
    yield f"| engine | {' | '.join(f'batch {count}' for count in setting.batches)} | peak MB |"
    yield f"| --- | {'---: | ' * (len(setting.batches) + 1)}".rstrip()
    answers: dict[str, list[Answers]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(make_model, folder, setting).result()
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            pool.submit(pack_model, folder).result()
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            imported = pool.submit(libraries_mb).result()
        for name in contenders(setting):
            if chosen and not any(word in name for word in chosen):
                continue
            try:
                with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                    speed = pool.submit(measure, name, folder, setting).result()
            except Exception as error:
                reason = (str(error) or type(error).__name__).splitlines()[0][:80]
                yield f"| {name} | not run: {type(error).__name__}: {reason} |"
                continue
            answers[name] = speed.answers
            yield f"| {name} | {' | '.join(f'{each:,.0f}' for each in speed.tokens_s)} | {speed.peak_mb:,.0f} |"
        yield f"\nOf the peak, importing what `serve` needs of torch and transformers takes {imported:,.0f} MB by itself."
        reference = answers.get("transformers float32") or answers.get("smolchat-fast float32")
        for name in ("smolchat-fast float32", "smolchat-fast int8"):
            if reference and name in answers and answers[name] is not reference:
                yield f"{name}: {agreement(reference, answers[name])}"
        if not chosen:
            yield from serve_load.run(folder, setting.threads, setting.seconds)


def agreement(reference: list[Answers], found: list[Answers]) -> str:
    """How many answers are the reference's, and how far into an answer the first other token comes."""
    pairs = [pair for x, y in zip(reference, found, strict=True) for pair in zip(x, y, strict=True)]
    same = sum(a == b for a, b in pairs)
    until = [next((i for i, (p, q) in enumerate(zip(a, b, strict=True)) if p != q), NEW) for a, b in pairs]
    return (
        f"the tokens of float32's `generate` in {same} of {len(pairs)} answers; "
        f"{sum(until) / (NEW * len(pairs)):.1%} of all tokens come before the first other one"
    )


def _versions() -> str:
    found = []
    for name in ("torch", "transformers", "ctranslate2"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def main() -> None:
    """Print the table."""
    standard = Setting()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*")
    parser.add_argument("--preset", default=standard.preset)
    parser.add_argument("--batches", type=int, nargs="+", default=standard.batches)
    parser.add_argument("--repeats", type=int, default=standard.repeats)
    parser.add_argument("--threads", type=int, default=standard.threads)
    parser.add_argument("--seconds", type=float, default=standard.seconds)
    given = parser.parse_args()
    setting = Setting(
        preset=given.preset,
        batches=tuple(given.batches),
        repeats=given.repeats,
        threads=given.threads,
        seconds=given.seconds,
    )
    lines = []
    for line in run(setting, given.names):
        print(line, flush=True)
        lines.append(line)
    same = (setting.preset, setting.seconds) == (standard.preset, standard.seconds)
    if same and not given.names:
        figures.save("serve", "\n".join(lines))


if __name__ == "__main__":
    main()
