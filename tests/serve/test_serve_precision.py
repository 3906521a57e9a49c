"""The report of what a precision costs, on a random model."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from benches.peers import precision

from smolchat_fast.errors import DataError
from tiny import save_tiny, some_prompts, write_rows

PROMPTS = some_prompts(40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `demo` leaves, as far as the report reads it."""
    folder = tmp_path_factory.mktemp("run")
    save_tiny(folder / "model")
    for name, prompts in (("pretrain", PROMPTS[:20]), ("sft", PROMPTS[20:])):
        (folder / "data" / name).mkdir(parents=True)
        rows = [
            {"prompt": prompt, "response": "湖南的省会是长沙。"[: 2 + i % 7]}
            for i, prompt in enumerate(prompts)
        ]
        write_rows(folder / "data" / name / "valid.parquet", rows)
    (folder / "corpus" / "questions").mkdir(parents=True)
    lines = [json.dumps({"set": "A", "prompt": prompt, "accepted": ["长沙"]}) for prompt in PROMPTS]
    (folder / "corpus" / "questions" / "test.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def test_the_report_compares_every_precision_with_float32(folder: Path) -> None:
    report = precision.run(folder)
    assert "40 validation rows, 40 unseen questions" in report
    # The networks of `serve` agree with transformers, whose loss and answers `evaluate` takes.
    assert "the answer of float32 to 40 of 40 questions" in report
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in report.splitlines()
        if re.match(r"\| \w+ by ", line)
    ]
    names = [name.split()[0] for name, *_ in cells]
    assert names == list(precision.PRECISIONS)
    changes = {
        name: float(change.rstrip("%")) for name, (_, _, change, _, _) in zip(names, cells, strict=True)
    }
    assert changes["float32"] == 0
    assert 0 < abs(changes["int8"]) < 10
    same = {name: int(cell[3].split()[0]) for name, cell in zip(names, cells, strict=True)}
    assert same["float32"] == 40
    assert 0 < same["int8"] <= 40


def test_another_loss_than_that_of_evaluate_ends_the_report(folder: Path) -> None:
    trained = precision.read_trained(folder)
    found = precision.outcome(trained, "float32")
    told, same = precision.check_reference(trained, found)
    assert found.loss == pytest.approx(told.loss, rel=1e-5)
    assert same == 40
    with pytest.raises(RuntimeError, match="that of `evaluate`"):
        precision.check_reference(trained, replace(found, loss=found.loss * 1.001))


def test_answers_are_compared_token_for_token() -> None:
    first = precision.Outcome("float32", 2.0, [[5, 6], [7], [8], []], 2)
    other = precision.Outcome("int8", 2.1, [[5, 6], [7, 7], [], []], 1)
    lines = precision.compared([first, other]).splitlines()
    assert [" ".join(line.split()) for line in lines[2:]] == [
        "| float32 | 2.0000 | +0.00% | 4 (100.0%) | 2 (50.0%) |",
        "| int8 | 2.1000 | +5.00% | 2 (50.0%) | 1 (25.0%) |",
    ]


def test_a_folder_that_lacks_something_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="model is missing; `make demo` leaves it"):
        precision.read_trained(tmp_path)
