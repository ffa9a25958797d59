"""Topology soft of convolutional networks by mixed kernels."""

import dataclasses

import pytest
import torch
from torch import nn

import energy
import models
from luts import EXACT, InputError
from models.networks import MixedKernels, NetworkConfig, build, upcycle_
from models.training import TrainingRecipe, fit

MIXED = NetworkConfig(
    "resnet20", topology="soft", image_size=8, experts=3, expert_blocks=(5, 8), soft_mixes="kernels"
)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 1, 1), (3, 2, 1), (1, 2, 0)])
def test_a_mixture_of_kernels_is_a_mixture_of_convolutions(kernel, stride, padding):
    """Slow and obvious: convolutions are linear in their kernels."""
    source = nn.Conv2d(4, 6, kernel, stride=stride, padding=padding, bias=False)
    layer = MixedKernels(source, 3, noise=0.5, seed=0).eval()
    layer.router.weight.data *= 50
    x = torch.randn(5, 4, 7, 9)
    gates = layer.router(layer.standardise(x.mean(dim=(2, 3)))).softmax(dim=-1)
    each = torch.stack(
        [
            nn.functional.conv2d(x, k.view_as(source.weight), stride=stride, padding=padding)
            for k in layer.kernels
        ]
    )
    expected = torch.einsum("be,eb...->b...", gates, each)
    assert torch.allclose(layer(x), expected, atol=1e-5)
    assert gates.std(dim=0).min() > 0.01  # images differ in their kernels
    assert layer.overhead_macs(1) == 3 * source.weight.numel()


@pytest.mark.parametrize("arch", ["resnet20", "vgg11_bn"])
def test_equal_kernels_make_the_dense_network(arch):
    size = 8 if arch == "resnet20" else 32
    network, images = build(arch, image_size=size).eval(), torch.randn(6, 3, size, size)
    dense = network(images)
    config = dataclasses.replace(MIXED, arch=arch, image_size=size, expert_blocks=(2, 3))
    upcycle_(network, config, images=iter([images]), noise=0, seed=0)
    assert torch.allclose(network.eval()(images), dense, atol=1e-5)
    layers = [m for m in network.modules() if isinstance(m, MixedKernels)]
    assert len(layers) == (4 if arch == "resnet20" else 2)
    # Every routing function has the mean of its own input.
    assert all(layer.standardise.running_mean.abs().max() > 0 for layer in layers)
    again = build(config)
    again.load_state_dict(network.state_dict())


@pytest.fixture
def mixed():
    network, images = build("resnet20", image_size=8).eval(), torch.randn(48, 3, 8, 8)
    upcycle_(network, MIXED, images=[images], noise=0.3, seed=0)
    return network.eval(), images


def test_products_are_those_of_the_dense_network(mixed):
    network, images = mixed
    sites = models.sites(network, images[:1])
    dense = models.sites(build("resnet20", image_size=8).eval(), images[:1])
    assert sites.coverage == 1
    routers = sum(site.macs for site in sites if site.kind == "router")
    assert sum(site.macs for site in sites) - routers == sum(site.macs for site in dense)
    kinds = [site.kind for site in sites]
    assert kinds.count("matmul") == kinds.count("router") == 4


def test_it_is_emulated_and_charged_with_what_mixing_takes(mixed):
    network, images = mixed
    emulated = models.emulate(network, EXACT, calibration=images)
    error = (emulated(images) - network(images)).abs().max()
    assert error < 0.1 * network(images).abs().max()
    emulated.assign_("mul8s_1KR3")
    assert (emulated(images) - network(images)).abs().max() > 2 * error
    routing = models.measure_routing(emulated.network, [images], source="test")
    work = models.expert_work(emulated.network, images[:1])
    workload = energy.Workload(emulated.sites, routing, tuple(work))
    costs = [
        energy.cost(workload, models.Assignment.uniform(emulated.sites, name))
        for name in (EXACT, "mul8s_1KR3")
    ]
    assert costs[0].energy_rel > costs[1].energy_rel
    overhead = [row for row in costs[0].rows if row.kind == "overhead"]
    kernels = [m.kernels.numel() for m in network.modules() if isinstance(m, MixedKernels)]
    assert [row.macs for row in overhead] == kernels
    router_and_overhead = sum(row.energy_pj for row in costs[0].rows if row.kind != "conv")
    rest = costs[0].energy_pj - router_and_overhead
    assert rest < costs[0].energy_pj / costs[0].energy_rel


def test_it_learns_and_its_kernels_with_it(mixed):
    network, images = mixed
    labels = (images.mean(dim=(1, 2, 3)) > 0).long()
    split = models.Split(images, labels)
    data = models.Data("toy", split, split, split, 10)
    before = {name: value.clone() for name, value in network.named_parameters()}
    recipe = TrainingRecipe(epochs=3, batch_size=16, lr=0.05, shift_px=0, flip=False)
    fit(network, data, recipe, seed=0)
    moved = {
        name for name, value in network.named_parameters() if not torch.equal(value, before[name])
    }
    assert any(name.endswith("kernels") for name in moved)
    assert any(name.endswith("router.weight") for name in moved)


@pytest.mark.parametrize(
    ("arch", "topology", "takers"),
    [("resnet20", "hard", "the topology soft; hard"), ("vit_small", "soft", "convolutional")],
)
def test_kernels_are_mixed_by_soft_cnns_alone(arch, topology, takers):
    with pytest.raises(InputError, match=f"soft_mixes .*is for {takers}.*leave it out"):
        NetworkConfig(arch, topology=topology, soft_mixes="kernels")
