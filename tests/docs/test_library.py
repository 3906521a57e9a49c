"""The recipes of docs/library.md do what the page says, on rows made for them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast.dedup import deduplicate

PAGE = Path(__file__).resolve().parents[2] / "docs" / "library.md"


def test_the_recipes_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("january").mkdir()
    pairs = [
        ("天为什么是蓝色的呢？", "因為空气散射蓝光，请写信到 a@example.com 。"),
        ("请想一想再回答：水的化学式是什么？谢谢。", "水的化学式是H2O。"),
        ("天为什么是蓝色的呢", "因為空气散射蓝光，请写信到 a@example.com"),
    ]
    for number, part in enumerate((pairs[:2], pairs[2:])):
        rows = pa.table({"prompt": [p for p, _ in part], "response": [r for _, r in part]})
        pq.write_table(rows, f"january/{number}.parquet")
    pq.write_table(pa.table({"question": ["水的化学式是什么？"]}), "exam.parquet")
    months = pa.table(
        {
            "prompt": ["天为什么是蓝色的呢？", "一年有几个月？"],
            "response": ["因为空气散射蓝光，请写信到【邮箱】。", "十二个。"],
        }
    )
    pq.write_table(months, "february.parquet")
    passage = (
        "甲骨文是中国已知最早的成体系的文字，多刻在龟甲和兽骨上，主要出土于河南安阳的殷墟。商朝的王室用它记下占卜的"
        "事情和结果，内容有祭祀、打仗、天气、收成和疾病。清朝末年，一位学者在中药里认出了它，此后才有人去寻找和研究。"
    )
    reading = {
        "prompt": [f"{passage}\n出土于哪里？", f"{passage}\n刻在什么上面？"],
        "response": ["殷墟", "龟甲和兽骨"],
    }
    pq.write_table(pa.table(reading), "reading.parquet")
    assert deduplicate(pa.table(reading)).kept.num_rows == 1, "as a whole they are too much alike"
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        exec(code, names)
    assert pq.read_table("duplicates.parquet").num_rows == 1
    assert pq.read_table("clean_of_exam.parquet").num_rows == 1
    assert pq.read_table("clean.parquet")["response"].to_pylist() == ["因为空气散射蓝光，请写信到【邮箱】。"]
    assert json.loads(Path("clean.json").read_text("utf-8"))["rows_changed"] == 1
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("3 rows: 2 kept")
    assert told[1] == "2"
    assert "1" in told
    assert "1 2" in told
    assert any(line.startswith("1 rows, 0 the same") for line in told)
