"""The stream: every row once, the right ids, and the same batches after a stop."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from smolchat_fast import DataError
from smolchat_fast.stream import Batch, Stream, StreamOptions

SPECIALS = ["[PAD]", "[EOS]", "[SEP]", "[BOS]", "[CLS]", "[MASK]", "[UNK]"]
LETTERS = "0123456789你好世界天气很，。?"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of one id per character and two merges."""
    vocab = {token: i for i, token in enumerate([*SPECIALS, *LETTERS, "你好", "天气"])}
    made = Tokenizer(models.BPE(vocab=vocab, merges=[("你", "好"), ("天", "气")], unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Split("。", "isolated")
    made.add_special_tokens(SPECIALS)
    folder = tmp_path_factory.mktemp("tokenizer")
    made.save(str(folder / "tokenizer.json"))
    return folder


def text(row: int, seed: int) -> str:
    random = np.random.default_rng((row, seed))
    return "".join(random.choice(list(LETTERS), size=random.integers(0, 40)))


def write(folder: Path, files: list[int], group_rows: int) -> list[Path]:
    """Rows in files of these sizes, numbered over all of them."""
    paths, row = [], 0
    for number, rows in enumerate(files):
        numbers = range(row, row + rows)
        table = pa.table(
            {"prompt": [text(i, 0) for i in numbers], "response": [text(i, 1) for i in numbers]},
            schema=pa.schema([("prompt", pa.string()), ("response", pa.string())]),
        )
        paths.append(folder / f"{number}.parquet")
        pq.write_table(table, paths[-1], row_group_size=group_rows)
        row += rows
    return paths


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(tmp_path_factory.mktemp("rows"), [300, 0, 41, 160], group_rows=64)


SMALL = StreamOptions(
    batch_tokens=512, max_source=32, max_target=32, pad_multiple=4, shuffle_rows=150, bucket_batches=8
)


def same(found: Batch, expected: Batch) -> bool:
    return all(
        np.array_equal(getattr(found, name), getattr(expected, name))
        for name in ("input_ids", "attention_mask", "labels", "rows")
    )


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    group_rows=st.integers(1, 50),
    batch_rows=st.integers(0, 20),
    shuffle_rows=st.integers(1, 200),
    world=st.integers(1, 3),
    threads=st.sampled_from([1, 2, 3]),
)
def test_every_row_comes_once_an_epoch(
    tmp_path, tokenizer, files, group_rows, batch_rows, shuffle_rows, world, threads
):
    paths = write(tmp_path, files, group_rows)
    options = StreamOptions(batch_rows=batch_rows, shuffle_rows=shuffle_rows, bucket_batches=3)
    shares = [
        Stream(paths, tokenizer, options, rank=r, world=world, epochs=2, threads=threads)
        for r in range(world)
    ]
    batches = [list(share) for share in shares]
    assert len({len(share) for share in batches}) == 1
    rows = np.concatenate([batch.rows for share in batches for batch in share])
    assert sorted(rows[rows >= 0]) == sorted(2 * list(range(shares[0].rows)))


def test_ids_masks_and_labels_are_those_of_the_tokenizers_library(paths, tokenizer):
    reference = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))

    def ids(row: int, seed: int) -> list[int]:
        return [*reference.encode(text(row, seed)).ids[:31], 1]

    for batch in Stream(paths, tokenizer, SMALL, epochs=1):
        assert batch.input_ids.size + batch.labels.size <= SMALL.batch_tokens
        assert batch.input_ids.shape[1] % 4 == 0
        assert batch.labels.shape[1] % 4 == 0
        for place, row in enumerate(batch.rows.tolist()):
            mask = batch.attention_mask[place].astype(bool)
            assert batch.input_ids[place][mask].tolist() == ids(row, 0)
            assert not batch.input_ids[place][~mask].any()
            labels = batch.labels[place]
            assert labels[labels != -100].tolist() == ids(row, 1)
            assert (labels[len(ids(row, 1)) :] == -100).all()


def test_arrays_are_writable_and_of_one_piece(paths, tokenizer):
    batch = next(Stream(paths, tokenizer, SMALL))
    for array in (batch.input_ids, batch.attention_mask, batch.labels, batch.rows):
        assert array.dtype == np.int64
        assert array.flags.writeable
        assert array.flags.c_contiguous
    assert batch.input_ids.shape == batch.attention_mask.shape
    assert len(batch.input_ids) == len(batch.labels) == len(batch.rows)


def test_a_resumed_stream_yields_the_same_batches(paths, tokenizer):
    whole = list(Stream(paths, tokenizer, SMALL, epochs=2))
    stream, states = Stream(paths, tokenizer, SMALL, epochs=2), []
    for _ in whole:
        states.append(json.dumps(stream.state_dict()))
        next(stream)
    assert max(map(len, states)) < 6_000
    for position in range(0, len(whole), 5):
        resumed = Stream(paths, tokenizer, SMALL, epochs=2)
        resumed.load_state_dict(json.loads(states[position]))
        for found, expected in zip(islice(resumed, 4), whole[position:], strict=False):
            assert same(found, expected)


