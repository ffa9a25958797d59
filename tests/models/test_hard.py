import math

import pytest
import torch
from torch import nn

from models.networks import HardMoE, frozen_routers, information_loss, load_balancing_loss

EXPERTS, WIDTH = 4, 6


def layer(top_k=1, granularity="token", **options):
    make = {
        "token": lambda: nn.Linear(WIDTH, WIDTH),
        "image": lambda: nn.Sequential(nn.Conv2d(WIDTH, 5, 1), nn.BatchNorm2d(5)),
    }[granularity]
    experts = [make() for _ in range(EXPERTS)]
    return HardMoE(experts, features=WIDTH, granularity=granularity, top_k=top_k, **options)


def test_top_1_is_the_output_of_the_most_probable_expert():
    moe, x = layer().eval(), torch.randn(2, 7, WIDTH)
    best = (x @ moe.router.weight.t()).argmax(dim=-1)
    outputs = torch.stack([expert(x) for expert in moe.experts])
    expected = torch.einsum("ebnd,bne->bnd", outputs, nn.functional.one_hot(best, EXPERTS).float())
    assert torch.allclose(moe(x), expected, atol=1e-6)


def test_top_k_gates_are_renormalised_over_the_chosen():
    moe, x = layer(top_k=3).eval(), torch.randn(9, WIDTH)
    logits = x @ moe.router.weight.t()
    worst = logits.argmin(dim=-1, keepdim=True)
    gates = logits.scatter(1, worst, -math.inf).softmax(dim=-1)
    outputs = torch.stack([expert(x) for expert in moe.experts])
    assert torch.allclose(moe(x), torch.einsum("end,ne->nd", outputs, gates), atol=1e-5)


@pytest.mark.parametrize("granularity", ["token", "image"])
@pytest.mark.parametrize("top_k", [1, 2])
def test_the_task_reaches_the_router(top_k, granularity):
    moe = layer(top_k, granularity).train()
    x = torch.randn(8, WIDTH) if granularity == "token" else torch.randn(8, WIDTH, 3, 3)
    moe(x).square().sum().backward()
    assert moe.router.weight.grad.abs().max() > 0


def test_balancing_loss_is_least_at_perfect_balance():
    sure = torch.eye(4).repeat(3, 1)
    assert load_balancing_loss(sure, sure.argmax(1, keepdim=True)) == pytest.approx(1)
    one = torch.eye(4)[:1].repeat(12, 1)
    assert load_balancing_loss(one, one.argmax(1, keepdim=True)) == pytest.approx(4)
    # f = (3/4, 1/4), P = (0.6, 0.4)
    mixed = torch.tensor([[0.7, 0.3], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]])
    expected = 2 * (0.75 * 0.6 + 0.25 * 0.4)
    loss = load_balancing_loss(mixed, mixed.argmax(1, keepdim=True))
    assert loss == pytest.approx(expected)


def test_information_loss_asks_for_sure_and_even_choices():
    assert information_loss(torch.eye(4)) == pytest.approx(0, abs=1e-6)
    assert information_loss(torch.full((8, 4), 0.25)) == pytest.approx(math.log(4))
    assert information_loss(torch.eye(4)[:1].repeat(8, 1)) == pytest.approx(math.log(4))
    # H(1/2, 1/2) − H(0.9, 0.1)
    mixed = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    undecided = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert information_loss(mixed) == pytest.approx(undecided)


def test_information_loss_has_a_gradient_at_sure_choices():
    logits = (200 * torch.eye(3)).requires_grad_()
    information_loss(logits.softmax(dim=-1)).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("images", [1, 2, 5])
def test_an_expert_with_one_image_or_none_trains(images):
    moe = layer(granularity="image").train()
    output = moe(torch.randn(images, WIDTH, 1, 1))
    (output.square().sum() + moe.auxiliary_loss).backward()
    assert output.shape == (images, 5, 1, 1)
    assert moe.work.sum() == images
    assert all(expert[1].training for expert in moe.experts)


def test_one_image_leaves_the_statistics_alone():
    moe = layer(granularity="image").train()
    moe(torch.randn(1, WIDTH, 2, 2))
    assert all(int(expert[1].num_batches_tracked) == 0 for expert in moe.experts)


def test_a_shared_mean_of_image_features_does_not_decide():
    moe = layer(granularity="image").train()
    # As after a ReLU: every image has the same large mean in every feature.
    moe(10 + torch.randn(64, WIDTH, 2, 2))
    assert (moe.work > 0).sum() >= 3


def test_jitter_is_for_training_only():
    moe, x = layer(jitter=0.5), torch.randn(5, WIDTH)
    assert torch.equal(moe.eval()._probabilities(x), moe._probabilities(x))
    assert not torch.equal(moe.train()._probabilities(x), moe._probabilities(x))


@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("granularity", ["token", "image"])
def test_a_frozen_router_takes_no_part_in_training(granularity, top_k):
    moe = layer(top_k, granularity, jitter=0.5).train()
    x = torch.randn(8, WIDTH, *((2, 2) if granularity == "image" else ()), requires_grad=True)
    with frozen_routers(nn.Sequential(moe)):
        output, repeated = moe(x), moe(x)
        assert torch.equal(output, repeated)
        assert moe.auxiliary_loss is None
        probabilities = moe._probabilities(moe.to_items(x))
        output.square().sum().backward()
    assert moe.router.weight.grad is None
    top, chosen = probabilities.topk(top_k)
    gates = torch.ones_like(top) if top_k == 1 else top / top.sum(dim=-1, keepdim=True)
    alone = x.detach().clone().requires_grad_()
    moe.dispatch(moe.to_items(alone), chosen, gates).square().sum().backward()
    assert torch.equal(x.grad, alone.grad)
    moe(x).square().sum().backward()
    assert moe.router.weight.grad is not None
    assert moe.auxiliary_loss is not None


@pytest.mark.parametrize("granularity", ["token", "image"])
def test_layers_before_an_image_s_router_learn_nothing_from_it(granularity):
    moe = layer(granularity=granularity, jitter=0.0).train()
    x = torch.randn(8, WIDTH, *((2, 2) if granularity == "image" else ()), requires_grad=True)
    (moe(x).square().sum() + moe.auxiliary_loss).backward()
    assert moe.router.weight.grad.any()
    alone = x.detach().clone().requires_grad_()
    with frozen_routers(nn.Sequential(moe)):
        moe(alone).square().sum().backward()
    assert torch.equal(x.grad, alone.grad) == (granularity == "image")


def test_gates_cost_multiplications_for_several_experts_only():
    for top_k, macs in ((1, 0), (2, 2 * 7 * WIDTH)):
        moe = layer(top_k).eval()
        moe(torch.randn(7, WIDTH))
        assert moe.overhead_macs(7) == macs
