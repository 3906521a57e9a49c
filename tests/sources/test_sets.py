"""The public data sets: raw files as published become the rows that the rule keeps."""

from __future__ import annotations

import bz2
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast.errors import DataError
from smolchat_fast.sources import SourceOptions, read_files
from smolchat_fast.sources.reading import read_set_files
from smolchat_fast.sources.sets import SETS, list_sets, show_set

LONG = "这是一个足够长的回答，它有二十个字以上。"


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), "utf-8")
    return path


def rows(name: str, path: Path, **options: Any) -> list[dict[str, Any]]:
    out = path.with_name(f"{name}.parquet")
    read_set_files(name, [path], out, **options)
    return pq.read_table(out).to_pylist()


def test_every_set_is_listed_and_shown():
    assert [line.split()[0] for line in list_sets().splitlines()] == list(SETS)
    for name, found in SETS.items():
        told = show_set(name)
        assert found.licence in told
        assert f"sources read {name}" in told
    with pytest.raises(ValueError, match="no data set is called 'belle'"):
        show_set("belle")


def test_community_answers_need_a_score(tmp_path):
    path = lines(
        tmp_path / "web.json",
        {"qid": 1, "title": "天为什么是蓝的？", "desc": "", "topic": "物理", "star": 5, "content": LONG},
        {"qid": 2, "title": "水为什么是湿的？", "desc": "", "topic": "物理", "star": 4, "content": LONG},
        {"qid": 3, "title": "2024\n年有几天？", "desc": "", "topic": "历法", "star": 12, "content": LONG},
        {"qid": 4, "title": "短吗？", "desc": "", "topic": "", "star": 9, "content": "短。"},
    )
    found = rows("webtext2019zh", path)
    assert [row["prompt"] for row in found] == ["天为什么是蓝的？", "2024\n年有几天？"]
    assert found[0]["response"] == LONG
    assert {row["source"] for row in found} == {"webtext2019zh"}


def test_a_description_counts_unless_it_repeats_the_title(tmp_path):
    path = lines(
        tmp_path / "baike.json",
        {"category": "x", "title": "狗咬人怎么办", "desc": "人咬狗怎么办", "answer": LONG},
        {"category": "x", "title": "感冒吃什么药", "desc": "感冒吃什么药？急！", "answer": LONG},
        {"category": "x", "title": "头疼", "desc": "", "answer": "多喝水"},
    )
    assert [row["prompt"] for row in rows("baike_qa2019", path)] == [
        "狗咬人怎么办\n人咬狗怎么办",
        "感冒吃什么药？急！",
    ]


def test_doctors_answers_are_read_from_gb18030_csv(tmp_path):
    text = f'department,title,ask,answer\n心血管科,高血压,高血压能吃党参吗？,"{LONG}\n另起一行，㐀。"\n'
    path = tmp_path / "内科.csv"
    path.write_bytes(text.encode("gb18030"))
    assert rows("medical_dialogue", path) == [
        {"prompt": "高血压能吃党参吗？", "response": f"{LONG}\n另起一行，㐀。", "source": "medical_dialogue"}
    ]


def test_instructions_keep_their_input_and_lose_translations_and_tables(tmp_path):
    path = lines(
        tmp_path / "belle.json",
        {"instruction": "把下面的句子写得更客气：", "input": "给我水。", "output": LONG},
        {"instruction": "翻译下面的句子", "input": "你好", "output": LONG},
        {"instruction": "Translate this", "input": "", "output": LONG},
        {"instruction": "列一个清单", "input": "", "output": "a | b\n----- | -----\n一二三四五六七八"},
        {"instruction": "写一首长诗", "input": "", "output": "长" * 400},
    )
    assert [row["prompt"] for row in rows("belle_pretrain", path)] == [
        "把下面的句子写得更客气：\n给我水。",
        "写一首长诗",
    ]
    assert len(rows("belle_sft", path)) == 1


def test_preference_pairs_differ_and_have_real_line_ends(tmp_path):
    path = lines(
        tmp_path / "huozi.json",
        {"prompt": r"问\n题", "chosen": "好的回答", "reject": "坏的回答"},
        {"prompt": "问题", "chosen": "一样", "reject": " 一样 "},
        {"prompt": "问题", "chosen": "长" * 521, "reject": "短"},
    )
    found = rows("huozi_rlhf", path)
    assert [(r["prompt"], r["chosen"], r["rejected"]) for r in found] == [("问\n题", "好的回答", "坏的回答")]
    table = pa.table({"prompt": ["问"], "chosen": ["甲"], "rejected": ["乙"]})
    pq.write_table(table, tmp_path / "raw.parquet")
    assert len(rows("rlhf_reward_zh", tmp_path / "raw.parquet")) == 1


