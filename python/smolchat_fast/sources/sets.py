"""The public data sets by name: where they are, how they look, which of their rows are worth keeping.

A rule reads as its published description, with its faults mended: the `input` of an instruction counts, a
description that repeats its title is told by comparing texts and not sets of characters, CSV goes through a
parser, and nothing is cut in the middle of a sentence. Addresses, licences and counts are those of the
publishers' pages and of the README of ChatLM-mini-Chinese, which tells the rows that it kept; what was not found
there says "not verified".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from smolchat_fast.sources.options import SourceOptions

TRANSLATION = ("翻译", "translate", "译成", "译为", "英译", "中译", "双语")
TABLES = ("表格", "-----")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which rows are kept; lengths in characters."""

    min_score: int = 0
    """Lowest score; the first field of the prompt, which goes away."""
    min_prompt: int = 1
    max_prompt: int = 0
    """0: any length."""
    min_response: int = 1
    """Of a preference row: of each answer."""
    max_response: int = 0
    without: tuple[str, ...] = ()
    """Words that a prompt may not hold; `-----` counts in the response too."""
    different_answers: bool = False
    """The chosen answer must be another one than the rejected one."""
    line_ends: bool = False
    r"""Make the two characters `\n` a line end."""

    def __str__(self) -> str:
        def lengths(what: str, least: int, most: int) -> str | None:
            if most:
                return f"{what} of {least} to {most} characters"
            return f"{what} of at least {least} characters" if least > 1 else None

        parts = (
            f"score of at least {self.min_score}" if self.min_score else None,
            lengths("prompt", self.min_prompt, self.max_prompt),
            lengths("answer", self.min_response, self.max_response),
            f"no {', '.join(self.without)}" if self.without else None,
            "two different answers" if self.different_answers else None,
            "written-out line ends are made real" if self.line_ends else None,
        )
        return "; ".join(part for part in parts if part) or "all rows"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSet:
    """A public data set."""

    title: str
    home: str
    """Page of the publisher."""
    licence: str
    """As its publisher states it; `home` decides."""
    format: str
    kind: Literal["pairs", "preference", "text", "triples"] = "pairs"
    options: SourceOptions = field(default_factory=SourceOptions)
    rule: Rule = field(default_factory=Rule)
    repositories: tuple[str, ...] = ()
    """Data sets of the Hugging Face Hub that `fetch` downloads; none: download by hand from `home`."""
    patterns: tuple[str, ...] = ()
    """Files of these that are wanted; none: all."""
    rows: str = "not published"
    """Before and after the rule."""
    warning: str = ""


