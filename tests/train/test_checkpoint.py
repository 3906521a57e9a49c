"""Checkpoints are whole or absent, and the newest whole one is found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from smolchat_fast.errors import StageError  # noqa: E402
from smolchat_fast.train.checkpoint import Checkpoints, find_problem, read_checkpoint  # noqa: E402
from smolchat_fast.train.state import TrainState, random_states, set_random_states  # noqa: E402


def write_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weights")


def save(checkpoints: Checkpoints, step: int) -> Path:
    return checkpoints.save(TrainState(step=step), write_weights, {"optimizer": {"step": step}})


def test_a_checkpoint_gives_back_what_it_was_given(tmp_path):
    state = TrainState(step=3, rows=12, target_tokens=99, seconds=1.5, valid_loss=0.25, stream={"batch": 3})
    folder = Checkpoints(tmp_path).save(state, write_weights, {"optimizer": {"x": torch.arange(3)}})
    read, tensors = read_checkpoint(folder)
    assert read == state
    assert torch.equal(tensors["optimizer"]["x"], torch.arange(3))
    assert folder.name == "step-00000003"


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10):
        save(checkpoints, step)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]
    assert checkpoints.latest() == tmp_path / "step-00000010"


def test_the_best_one_is_kept_beside_the_newest(tmp_path):
    checkpoints, state = Checkpoints(tmp_path, keep=1), TrainState()
    for state.step, loss in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 1.5)):
        state.note_validation(loss)
        checkpoints.save(state, write_weights, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]


@pytest.mark.parametrize("kind", [OSError, RuntimeError])
def test_a_full_disk_is_told_as_such_whoever_meets_it(tmp_path, kind):
    """safetensors and torch raise errors of their own with the text of the system."""

    def full_disk(folder: Path) -> None:
        raise kind("I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match="No space left on device") as error:
        Checkpoints(tmp_path).save(TrainState(step=2), full_disk, {})
    assert error.value.errno == 28


def test_nothing_there_is_nothing_found(tmp_path):
    assert Checkpoints(tmp_path / "absent").latest() is None


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "no manifest", "bad manifest"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    older, newer = save(checkpoints, 1), save(checkpoints, 2)
    weights, manifest = newer / "model.safetensors", newer / "trainer/manifest.json"
    if damage == "cut":
        weights.write_bytes(b"wei")
    elif damage == "changed":
        weights.write_bytes(b"WEIGHTS")
    elif damage == "missing":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text("{")
    assert find_problem(newer) is not None
    with pytest.warns(RuntimeWarning, match=f"{newer.name}: passed over"):
        assert checkpoints.latest() == older
    assert find_problem(save(checkpoints, 2)) is None


@pytest.mark.parametrize("looked", [True, False])
def test_a_damaged_checkpoint_counts_among_those_that_are_kept_neither_now_nor_later(tmp_path, looked):
    damaged = save(Checkpoints(tmp_path, keep=1), 20)
    (damaged / "model.safetensors").write_bytes(b"WEIGHTS")
    checkpoints = Checkpoints(tmp_path, keep=1)
    if looked:
        with pytest.warns(RuntimeWarning, match="passed over"):
            assert checkpoints.latest() is None
    assert save(checkpoints, 15).exists()
    assert damaged.exists()  # somebody may want what is left of it, until the run has come as far
    assert save(checkpoints, 25).exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000025"]


def test_a_damaged_checkpoint_that_is_not_the_last_one_does_not_push_out_a_whole_one(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        save(checkpoints, step)
    (tmp_path / "step-00000002/trainer/manifest.json").unlink()
    save(checkpoints, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000001", "step-00000003"]


def test_the_best_one_is_the_best_of_those_that_are_there(tmp_path):
    checkpoints, state = Checkpoints(tmp_path, keep=1), TrainState()
    for state.step, loss, room in ((1, 3.0, True), (2, 2.0, True), (3, 1.0, False), (4, 2.5, True)):
        state.note_validation(loss)
        if room:
            checkpoints.save(state, write_weights, {})
    assert checkpoints.best(state) == (2.0, tmp_path / "step-00000002")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000004"]
    (tmp_path / "step-00000002/model.safetensors").write_bytes(b"WEIGHTS")
    assert checkpoints.best(state) == (2.5, tmp_path / "step-00000004")


def test_a_checkpoint_that_was_saved_before_its_validation_can_be_the_best_one(tmp_path):
    checkpoints, state = Checkpoints(tmp_path, keep=1), TrainState(step=1)
    folder = checkpoints.save(state, write_weights, {})
    assert checkpoints.best(state) is None
    state.note_validation(1.0)
    state.step = 2
    checkpoints.save(state, write_weights, {})
    assert checkpoints.best(state) == (1.0, folder)


def test_what_another_trainer_wrote_counts_once_it_is_sealed(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (90, 100, 110):
        (tmp_path / f"checkpoint-{step}").mkdir()
        write_weights(tmp_path / f"checkpoint-{step}")
        checkpoints.seal(step)
    assert checkpoints.latest() == tmp_path / "checkpoint-110"
    assert len(list(tmp_path.iterdir())) == 2
    write_weights(tmp_path / "checkpoint-110")
    checkpoints.seal(110)  # again, as after a kill while the next one was written
    (tmp_path / "checkpoint-120").mkdir()
    with pytest.warns(RuntimeWarning, match="checkpoint-120: passed over, manifest.json is missing"):
        assert checkpoints.latest() == tmp_path / "checkpoint-110"


def test_a_write_that_failed_leaves_the_older_checkpoint(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)
    older = save(checkpoints, 1)

    def full_disk(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        checkpoints.save(TrainState(step=2), full_disk, {})
    assert checkpoints.latest() == older
    assert [p.name for p in tmp_path.iterdir()] == [older.name]
    assert save(checkpoints, 2).name == "step-00000002"
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002"]


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    folder = save(Checkpoints(tmp_path), 1)
    state = json.loads((folder / "trainer/state.json").read_text())
    (folder / "trainer/state.json").write_text(json.dumps(state | {"unknown": 1}))
    with pytest.raises(StageError, match="another version"):
        read_checkpoint(folder)


def test_generators_go_on_where_they_were():
    import random

    import numpy as np

    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    states = random_states()
    drawn = draw()
    set_random_states(states)
    assert draw() == drawn
