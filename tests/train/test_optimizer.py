"""The optimizers do what they are told: rates, groups, frozen parameters."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from small import TINY  # noqa: E402

from smolchat_fast.model import build_model  # noqa: E402
from smolchat_fast.train.optimizer import Muon, build_optimizer, freeze, orthogonal  # noqa: E402
from smolchat_fast.train.options import TrainOptions  # noqa: E402


def weights_after(tokenizer, steps=3, **options):
    model = build_model(TINY, tokenizer)
    optimizer = build_optimizer(model, TrainOptions(**options))
    ids = torch.tensor([[7, 8, 9, 1], [10, 9, 8, 1]])
    for _ in range(steps):
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def differ(left, right):
    return {name for name in left if not torch.equal(left[name], right[name])}


@pytest.mark.parametrize("name", ["muon", "adamw", "adafactor"])
def test_the_learning_rate_acts(name, tokenizer):
    start = weights_after(tokenizer, steps=0, optimizer=name)
    assert not differ(start, weights_after(tokenizer, optimizer=name, lr=0.0))
    slow, fast = (weights_after(tokenizer, optimizer=name, lr=lr) for lr in (0.001, 0.002))
    assert differ(start, slow) == differ(slow, fast) == set(start)


@pytest.mark.parametrize("name", ["muon", "adamw", "adafactor"])
def test_embeddings_and_norms_follow_their_own_rate(name, tokenizer):
    start = weights_after(tokenizer, steps=0, optimizer=name)
    changed = differ(start, weights_after(tokenizer, optimizer=name, lr=0.01, embedding_lr=0.0))
    assert "encoder.block.0.layer.0.SelfAttention.q.weight" in changed
    assert not {n for n in changed if "shared" in n or "norm" in n or "relative" in n}


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_weight_decay_shrinks_matrices_alone(name, tokenizer):
    plain, decayed = (weights_after(tokenizer, 1, optimizer=name, weight_decay=w) for w in (0.0, 0.5))
    changed = differ(plain, decayed)
    assert changed
    assert not {n for n in changed if "shared" in n or "norm" in n or "relative" in n}


def test_muon_is_the_one_of_torch():
    torch.manual_seed(1)
    start = [torch.randn(24, 16), torch.randn(24, 16), torch.randn(8, 16), torch.randn(16, 16)]
    gradients = [[torch.randn_like(p) for p in start] for _ in range(3)]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    muon = Muon([{"params": ours, "hidden": True, "max_lr": 0.02}], lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1)
    for step in gradients:
        for parameters, optimizer in ((ours, muon), (theirs, reference)):
            for parameter, gradient in zip(parameters, step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
    for mine, reference_weight in zip(ours, theirs, strict=True):
        # Both round to bfloat16 within the rounds.
        torch.testing.assert_close(mine, reference_weight, rtol=0, atol=2e-3)


@pytest.mark.parametrize("shape", [(2, 16, 16), (3, 8, 32), (3, 32, 8)])
def test_orthogonal_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(1)
    values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
    assert values.max() < 1.3
    assert values.median() > 0.6


def test_muon_resumes_from_its_state():
    torch.manual_seed(1)
    start, gradients = torch.randn(8, 4), torch.randn(4, 8, 4)

    def steps(parameter, optimizer, chosen):
        for gradient in chosen:
            parameter.grad = gradient.clone()
            optimizer.step()

    def fresh(value):
        parameter = torch.nn.Parameter(value.clone())
        return parameter, Muon([{"params": [parameter], "hidden": True}], lr=0.1)

    whole, first = fresh(start), fresh(start)
    steps(*whole, gradients)
    steps(*first, gradients[:2])
    second = fresh(first[0].detach())
    second[1].load_state_dict(first[1].state_dict())
    steps(*second, gradients[2:])
    assert torch.equal(second[0], whole[0])


def test_frozen_parameters_are_those_that_a_pattern_begins(tokenizer):
    model = build_model(TINY, tokenizer)
    frozen = freeze(model, ["encoder", r"decoder\.block\.\d+\.layer\.0"])
    assert frozen
    assert all(name.startswith(("encoder", "decoder.block.0.layer.0")) for name in frozen)
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == set(frozen)


def test_a_model_of_fewer_layers_may_lack_what_is_frozen_in_the_one_it_stands_for(tokenizer):
    model = build_model(TINY, tokenizer)
    frozen = freeze(model, [r"decoder\.block\.[5-9]", "enc|shared"], stand_in=True)
    assert {name.partition(".")[0] for name in frozen} == {"encoder", "shared"}


def test_freezing_nothing_or_everything_is_refused(tokenizer):
    with pytest.raises(ValueError, match="matches no parameter"):
        freeze(build_model(TINY, tokenizer), ["embedder"])
    with pytest.raises(ValueError, match="leaves nothing to train"):
        freeze(build_model(TINY, tokenizer), [""])
    with pytest.raises(ValueError, match="not a regular expression"):
        TrainOptions(steps=1, freeze=("(",)).check()