def test_alpaca_gives_chosen_answers_alone(tmp_path):
    path = tmp_path / "alpaca.json"
    path.write_text(json.dumps([{"instruction": "问", "input": "甲", "output": "答"}], ensure_ascii=False))
    assert rows("alpaca_gpt4_zh", path) == [{"prompt": "问\n甲", "chosen": "答", "source": "alpaca_gpt4_zh"}]


def test_both_duie_schemas_give_the_same_triples(tmp_path):
    one = {
        "text": "北京是中国的首都。",
        "spo_list": [{"subject": "中国", "predicate": "首都", "object": "北京"}],
    }
    two = {
        "text": one["text"],
        "spo_list": [{**one["spo_list"][0], "object": {"@value": "北京", "inWork": "x"}}],
    }  # type: ignore[index]
    found = [rows(name, lines(tmp_path / name, record)) for name, record in (("duie1", one), ("duie2", two))]
    assert (
        json.loads(found[0][0]["triples"]) == json.loads(found[1][0]["triples"]) == [["中国", "首都", "北京"]]
    )


def test_more_than_one_percent_bad_is_an_error_and_the_output_is_whole(tmp_path):
    path = lines(tmp_path / "b.json", *({"instruction": f"第{i}个问题", "output": LONG} for i in range(50)))
    with path.open("a") as file:
        file.write('{"instruction": "broken\n')
    with pytest.raises(DataError, match=r"1\.96% of the records are bad(.|\n)*b\.json, line 51"):
        rows("belle_pretrain", path)
    assert pq.read_table(tmp_path / "belle_pretrain.parquet").num_rows == 50
    assert len(rows("belle_pretrain", path, max_bad_share=0.05, overwrite=True)) == 50
    with pytest.raises(DataError, match="line 51"):
        rows("belle_pretrain", path, strict=True, overwrite=True)


def test_strict_names_the_row_of_a_table_and_the_line_of_a_text(tmp_path):
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["问", "问"], "response": ["答", ""]}), table)
    text = lines(tmp_path / "a.jsonl", {"prompt": "问", "response": "答"}, {"prompt": "问", "response": ""})
    for path, place in ((table, "row 2"), (text, "line 2")):
        with pytest.raises(DataError, match=rf"{path.name}, {place}: empty field"):
            read_files([path], tmp_path / "out.parquet", SourceOptions(strict=True))


def test_real_raw_files_are_read(shared_data, tmp_path):
    raw = shared_data / "raw"
    for name, file, least in (
        ("medical_dialogue", "medical_internal_gb18030.csv", 1000),
        ("wikipedia", "wiki_zh_wikiextractor_00.jsonl", 50),
        ("duie1", "duie1_dev_with_postag.jsonl", 100),
    ):
        out = tmp_path / f"{name}.parquet"
        # These are cut by size, so their last record may be broken.
        report = read_set_files(name, [raw / file], out, max_bad_share=0.05)
        assert report.rows == pq.read_table(out).num_rows > least


def test_bzip2_and_big5_are_read(tmp_path):
    text = "".join(f"問題{i}：這是什麼？\t這是第{i}個答案，寫得很清楚。\n" for i in range(50))
    text = "prompt\tresponse\n" + text
    for path, content in (
        (tmp_path / "qa.tsv.bz2", bz2.compress(text.encode())),
        (tmp_path / "big5.tsv", text.encode("big5")),
    ):
        path.write_bytes(content)
        out = path.with_suffix(".parquet")
        report = read_files([path], out, SourceOptions())
        assert pq.read_table(out)["response"][3].as_py() == "這是第3個答案，寫得很清楚。"
    assert report.files[0].encoding == "Big5"
    cut = tmp_path / "cut.tsv.bz2"
    cut.write_bytes(bz2.compress(text.encode())[:-30])
    with pytest.raises(DataError, match=r"cut\.tsv\.bz2: the bzip2 data is damaged or cut off"):
        read_files([cut], tmp_path / "cut.parquet")