SETS: dict[str, DataSet] = {
    "webtext2019zh": DataSet(
        title="community questions and answers",
        home="https://github.com/brightmart/nlp_chinese_corpus",
        licence="MIT (LICENSE of the repository); the texts are of their authors",
        format="JSON lines: title, desc, topic, star, content",
        options=SourceOptions(prompt_columns=("star", "title"), response_column="content"),
        rule=Rule(min_score=5, min_response=15),
        rows="4.1 M, 2.6 M kept",
    ),
    "baike_qa2019": DataSet(
        title="encyclopedia questions and answers",
        home="https://aistudio.baidu.com/datasetdetail/107726",
        licence="not verified; the texts are of their authors",
        format="JSON lines: category, title, desc, answer; a desc that holds the title replaces it",
        options=SourceOptions(prompt_columns=("title", "desc"), response_column="answer"),
        rule=Rule(min_prompt=3, min_response=15),
        rows="1.4 M, 1.3 M kept",
    ),
    "medical_dialogue": DataSet(
        title="questions to doctors of six departments",
        home="https://github.com/Toyhom/Chinese-medical-dialogue-data",
        licence="MIT (LICENSE of the repository)",
        format="CSV in GB18030, a folder for each department: department, title, ask, answer",
        options=SourceOptions(prompt_columns=("title", "ask"), response_column="answer"),
        rule=Rule(min_prompt=3, min_response=15),
        rows="792,099, 0.79 M kept",
    ),
    "finance_qa": DataSet(
        title="questions and answers about finance",
        home="https://github.com/SophonPlus/ChineseNlpCorpus",
        licence="none stated in the repository",
        format="CSV: title, prompt, reply, is_best",
        options=SourceOptions(prompt_columns=("title", "prompt"), response_column="reply"),
        rule=Rule(min_prompt=10, min_response=15),
        rows="0.77 M, 0.52 M kept",
        warning="poor: the earlier project read it and did not use it",
    ),
    "zhihu_kol": DataSet(
        title="answers of well-known authors of Zhihu",
        home="https://huggingface.co/datasets/wangrui6/Zhihu-KOL",
        licence="none stated on its page; the texts are of their authors",
        format="Parquet: INSTRUCTION, RESPONSE, SOURCE, METADATA",
        options=SourceOptions(
            prompt_columns=("INSTRUCTION",), response_column="RESPONSE", source="zhihu_kol"
        ),
        rule=Rule(min_prompt=4, min_response=10),
        repositories=("wangrui6/Zhihu-KOL",),
        patterns=("*.parquet",),
        rows="1.01 M, 0.97 M kept",
    ),
    "belle_pretrain": DataSet(
        title="BELLE instructions, for pre-training",
        home="https://github.com/LianjiaTech/BELLE",
        licence="GPL-3.0 on the hub; its README allows research only",
        format="JSON lines: instruction, input, output",
        rule=Rule(min_response=15, without=("翻译", "translate", *TABLES)),
        repositories=(
            "BelleGroup/train_2M_CN",
            "BelleGroup/train_1M_CN",
            "BelleGroup/multiturn_chat_0.8M",
        ),
        patterns=("*.json",),
        rows="3.7 M, 3.38 M kept",
    ),
    "belle_sft": DataSet(
        title="BELLE instructions, for fine-tuning",
        home="https://github.com/LianjiaTech/BELLE",
        licence="GPL-3.0 on the hub; its README allows research only",
        format="JSON lines: instruction, input, output",
        rule=Rule(max_prompt=320, max_response=320, without=(*TRANSLATION, *TABLES)),
        repositories=(
            "BelleGroup/train_0.5M_CN",
            "BelleGroup/train_2M_CN",
            "BelleGroup/generated_chat_0.4M",
        ),
        patterns=("*.json",),
        rows="1.37 M kept",
    ),
    "wikipedia": DataSet(
        title="Chinese Wikipedia",
        home="https://dumps.wikimedia.org/zhwiki/",
        licence="CC BY-SA and GFDL (their versions: not verified)",
        format="output of WikiExtractor, text or JSON lines; simplify it with `clean --simplified`",
        rows="1.19 M articles kept of the dump of September 2023",
    ),
    "alpaca_gpt4_zh": DataSet(
        title="Alpaca instructions answered by GPT-4, as chosen answers",
        home="https://github.com/Instruction-Tuning-with-GPT-4/GPT-4-LLM",
        licence="CC BY-NC 4.0 (DATA_LICENSE of the repository)",
        format="JSON array: instruction, input, output; the rejected answers come from `reject`",
        kind="preference",
        options=SourceOptions(
            shape="preference", prompt_columns=("instruction", "input"), chosen_column="output"
        ),
        rule=Rule(max_prompt=520, max_response=520),
        repositories=("llm-wizard/alpaca-gpt4-data-zh",),
        rows="49 k (not verified); 80 k pairs kept with the two sets below",
    ),
    "huozi_rlhf": DataSet(
        title="Huozi preference pairs",
        home="https://github.com/HIT-SCIR/huozi",
        licence="Apache-2.0 (its page and the repository)",
        format="JSON: prompt, chosen, reject",
        kind="preference",
        options=SourceOptions(shape="preference"),
        rule=Rule(max_prompt=520, max_response=520, different_answers=True, line_ends=True),
        repositories=("Skepsun/huozi_rlhf_data_json",),
        rows="16.9 k; 80 k pairs kept with its neighbours",
    ),
    "rlhf_reward_zh": DataSet(
        title="rlhf-reward-single-round-trans_chinese, translated preference pairs",
        home="https://huggingface.co/datasets/beyond/rlhf-reward-single-round-trans_chinese",
        licence="none stated on its page; translated from hh-rlhf of Anthropic",
        format="Parquet: prompt, chosen, rejected",
        kind="preference",
        options=SourceOptions(shape="preference"),
        rule=Rule(max_prompt=520, max_response=520, different_answers=True, line_ends=True),
        repositories=("beyond/rlhf-reward-single-round-trans_chinese",),
        patterns=("*.parquet",),
        rows="24,858; 80 k pairs kept with its neighbours",
    ),
    "duie1": DataSet(
        title="DuIE 1.0: sentences with triples, 50 relations",
        home="https://aistudio.baidu.com/datasetdetail/11384",
        licence="not verified",
        format="JSON lines: text, spo_list of subject, predicate, object (a text)",
        kind="triples",
        rows="173 k sentences for training, 21.6 k for development",
    ),
    "duie2": DataSet(
        title="DuIE 2.0: sentences with triples, 48 relations",
        home="https://www.luge.ai/#/luge/dataDetail?id=5",
        licence="not verified",
        format="JSON lines: text, spo_list of subject, predicate, object (texts by role, `@value` first)",
        kind="triples",
        rows="171,135 sentences for training, 20,652 for development",
    ),
}


def named(name: str) -> DataSet:
    """The data set of that name.

    Raises:
        ValueError: there is none; names those that are there.
    """
    found = SETS.get(name)
    if found is None:
        raise ValueError(f"no data set is called {name!r}. The names: {', '.join(SETS)}")
    return found


def list_sets() -> str:
    """One line for each data set that has a reader.

    >>> list_sets().splitlines()[0].split()
    ['webtext2019zh', 'pairs', 'community', 'questions', 'and', 'answers']
    """
    lines = []
    for name, found in SETS.items():
        lines.append(
            f"{name:<18} {found.kind:<11} {found.title}{f' ({found.warning})' if found.warning else ''}"
        )
    return "\n".join(lines)


def show_set(name: str) -> str:
    """Format, rule, licence and size of a data set.

    Args:
        name: As `sources list` tells it.
    Raises:
        ValueError: there is no such data set.
    """
    found = named(name)
    fetched = ", ".join(found.repositories) or "by hand, from its home"
    lines = {
        "what": found.title,
        "home": found.home,
        "licence": f"{found.licence} (read the page above before use)",
        "format": found.format,
        "rows are": found.kind,
        "kept": str(found.rule),
        "rows": found.rows,
        "download": fetched,
        "warning": found.warning,
    }
    text = "\n".join(f"{key:<9} {value}" for key, value in lines.items() if value)
    return f"{name}\n{text}\nread it:  smolchat-fast sources read {name} FILES --out {name}.parquet"
