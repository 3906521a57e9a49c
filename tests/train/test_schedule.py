"""Schedules: golden values, and the one of torch that `onecycle` stands for."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from smolchat_fast.train.options import TrainOptions  # noqa: E402
from smolchat_fast.train.schedule import Schedule, lr_share  # noqa: E402


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [0.25, 1.0, 1.0, 1.0, 1.0, 1.0]),
        ("wsd", [0.25, 1.0, 1.0, 1.0, 0.5, 0.0]),
        ("cosine", [0.25, 1.0, 0.8535534, 0.5, 0.1464466, 0.0]),
        ("onecycle", [0.1635177, 1.0, 0.8535534, 0.5, 0.1464466, 0.0]),
    ],
)
def test_schedules_have_these_values(name, expected):
    positions = [0.05, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert [lr_share(name, p, warmup=0.2, decay=0.4) for p in positions] == pytest.approx(expected, abs=1e-6)


def test_onecycle_is_the_one_of_torch_from_a_fiftieth_up_and_down():
    steps = 2000
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 5e-3, total_steps=steps, div_factor=50, pct_start=0.3
    )
    for step in range(steps):
        ours = 5e-3 * lr_share("onecycle", (step + 0.5) / steps, warmup=0.3, decay=0.0)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"], abs=1.5e-5)
        optimizer.step()
        torchs.step()


@pytest.mark.parametrize("name", ["wsd", "cosine", "onecycle", "constant"])
def test_no_step_of_a_run_has_a_rate_of_zero(name):
    for steps in (1, 2, 7, 100):
        shares = [lr_share(name, (step + 0.5) / steps, warmup=0.05, decay=0.4) for step in range(steps)]
        assert all(0 < share <= 1 for share in shares)


def test_every_group_keeps_its_own_highest_rate():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    groups = [{"params": [weights[0]], "max_lr": 0.1}, {"params": [weights[1]], "max_lr": 0.02}]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    Schedule(TrainOptions(schedule="wsd", warmup_share=0.0, decay_share=0.5)).apply(optimizer, 0.75)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.05, 0.01])


def test_a_decay_that_overlaps_the_warm_up_is_refused():
    with pytest.raises(ValueError, match="option decay_share"):
        TrainOptions(steps=1, warmup_share=0.5, decay_share=0.6).check()
