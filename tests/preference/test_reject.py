"""Rejected answers."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from smolchat_fast import generate
from smolchat_fast.errors import DataError
from smolchat_fast.generate import generate_answers
from smolchat_fast.preference import RejectOptions, RejectReport, reject_files
from tiny import read_rows, save_tiny, some_prompts, tiny_model, tiny_tokenizer, write_rows

OPTIONS = RejectOptions(max_new_tokens=8, batch_rows=8, chunk_rows=10)
PROMPTS = some_prompts(35)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def answers() -> list[str]:
    return generate_answers(tiny_model(), tiny_tokenizer(), PROMPTS, 8)


def rows_for(tmp_path: Path, chosen: list[str]) -> Path:
    pairs = zip(PROMPTS, chosen, strict=True)
    return write_rows(
        tmp_path / "rows.parquet", [{"prompt": p, "response": c, "source": "test"} for p, c in pairs]
    )


def test_pairs_are_the_given_answer_and_the_models_own(
    tmp_path: Path, model: Path, answers: list[str]
) -> None:
    rows = rows_for(tmp_path, ["长沙。"] * len(PROMPTS))
    report = reject_files([rows], tmp_path / "pairs.parquet", OPTIONS, model=model)
    assert report == RejectReport(rows_in=35, pairs=35, dropped_equal=0)
    assert read_rows(tmp_path / "pairs.parquet") == [
        {"prompt": prompt, "chosen": "长沙。", "rejected": answer, "source": "test"}
        for prompt, answer in zip(PROMPTS, answers, strict=True)
    ]


def test_rows_answered_as_chosen_are_dropped_and_counted(
    tmp_path: Path, model: Path, answers: list[str]
) -> None:
    chosen = [answer if i % 3 == 0 else "长沙。" for i, answer in enumerate(answers)]
    report = reject_files([rows_for(tmp_path, chosen)], tmp_path / "pairs.parquet", OPTIONS, model=model)
    assert (report.pairs, report.dropped_equal) == (23, 12)
    kept = read_rows(tmp_path / "pairs.parquet")
    assert [row["prompt"] for row in kept] == [p for i, p in enumerate(PROMPTS) if i % 3]


class Killed(BaseException):
    """As good as a kill: no handler of ours sees it."""


def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_for(tmp_path, ["长沙。"] * len(PROMPTS))
    reject_files([rows], tmp_path / "whole.parquet", OPTIONS, model=model)
    asked: list[int] = []

    def until(limit: int):
        def answer(model, tokenizer, prompts, *args, **kwargs):
            if len(asked) == limit:
                raise Killed
            asked.append(len(prompts))
            return generate_answers(model, tokenizer, prompts, *args, **kwargs)

        return answer

    out = tmp_path / "pairs.parquet"
    for chunks_more in (1, 2):
        monkeypatch.setattr(generate, "generate_answers", until(len(asked) + chunks_more))
        with pytest.raises(Killed):
            reject_files([rows], out, OPTIONS, model=model)
        assert not out.exists()
    monkeypatch.setattr(generate, "generate_answers", until(99))
    report = reject_files([rows], out, OPTIONS, model=model)
    assert asked == [10, 10, 10, 5], "no finished chunk is answered again"
    assert report.rows_in == 35
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir() if "pairs" in path.name) == [
        "pairs.parquet",
        "pairs.parquet.manifest.json",
    ]


def test_a_finished_file_is_not_made_again(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = rows_for(tmp_path, ["长沙。"] * len(PROMPTS))
    first = reject_files([rows], tmp_path / "pairs.parquet", OPTIONS, model=model)
    monkeypatch.delattr(generate, "generate_answers")
    assert reject_files([rows], tmp_path / "pairs.parquet", OPTIONS, model=model) == first


def test_progress_counts_rows_over_all_chunks(tmp_path: Path, model: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    rows = rows_for(tmp_path, ["长沙。"] * len(PROMPTS))
    reject_files(
        [rows], tmp_path / "pairs.parquet", OPTIONS, model=model, progress=lambda *told: seen.append(told)
    )
    assert [done for _, done, _ in seen] == [8, 10, 18, 20, 28, 30, 35]
    assert {total for *_, total in seen} == {35}


def test_a_file_without_good_answers_is_refused(tmp_path: Path, model: Path) -> None:
    rows = write_rows(tmp_path / "rows.parquet", [{"prompt": "甲"}])
    with pytest.raises(DataError, match="'chosen' or 'response' not found"):
        reject_files([rows], tmp_path / "pairs.parquet", OPTIONS, model=model)
    assert not (tmp_path / "pairs.parquet").exists()


def test_an_option_out_of_range_is_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="option batch_rows = 0: must be at least 1"):
        reject_files([], tmp_path / "pairs.parquet", RejectOptions(batch_rows=0), model=model)
