"""Write `jieba.json`: texts and how jieba 0.42.1 cuts them, with and without Markov model.

python rust/core/tests/golden/make_jieba.py
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import jieba

SENTENCES = [
    "他来到了网易杭研大厦，小明硕士毕业于中国科学院计算所，后在日本京都大学深造。",
    "工信处女干事每月经过下属科室都要亲口交代24口交换机等技术性器件的安装工作",
    "如果放到post中将出错。台中正確應該不會被切開。丰田太省了，韩玉赏鉴。",
    "pip install -r requirements.txt && python3.11 a_b-c.py --lr=1e-5 # 50.5%",
    "T恤、K歌、AT&T、C++、c#、B超、γ射线、Ａ座１０１、3.14.15.92、1.2.3-rc1、%d%%",
    "𠮷野家的䶮和㐀，鿕鿖，〇々ゝ，é😀👨‍👩‍👧\r\n第二行\r第三行\n　　空格\t制表",
    "一百三十五万三千四百一十八两，永和服装饰品有限公司，买水果然后来世博园最后去世博会",
    "結婚的和尚未結婚的，伊藤洋華堂總府店，據路透社報道，印度尼西亞社會事務部一官員",
]


def texts() -> list[str]:
    choose = random.Random(7)
    characters = "".join(SENTENCES)
    common = [chr(c) for c in range(0x4E00, 0x9FD6)]
    mixed = ["".join(choose.choice(characters) for _ in range(choose.randint(1, 60))) for _ in range(150)]
    rare = ["".join(choose.choice(common) for _ in range(40)) for _ in range(40)]
    ascii_runs = ["".join(choose.choice("aZ09.-_%+#& 中") for _ in range(30)) for _ in range(60)]
    return ["", *SENTENCES, *mixed, *rare, *ascii_runs]


def main() -> None:
    assert jieba.__version__ == "0.42.1", jieba.__version__
    cuts = [{"text": t, "hmm": jieba.lcut(t), "plain": jieba.lcut(t, HMM=False)} for t in texts()]
    lines = ",\n".join(json.dumps(cut, ensure_ascii=False) for cut in cuts)
    (Path(__file__).parent / "jieba.json").write_text(f"[\n{lines}\n]\n", "utf-8")


if __name__ == "__main__":
    main()
