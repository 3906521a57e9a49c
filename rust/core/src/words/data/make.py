"""Write `dict.zst` and `hmm.zst`, the data of the segmenter, from an installed jieba.

    python rust/core/src/words/data/make.py

`dict.zst`: lines `word frequency`, in jieba's order, duplicates kept (jieba counts them in its total).
`hmm.zst`: lines `prob...` of start (B E M S), of the transitions (4 lines from B E M S to B E M S),
then `character B E M S` for each character; `-` where jieba has no entry.
"""

from __future__ import annotations

from pathlib import Path

import jieba
import pyarrow as pa
from jieba.finalseg import prob_emit, prob_start, prob_trans

STATES = "BEMS"
FOLDER = Path(__file__).parent


def dictionary() -> str:
    with jieba.get_module_res("dict.txt") as file:
        lines = (line.decode().split(" ")[:2] for line in file)
        return "".join(f"{word} {frequency}\n" for word, frequency in lines)


def hmm() -> str:
    start = " ".join(repr(prob_start.P[state]) for state in STATES)
    trans = [" ".join(_entry(prob_trans.P[a], b) for b in STATES) for a in STATES]
    characters = sorted(set().union(*(prob_emit.P[state] for state in STATES)))
    emit = [" ".join([c, *(_entry(prob_emit.P[state], c) for state in STATES)]) for c in characters]
    return "\n".join([start, *trans, *emit]) + "\n"


def _entry(table: dict[str, float], key: str) -> str:
    return repr(table[key]) if key in table else "-"


def main() -> None:
    assert jieba.__version__ == "0.42.1", jieba.__version__
    codec = pa.Codec("zstd", compression_level=19)
    for name, text in (("dict", dictionary()), ("hmm", hmm())):
        (FOLDER / f"{name}.zst").write_bytes(codec.compress(text.encode(), asbytes=True))


if __name__ == "__main__":
    main()
