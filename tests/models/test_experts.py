import copy
import math

import pytest
import torch
from torch import nn

import luts
from models import Routing, emulate, expert_work, measure_routing, uniform_routing
from models.networks import (
    HardMoE,
    SoftMoE,
    WeightedExperts,
    auxiliary_loss,
    every_expert_sees_everything,
    expert_layers,
)

EXPERTS, WIDTH = 3, 4


def linears(count=EXPERTS):
    return [nn.Linear(WIDTH, WIDTH) for _ in range(count)]


def hard(**options):
    return HardMoE(linears(), features=WIDTH, granularity="token", **options).eval()


def test_dispatch_sums_the_chosen_experts_with_their_gates():
    layer = hard()
    items = torch.randn(5, WIDTH)
    chosen = torch.tensor([[0, 1], [2, 1], [1, 0], [0, 2], [2, 0]])
    gates = torch.rand(5, 2)
    expected = torch.stack(
        [
            sum(gates[i, k] * layer.experts[chosen[i, k]](items[i]) for k in range(2))
            for i in range(5)
        ]
    )
    assert torch.allclose(layer.dispatch(items, chosen, gates), expected, atol=1e-6)
    assert layer.work.tolist() == [4, 3, 3]
    assert (layer.items, layer.outputs) == (5, WIDTH)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("top_k", [1, 2])
def test_dispatch_without_a_gradient_gives_the_same_bits_in_the_same_order(order, top_k):
    experts = [nn.Conv2d(WIDTH, 6, 3, padding=1) for _ in range(EXPERTS)]
    layer = HardMoE(experts, features=WIDTH, granularity="image", top_k=top_k).eval()
    layer.to(memory_format=order)
    items = torch.randn(9, WIDTH, 5, 5).contiguous(memory_format=order)
    chosen = torch.rand(9, EXPERTS).topk(top_k, dim=1).indices
    gates = torch.rand(9, top_k)
    expected = layer.dispatch(items, chosen, gates)
    with torch.no_grad():
        found = layer.dispatch(items, chosen, gates)
    assert torch.equal(found, expected.detach())
    assert found.stride() == expected.stride()


@torch.no_grad()
def test_convolutions_before_experts_keep_the_quicker_order_of_memory():
    experts = [nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(EXPERTS)]
    layer = HardMoE(experts, features=WIDTH, granularity="image")
    network = nn.Sequential(nn.Conv2d(3, WIDTH, 3), layer).eval()
    emulated = emulate(network, luts.EXACT, calibration=torch.randn(16, 3, 7, 7))
    assert not any(convolution.keeps_format for convolution in emulated.weighted[:1])


def test_no_items_give_no_items():
    assert hard()(torch.zeros(0, WIDTH)).shape == (0, WIDTH)


def test_every_expert_sees_every_token_of_every_image():
    layers = nn.Sequential(hard(), SoftMoE(linears(), features=WIDTH, tokens=6, slots=1))
    seen = {}

    def note(expert, inputs, output):
        if layers[0].showing_all or layers[1].showing_all:
            seen[expert] = inputs[0]

    for layer in layers:
        for expert in layer.experts:
            expert.register_forward_hook(note)
    x = torch.randn(2, 6, WIDTH)
    with every_expert_sees_everything(layers):
        layers(x)
    assert len(seen) == 2 * EXPERTS
    for expert in layers[0].experts:
        assert torch.equal(seen[expert], x.flatten(0, 1))
    seen.clear()
    layers(x)
    assert not seen


def test_auxiliary_losses_are_summed_in_training_only_and_not_copied():
    net = nn.Sequential(hard(), hard())
    net(torch.randn(8, WIDTH))
    assert auxiliary_loss(net) is None
    net.train()(torch.randn(8, WIDTH))
    assert auxiliary_loss(net) == net[0].auxiliary_loss + net[1].auxiliary_loss
    assert auxiliary_loss(copy.deepcopy(net)) is None


def test_measured_routing_counts_items_over_all_batches():
    layer = hard(jitter=0)
    with torch.no_grad():  # the sign of the first feature decides between the first two experts
        layer.router.weight.zero_()
        layer.router.weight[0, 0], layer.router.weight[1, 0] = 1, -1
    first, second = torch.ones(6, WIDTH), torch.ones(2, WIDTH)
    second[0] = -1
    net = nn.Sequential(layer).train()
    routing = measure_routing(net, [first, second], source="here")
    assert routing.rates == {"0": (7 / 8, 1 / 8, 0.0)}
    assert net.training
    assert Routing.from_json(routing.to_json()) == routing


@pytest.mark.parametrize("top_k", [1, 2])
def test_uniform_rates_sum_to_what_is_run(top_k):
    net = nn.Sequential(
        hard(top_k=top_k), SoftMoE(linears(), features=WIDTH, tokens=7, slots=2)
    ).eval()
    work = {record.layer: record for record in expert_work(net, torch.randn(2, 7, WIDTH))}
    rates = uniform_routing(net).rates
    assert math.fsum(rates["0"]) == pytest.approx(top_k) == work["0"].executions
    assert math.fsum(rates["1"]) == pytest.approx(6 / 7) == work["1"].executions
    assert (work["0"].items, work["1"].items) == (7, 7)
    assert not work["0"].fixed
    assert work["1"].fixed
    assert set(expert_layers(net)) == {"0", "1"}


def test_weighted_images_run_every_expert():
    convolutions = [nn.Conv2d(WIDTH, 2, 3) for _ in range(EXPERTS)]
    net = nn.Sequential(WeightedExperts(convolutions, features=WIDTH)).eval()
    (work,) = expert_work(net, torch.randn(2, WIDTH, 5, 5))
    assert (work.items, work.executions, work.fixed) == (1, EXPERTS, True)
    assert work.overhead_macs == EXPERTS * 2 * 3 * 3
    assert uniform_routing(net).rates == {"0": (1.0,) * EXPERTS}
