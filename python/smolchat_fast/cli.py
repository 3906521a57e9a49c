"""The front door: a table of commands, each made from the signature of one library function.

A command's module is imported only when it is chosen, so `smolchat-fast` itself and the data commands
start without torch. Flags, help texts and defaults come from the function and its option dataclasses.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from smolchat_fast import __version__, progress
from smolchat_fast.errors import USER_ERRORS, MissingExtraError, StoppedError
from smolchat_fast.stage import read_manifest

PROG = "smolchat-fast"


@dataclass(frozen=True)
class Command:
    """One line of the table."""

    module: str
    function: str
    help: str
    group: str


COMMANDS: dict[str, Command] = {
    "demo": Command("demo", "demo", "make a chat model from built-in data, before your eyes", "start here"),
    "run": Command(
        "pipeline", "run_recipe", "the same with your own data: every stage of a recipe", "start here"
    ),
    "doctor": Command(
        "doctor", "diagnose", "what a recipe needs: parameters, memory, disk, time", "start here"
    ),
    "sources": Command("sources", "read_files", "raw files of any format and encoding to rows", "data"),
    "sources list": Command("sources.sets", "list_sets", "public data sets that have a reader", "data"),
    "sources show": Command("sources.sets", "show_set", "format, rule, licence and size of one", "data"),
    "sources read": Command(
        "sources.reading", "read_set_files", "its raw files to the rows of its rule", "data"
    ),
    "sources fetch": Command("sources.fetching", "fetch_set", "download it; goes on after a break", "data"),
    "clean": Command("clean", "clean_files", "clean rows by named rules, say what changed", "data"),
    "dedup": Command(
        "dedup", "deduplicate_files", "drop exact and near duplicates, name the kept row", "data"
    ),
    "passages": Command("passages", "cut_passages_files", "plain text to prompts and how they go on", "data"),
    "count": Command("words", "count_words_files", "count words as jieba does", "data"),
    "count merge": Command("words", "merge_files", "add up the counts of several parts of a corpus", "data"),
    "tokenizer": Command("tokenizer", "build_tokenizer_files", "build a lossless tokenizer", "data"),
    "tokenizer report": Command("tokenizer", "compare_files", "try tokenizers side by side", "data"),
    "tokenizer export": Command(
        "tokenizer", "export_files", "a tokenizer as other programs read it: sentencepiece, GGUF", "data"
    ),
    "encode": Command("tokenizer", "encode_files", "rows to token ids, once for many epochs", "data"),
    "split": Command("split", "split_files", "part rows into training and validation rows", "data"),
    "stats": Command("stats", "stats_files", "rows, lengths, duplicates, share of Chinese", "data"),
    "pretrain": Command("train", "pretrain_files", "train from scratch, text to text", "training"),
    "sft": Command("train", "sft_files", "fine-tune a model on instructions", "training"),
    "reject": Command("preference", "reject_files", "let a model write the rejected answers", "training"),
    "dpo": Command("preference", "dpo_files", "prefer the chosen answers (full or LoRA)", "training"),
    "merge": Command("preference", "merge_files", "merge a LoRA adapter, and prove the merge", "training"),
    "evaluate": Command("evaluate", "evaluate_files", "loss, exact match, BLEU-4: one card", "use"),
    "plot": Command("train.curves", "plot_files", "curves of training runs, side by side", "use"),
    "chat": Command("serve", "chat", "talk to a model in the terminal", "use"),
    "serve": Command("serve", "serve", "talk to a model over HTTP and in a web page", "use"),
}


def overview() -> str:
    """What a user sees who types no command."""
    lines = [
        f"{PROG} {__version__}: raw Chinese text to a chat model you can talk to",
        "",
        "  First:  smolchat-fast demo          makes a small model in a few minutes, no data needed",
        "  Then:   smolchat-fast chat runs/demo/model",
        "  Yours:  smolchat-fast run 0.2b --out runs/mine --data.pretrain 'my/*.jsonl'",
    ]
    width = max(map(len, COMMANDS))
    for group in dict.fromkeys(command.group for command in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}} {c.help}" for name, c in COMMANDS.items() if c.group == group]
    return "\n".join([*lines, "", f"`{PROG} COMMAND --help` tells the options of a command."])


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done or saved on request, 2 bad input, 130 stopped by Ctrl+C."""
    raise SystemExit(_run(list(sys.argv[1:] if argv is None else argv)))


