"""The loop: its loss, its stopping, and that an interrupted run ends in the same weights."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from accelerate import Accelerator  # noqa: E402
from small import TINY, ListStream, make_batch, random_batch  # noqa: E402

from smolchat_fast.errors import StageError  # noqa: E402
from smolchat_fast.model import build_model, load_model, set_dropout  # noqa: E402
from smolchat_fast.train import loop  # noqa: E402
from smolchat_fast.train.checkpoint import Checkpoints  # noqa: E402
from smolchat_fast.train.lines import read_lines  # noqa: E402
from smolchat_fast.train.loop import Run, target_loss_sum  # noqa: E402
from smolchat_fast.train.metrics import Metrics  # noqa: E402
from smolchat_fast.train.optimizer import build_optimizer  # noqa: E402
from smolchat_fast.train.options import TrainOptions  # noqa: E402
from smolchat_fast.train.state import TrainState, seed_everything  # noqa: E402
from smolchat_fast.train.validation import Valid, validate  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_run(
    out: Path, tokenizer: Path, options: TrainOptions, stream: ListStream | None = None, **more
) -> Run:
    out.mkdir(exist_ok=True)
    seed_everything(options.seed)
    latest = Checkpoints(out / "checkpoints").latest()
    model = load_model(latest) if latest else build_model(TINY, tokenizer)
    set_dropout(model, options.dropout or 0.0)
    stream = stream or ListStream([random_batch(seed) for seed in range(5)])
    return Run(
        options=options,
        model=model,
        optimizer=build_optimizer(model, options),
        batches=stream,
        valid=more.pop("valid", None),
        accelerator=Accelerator(cpu=True),
        tokenizer=tokenizer,
        out=out,
        **more,
    )


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in run.plain_model.named_parameters()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_is_that_of_transformers_by_target_token(tokenizer):
    model, batch = build_model(TINY, tokenizer).eval(), random_batch(1)
    loss = target_loss_sum(model, batch, Accelerator(cpu=True))
    reference = model(
        input_ids=torch.from_numpy(batch.input_ids),
        attention_mask=torch.from_numpy(batch.attention_mask),
        labels=torch.from_numpy(batch.labels),
    ).loss
    torch.testing.assert_close(loss / int((batch.labels >= 0).sum()), reference)


def test_more_padding_changes_no_loss(tokenizer):
    model, batch = build_model(TINY, tokenizer).eval(), random_batch(2)
    padded = make_batch(
        np.pad(batch.input_ids, ((0, 0), (0, 3))),
        np.pad(batch.attention_mask, ((0, 0), (0, 3))),
        np.pad(batch.labels, ((0, 0), (0, 2)), constant_values=-100),
    )
    losses = [target_loss_sum(model, b, Accelerator(cpu=True)) for b in (batch, padded)]
    torch.testing.assert_close(losses[0], losses[1])


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_micro_batches_of_any_length_make_the_step_of_the_whole_batch(optimizer, tokenizer, tmp_path):
    """The mean is over the target tokens of the step, not over micro-batches."""
    whole = random_batch(3, rows=6)
    parts = [make_batch(*(a[rows] for a in (whole.input_ids, whole.attention_mask, whole.labels)))
             for rows in (slice(0, 1), slice(1, 6))]  # fmt: skip
    ends = []
    for name, batches in (("whole", [whole]), ("parts", parts)):
        options = TrainOptions(steps=1, lr=0.01, optimizer=optimizer, accumulate=len(batches))
        run = make_run(tmp_path / name, tokenizer, options, ListStream(batches))
        losses = run.train(), run.state
        assert losses[0]
        ends.append(weights(run))
    for name in ends[0]:
        # Muon rounds its direction to bfloat16.
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=0, atol=2e-4)


def test_the_run_ends_after_its_steps_or_its_epochs(tokenizer, tmp_path):
    by_steps = make_run(tmp_path / "steps", tokenizer, TrainOptions(steps=7))
    assert by_steps.train()
    assert by_steps.state.step == 7
    stream = ListStream([random_batch(seed) for seed in range(5)], epochs=2)
    by_epochs = make_run(tmp_path / "epochs", tokenizer, TrainOptions(epochs=2), stream)
    assert by_epochs.train()
    assert (by_epochs.state.step, by_epochs.state.rows) == (10, 40)


def test_the_last_step_of_an_epoch_may_have_fewer_batches(tokenizer, tmp_path):
    stream = ListStream([random_batch(seed) for seed in range(5)], epochs=1)
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(epochs=1, accumulate=3), stream)
    assert run.train()
    assert (run.state.step, run.state.rows) == (2, 20)


class StoppingStream(ListStream):
    """Sends a signal to this process when a batch is asked for."""

    signal_at, number, times = 4, signal.SIGINT, 1

    def __next__(self):
        for _ in range(self.times if self.position == self.signal_at else 0):
            signal.raise_signal(self.number)
        return super().__next__()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "options", [{"optimizer": "muon"}, {"optimizer": "adamw", "dropout": 0.2, "accumulate": 2}]
)
def test_a_stopped_run_goes_on_to_the_same_weights(number, options, tokenizer, tmp_path):
    """Bit for bit, with dropout and in the middle of an epoch."""
    options = TrainOptions(steps=9, lr=0.01, log_every=2, **options)
    undisturbed = make_run(tmp_path / "whole", tokenizer, options)
    assert undisturbed.train()

    stream = StoppingStream([random_batch(seed) for seed in range(5)])
    stream.number = number
    stopped = make_run(tmp_path / "run", tokenizer, options, stream)
    assert not stopped.train()
    assert 0 < stopped.state.step < 9
    resumed = make_run(tmp_path / "run", tokenizer, options)
    assert resumed.state.step == stopped.state.step
    assert resumed.train()
    assert same(weights(resumed), weights(undisturbed))
    steps = [line["step"] for line in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert steps == sorted(set(steps))
    assert resumed.state.target_tokens == undisturbed.state.target_tokens


def test_a_run_that_was_stopped_before_its_first_step_goes_on(tokenizer, tmp_path):
    stream = StoppingStream([random_batch(seed) for seed in range(5)])
    stream.signal_at = 0
    stopped = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=3), stream)
    assert not stopped.train()
    assert stopped.state.step == 0
    resumed, undisturbed = (
        make_run(tmp_path / name, tokenizer, TrainOptions(steps=3)) for name in ("run", "whole")
    )
    assert resumed.train()
    assert undisturbed.train()
    assert same(weights(resumed), weights(undisturbed))


def test_a_second_ctrl_c_ends_at_once(tokenizer, tmp_path):
    stream = StoppingStream([random_batch(seed) for seed in range(5)])
    stream.times = 2
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=9), stream)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert Checkpoints(tmp_path / "run/checkpoints").latest() is None


def test_handlers_are_given_back_after_a_run(tokenizer, tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    make_run(tmp_path / "run", tokenizer, TrainOptions(steps=1)).train()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_lost_checkpoint_costs_the_steps_since_the_one_before(tokenizer, tmp_path):
    options = TrainOptions(steps=8, lr=0.01, save_every=3, keep=3)
    run = make_run(tmp_path / "run", tokenizer, options)
    run.train()
    (tmp_path / "run/checkpoints/step-00000008/model.safetensors").unlink()
    resumed = make_run(tmp_path / "run", tokenizer, options)
    assert resumed.state.step == 6
    resumed.train()
    assert same(weights(resumed), weights(run))


def test_a_full_disk_costs_checkpoints_but_not_the_run(tokenizer, tmp_path, monkeypatch):
    options = TrainOptions(steps=6, lr=0.01, save_every=2, log_every=1)
    undisturbed = make_run(tmp_path / "whole", tokenizer, options)
    undisturbed.train()
    real, run = loop.save_model, make_run(tmp_path / "run", tokenizer, options)

    def on_a_full_disk(model, source, folder: Path) -> None:
        if run.state.step in {4, 6}:
            raise OSError(28, "No space left on device")
        real(model, source, folder)

    monkeypatch.setattr(loop, "save_model", on_a_full_disk)
    with pytest.warns(RuntimeWarning, match="disk full"):
        assert run.train()
    assert same(weights(run), weights(undisturbed))
    assert run.saved_step == 2
    assert [p.name for p in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000002"]
    warned = [line["step"] for line in read_lines(tmp_path / "run/metrics.jsonl") if "warning" in line]
    assert warned == [4, 6]


def test_metrics_wait_for_room_on_the_disk(tmp_path, monkeypatch):
    def no_room(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with Metrics(tmp_path, TrainState()) as metrics:
        metrics.write({"step": 1})
        with monkeypatch.context() as full:
            full.setattr("os.write", no_room)
            metrics.write({"step": 2})
        metrics.write({"step": 3})
    assert [line["step"] for line in read_lines(tmp_path / "metrics.jsonl")] == [1, 2, 3]


def test_a_resumed_run_writes_the_metrics_of_an_undisturbed_one(tokenizer, tmp_path):
    """Also the line that was not full when the run stopped."""
    options = TrainOptions(steps=9, lr=0.01, log_every=4)
    stream = StoppingStream([random_batch(seed) for seed in range(5)])
    stream.signal_at = 6
    make_run(tmp_path / "run", tokenizer, options, stream).train()
    make_run(tmp_path / "run", tokenizer, options).train()
    make_run(tmp_path / "whole", tokenizer, options).train()

    def figures(name: str) -> list[tuple]:
        lines = read_lines(tmp_path / name / "metrics.jsonl")
        return [
            tuple(line[key] for key in ("step", "rows", "loss", "grad_norm", "padding")) for line in lines
        ]

    assert len(figures("run")) == 2
    assert figures("run") == figures("whole")


def test_a_wish_to_stop_cuts_a_validation_short_and_it_is_made_up_for(tokenizer, tmp_path):
    class Signalling:
        times = 1

        def __call__(self):
            for number in range(4):
                if number == 2 and self.times:
                    self.times -= 1
                    signal.raise_signal(signal.SIGTERM)
                yield random_batch(number)

    options = TrainOptions(steps=4, lr=0.01, eval_every=2)
    stopped = make_run(tmp_path / "run", tokenizer, options, valid=Valid(Signalling()))
    assert not stopped.train()
    assert (stopped.state.step, stopped.state.validated) == (2, 0)
    valid = Valid(lambda: [random_batch(number) for number in range(4)])
    for name in ("run", "whole"):
        assert make_run(tmp_path / name, tokenizer, options, valid=valid).train()
    losses = [
        [(line["step"], line["valid_loss"]) for line in read_lines(tmp_path / name / "metrics.jsonl")]
        for name in ("run", "whole")
    ]
    assert [step for step, _ in losses[0]] == [2, 4]
    assert losses[0] == losses[1]


def test_a_gradient_that_is_no_number_ends_the_run_and_keeps_the_weights(tokenizer, tmp_path):
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=3))
    before = weights(run)
    hook = run.plain_model.shared.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(StageError, match="step 1 is not finite"):
        run.train()
    hook.remove()
    assert same(weights(run), before)


@pytest.mark.parametrize("scale", [65_536.0, 0.5])
def test_fp16_passes_over_steps_only_while_scaling_may_help(scale, tokenizer, tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=1))
    run.plain_model.shared.weight.register_hook(lambda gradient: gradient * float("inf"))
    monkeypatch.setattr(run.accelerator, "scaler", torch.amp.GradScaler("cpu", init_scale=scale))
    # What the optimizer does is accelerate's business: it asks the same scaler.
    monkeypatch.setattr(run.optimizer, "step", lambda: None)
    if scale > 1:
        assert run.train()
    else:
        with pytest.raises(StageError, match="step 1 is not finite"):
            run.train()


@pytest.mark.parametrize("limit", [0.0, 1e-3, 1e3])
def test_gradients_are_clipped_as_torch_clips_them(limit, tokenizer, tmp_path):
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=1, max_norm=limit))
    target_loss_sum(run.forward, random_batch(1), run.accelerator).backward()
    parameters = list(run.plain_model.parameters())
    before = [p.grad.clone() for p in parameters]
    found = run.sharding.clip()
    clipped = [p.grad.clone() for p in parameters]
    for parameter, gradient in zip(parameters, before, strict=True):
        parameter.grad = gradient
    expected = torch.nn.utils.clip_grad_norm_(parameters, limit or float("inf"))
    assert found == float(expected)
    assert all(torch.equal(c, p.grad) for c, p in zip(clipped, parameters, strict=True))


def test_validation_is_by_target_token_and_leaves_training_alone(tokenizer, tmp_path):
    batches = [random_batch(seed, rows=seed + 1) for seed in range(3)]
    run = make_run(
        tmp_path / "run", tokenizer, TrainOptions(steps=4, eval_every=2), valid=Valid(lambda: batches)
    )
    assert run.train()
    sums = [target_loss_sum(run.plain_model.eval(), batch, run.accelerator).item() for batch in batches]
    tokens = [int((batch.labels >= 0).sum()) for batch in batches]
    assert run.state.valid_loss == pytest.approx(sum(sums) / sum(tokens), rel=1e-6)
    silent = make_run(tmp_path / "silent", tokenizer, TrainOptions(steps=4))
    silent.train()
    assert same(weights(silent), weights(run))
    assert validate(run.plain_model, Valid(list), run.accelerator).loss is None


def test_metrics_have_a_line_every_few_steps(tokenizer, tmp_path):
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=6, log_every=3, lr=0.01))
    run.train()
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert {"step", "rows", "loss", "lr", "grad_norm", "tokens_per_s", "padding", "seconds"} <= set(lines[0])


def test_training_learns(tokenizer, tmp_path):
    run = make_run(tmp_path / "run", tokenizer, TrainOptions(steps=60, lr=0.02, log_every=1))
    run.train()
    losses = [line["loss"] for line in read_lines(tmp_path / "run/metrics.jsonl")]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