def test_a_run_goes_on_with_another_number_of_ranks(paths, tokenizer):
    whole = list(Stream(paths, tokenizer, SMALL, epochs=1))
    first = Stream(paths, tokenizer, SMALL, epochs=1, rank=2, world=3)
    for _ in islice(first, 4):
        pass
    assert first.state_dict()["position"] == sum(len(batch.rows) for batch in whole[:12])
    rest = [Stream(paths, tokenizer, SMALL, epochs=1, rank=rank, world=2) for rank in range(2)]
    for stream in rest:
        stream.load_state_dict(first.state_dict())
    assert same(next(rest[0]), whole[12])
    assert same(next(rest[1]), whole[13])


def test_a_stream_can_be_turned_back_while_it_runs(paths, tokenizer):
    stream = Stream(paths, tokenizer, SMALL)
    begin = stream.state_dict()
    first = [next(stream) for _ in range(9)]
    stream.load_state_dict(begin)
    assert all(same(next(stream), batch) for batch in first)


def test_a_stream_without_end_goes_on_into_further_epochs(paths, tokenizer):
    stream = Stream(paths, tokenizer, SMALL)
    while stream.state_dict()["position"] < 3 * stream.rows:
        next(stream)
    assert len(next(stream).rows) > 0


def test_a_state_of_another_stream_is_refused_with_what_differs(paths, tokenizer):
    state = Stream(paths, tokenizer, SMALL).state_dict()
    with pytest.raises(DataError, match=r"seed \(1 -> 2\)"):
        Stream(paths, tokenizer, StreamOptions(**(asdict(SMALL) | {"seed": 2}))).load_state_dict(state)
    with pytest.raises(ValueError, match="state: "):
        Stream(paths, tokenizer, SMALL).load_state_dict({"epoch": 1})


def test_a_mixture_has_the_share_of_each_file_and_goes_on_from_its_position(paths, tokenizer):
    options = replace(SMALL, weights=(0.5, 1.0, 3.0, 1.25))
    stream = Stream(paths, tokenizer, options, epochs=4)
    assert stream.rows == 150 + 3 * 41 + 200
    batches, states = [], []
    for batch in stream:
        batches.append(batch)
        states.append(stream.state_dict())
    counts = np.bincount(np.concatenate([batch.rows for batch in batches]), minlength=501)
    assert set(counts[:300]) == {2}
    assert set(counts[300:341]) == {12}
    assert set(counts[341:]) == {5}
    for place in range(0, len(batches) - 1, 7):
        resumed = Stream(paths, tokenizer, options, epochs=4)
        resumed.load_state_dict(states[place])
        assert same(next(resumed), batches[place + 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (StreamOptions(weights=(1.0,)), "option weights = 1: must be one for each of the 4 input files"),
        (StreamOptions(batch_tokens=100), "option batch_tokens = 100: must be at least 640"),
        (StreamOptions(pad_multiple=0), "option pad_multiple = 0"),
        (StreamOptions(shuffle_rows=0), "option shuffle_rows = 0"),
        (StreamOptions(max_source=70_000), "option max_source = 70000"),
    ],
)
def test_options_out_of_range_are_refused(paths, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        Stream(paths, tokenizer, options)


def test_a_rank_outside_the_world_is_refused(paths, tokenizer):
    with pytest.raises(ValueError, match="option rank = 2: must be below world = 2"):
        Stream(paths, tokenizer, SMALL, rank=2, world=2)


def test_a_null_names_file_and_row(tmp_path, tokenizer):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["你", "好", "天"], "response": ["1", None, "2"]}), path)
    stream = Stream([path], tokenizer, SMALL)
    with pytest.raises(DataError, match=r'rows.parquet, row 2: column "response" is null'):
        next(stream)


def test_a_truncated_file_is_named(tmp_path, tokenizer):
    (path,) = write(tmp_path, [50], group_rows=10)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"0.parquet: not a readable Parquet file"):
        Stream([path], tokenizer, SMALL)


def test_a_missing_file_is_a_missing_file(tmp_path, tokenizer):
    with pytest.raises(FileNotFoundError):
        Stream([tmp_path / "none.parquet"], tokenizer, SMALL)


def test_ctrl_c_ends_the_wait_for_a_batch_within_a_second(tmp_path, tokenizer):
    line = "今天天气很好，你好世界。" * 40
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"prompt": [line] * 30_000, "response": [line] * 30_000}), path)
    stream = Stream([path], tokenizer, StreamOptions(), threads=1)
    timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    del stream
    assert time.monotonic() - began < 1.5


def test_real_rows_come_once_and_little_is_padded(shared_data, tokenizer):
    paths = [shared_data / "sft" / name for name in ("kgclue_qa.parquet", "xiehouyu.parquet")]
    stream = Stream(paths, tokenizer, StreamOptions(pad_multiple=1, batch_tokens=1_024), epochs=1)
    rows, tokens, places = [], 0, 0
    for batch in stream:
        rows += batch.rows.tolist()
        tokens += int(batch.attention_mask.sum() + (batch.labels != -100).sum())
        places += batch.input_ids.size + batch.labels.size
    assert sorted(rows) == list(range(stream.rows))
    assert 1 - tokens / places <= 0.05
