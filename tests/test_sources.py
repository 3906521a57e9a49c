"""Raw files to rows, through the compiled core."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from smolchat_fast.errors import DataError
from smolchat_fast.sources import SourceOptions, expand, read_files

CSV = """title,ask,answer
感冒,感冒了怎么办？,多喝水，多休息。
头疼,头疼得厉害，怎么办？,"先量体温,
再看医生。"
"""


def read(path: Path, text: str | bytes, **options: object) -> list[dict[str, str]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    out = path.with_name("rows.parquet")
    read_files([path], out, SourceOptions(**options), overwrite=True)  # type: ignore[arg-type]
    return pq.read_table(out).to_pylist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_the_same_table_in_any_encoding_gives_the_same_rows(tmp_path: Path, encoding: str) -> None:
    rows = read(tmp_path / "qa.csv", CSV.encode(encoding))
    assert rows[0] == {"prompt": "感冒了怎么办？", "response": "多喝水，多休息。", "source": "qa"}
    assert rows[1]["response"] == "先量体温,\n再看医生。"
    assert read(tmp_path / "qa.csv.gz", gzip.compress(CSV.encode(encoding))) == rows


def test_a_file_that_is_mostly_bad_is_an_error_but_its_good_rows_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    with pytest.raises(
        DataError, match=r"50\.00% of the records are bad(.|\n)*qa\.jsonl, line 2: broken JSON"
    ):
        read(path, '{"prompt": "一", "response": "1"}\n{"prompt": "二\n')
    assert pq.read_table(tmp_path / "rows.parquet")["response"].to_pylist() == ["1"]
    assert len(read(path, path.read_bytes(), max_bad_share=0.5)) == 1


def test_strict_leaves_no_output(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"qa\.jsonl, line 1: missing field"):
        read(tmp_path / "qa.jsonl", '{"prompt": "一"}\n{"prompt": "二", "response": "2"}\n', strict=True)
    assert not list(tmp_path.glob("rows.parquet*"))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(CSV.encode() * 1000)
    with pytest.raises(DataError, match=r"qa\.csv\.gz: the gzip data is damaged or cut off"):
        read(tmp_path / "qa.csv.gz", whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"qa\.parquet: not a readable Parquet file"):
        read(tmp_path / "qa.parquet", b"PAR1 and nothing more")


def test_an_option_out_of_range_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="option max_bad_share = 2: must be in"):
        read(tmp_path / "qa.csv", CSV, max_bad_share=2.0)
    with pytest.raises(ValueError, match="option encoding = klingon: unknown"):
        read(tmp_path / "qa.csv", CSV, encoding="klingon")


def test_the_report_tells_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_text('{"q": "一", "a": "1"}\n{"q": "二", "a": ""}\n', "utf-8")
    report = read_files([path], tmp_path / "rows.parquet", SourceOptions(max_bad_share=1.0))
    assert (report.records, report.rows, report.bad) == (2, 1, {"empty field": 1})
    assert f"{path}, line 2: empty field (response)" in str(report)
    assert "JSON lines, UTF-8" in str(report)


def test_rows_do_not_depend_on_threads(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_text(
        "".join(f'{{"q": "第{i}个问题", "a": "{"答" * (i % 50)}"}}\n' for i in range(50_000)), "utf-8"
    )
    options = SourceOptions(max_bad_share=1.0)
    one, three = tmp_path / "1.parquet", tmp_path / "3.parquet"
    assert read_files([path], one, options, threads=1) == read_files([path], three, options, threads=3)
    assert pq.read_table(one) == pq.read_table(three)


def test_patterns_name_each_file_once_in_order(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "[c].txt"):
        (tmp_path / name).touch()
    found = expand([tmp_path / "b.txt", tmp_path / "*.txt", tmp_path / "[c].txt"])
    assert [path.name for path in found] == ["b.txt", "[c].txt", "a.txt"]
    with pytest.raises(FileNotFoundError, match="no file fits this pattern"):
        expand([tmp_path / "*.csv"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        expand([tmp_path / "missing.csv"])


def test_real_raw_files_are_read_as_they_are(shared_data: Path, tmp_path: Path) -> None:
    raw = shared_data / "raw"
    report = read_files([raw / "medical_internal_gb18030.csv"], tmp_path / "medical.parquet")
    assert (report.rows, report.bad, report.files[0].encoding) == (2693, {}, "GB18030")
    report = read_files([raw / "wiki_zh_wikiextractor_00.jsonl"], tmp_path / "wiki.parquet")
    rows = pq.read_table(tmp_path / "wiki.parquet").to_pylist()
    assert report.rows == 64
    assert all(row["response"][-1] in "。！？…”）」）." or len(row["response"]) < 512 for row in rows)


def test_dialogues_in_parquet_give_their_first_exchange(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "乖"},
        {"role": "user", "content": "问"},
        {"role": "assistant", "content": "答"},
    ]
    pq.write_table(pa.table({"messages": [turns, None, turns[:2]]}), tmp_path / "chat.parquet")
    report = read_files(
        [tmp_path / "chat.parquet"], tmp_path / "rows.parquet", SourceOptions(max_bad_share=1.0)
    )
    assert pq.read_table(tmp_path / "rows.parquet").to_pylist() == [
        {"prompt": "问", "response": "答", "source": "chat"}
    ]
    assert report.bad == {"missing field": 1, "field is not text": 1}
    assert str(report.samples[0]).startswith(f"{tmp_path / 'chat.parquet'}, row 2: ")