def _run(arguments: list[str]) -> int:
    name, *rest = arguments or ["--help"]
    if rest and f"{name} {rest[0]}" in COMMANDS:
        # A file of that name is meant by `./list`.
        name, rest = f"{name} {rest[0]}", rest[1:]
    again = shlex.join([PROG, *arguments])
    try:
        if name in {"-h", "--help", "help"}:
            print(overview())
        elif name in {"-V", "--version"}:
            print(f"{PROG} {__version__}")
        elif (report := parse(name, rest)()) is not None and is_main_process():
            print(report)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output is gone (`| head`); nothing is left to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except USER_ERRORS as error:
        if is_main_process():
            print(f"error: {_told(error)}", file=sys.stderr)
        return 2
    except StoppedError as stopped:
        # It did what was asked of it, and nothing is lost: no failure to a job scheduler.
        if is_main_process():
            print(f"\n{stopped}\n  {again}", file=sys.stderr)
        return 0
    except KeyboardInterrupt as interrupt:
        told = str(interrupt) or "stopped; nothing is half-written, the same command goes on:"
        print(f"\n{told}\n  {again}", file=sys.stderr)
        return 130
    return 0


def parse(name: str, arguments: Sequence[str]) -> Callable[[], Any]:
    """The call that a command line stands for; its options are read and checked, nothing is run."""
    command = COMMANDS.get(name)
    if command is None:
        raise ValueError(f"no command is called {name!r}. The commands: {', '.join(COMMANDS)}")
    function = getattr(importlib.import_module(f"smolchat_fast.{command.module}"), command.function)
    defaults, arguments = _take_recipe(function, list(arguments))
    chosen: dict[str, Any] = _tyro().cli(_flags(function, defaults), prog=f"{PROG} {name}", args=arguments)
    quiet = chosen.pop("quiet", False) or not is_main_process()
    out: Path | None = chosen.get("out")
    accepted = inspect.signature(function).parameters
    if "tell" in accepted and not quiet:
        chosen["tell"] = print

    def call() -> Any:
        made = read_manifest(out) if out else None
        if "progress" in accepted:
            with progress.shown(name, quiet=quiet) as shown:
                report = function(**chosen, progress=shown)
        else:
            report = function(**chosen)
        if out and made and not quiet and made == read_manifest(out):
            print(f"{out} was made before, in {made['seconds']:.1f} s; nothing was done.", file=sys.stderr)
        return report

    return call


def _take_recipe(function: Callable[..., Any], arguments: list[str]) -> tuple[dict[str, Any], list[str]]:
    """A leading recipe file gives the defaults of the flags that follow it."""
    if (
        "recipe" not in inspect.signature(function).parameters
        or not arguments
        or arguments[0].startswith("-")
    ):
        return {}, arguments
    from smolchat_fast.recipe import read_recipe

    return {"recipe": read_recipe(Path(arguments[0]))}, arguments[1:]


def _flags(function: Callable[..., Any], defaults: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """The function's parameters as flags: inputs by position, options without a prefix, `--quiet`."""
    conf = _tyro().conf
    hints = get_type_hints(function)
    parameters = []
    for name, parameter in inspect.signature(function).parameters.items():
        hint, default = hints[name], defaults.get(name, parameter.default)
        if name in {"progress", "tell"}:
            continue
        if name == "inputs":
            hint = conf.Positional[tuple[Path, ...]]
        elif name == "text":
            hint = conf.Positional[hint]
        elif name in {"options", "recipe"}:
            hint = Annotated[hint, conf.arg(name="")]
        elif parameter.default is inspect.Parameter.empty and name != "out":
            hint = conf.Positional[hint] if parameter.kind is not inspect.Parameter.KEYWORD_ONLY else hint
        parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        )
    if "progress" in hints:
        quiet = inspect.Parameter("quiet", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=bool)
        parameters.append(quiet)

    def chosen(**values: Any) -> dict[str, Any]:
        return values

    chosen.__doc__ = (inspect.getdoc(function) or "").replace(
        "Args:\n", "Args:\n    quiet: Show no progress.\n"
    )
    chosen.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    chosen.__annotations__ = {p.name: p.annotation for p in parameters}
    return chosen


def is_main_process() -> bool:
    """Whether this is the process that talks, if a launcher like torchrun started several."""
    return os.environ.get("RANK", "0") == "0"


def _tyro() -> Any:
    try:
        import tyro
    except ImportError as error:
        raise MissingExtraError("commands need one more package: pip install 'smolchat-fast[cli]'") from error
    return tyro


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename2 or error.filename}: {error.strerror}"  # of a copy, the file that is written
    return str(error)
