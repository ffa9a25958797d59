"""Every architecture in every topology, through the whole road of this package."""

import itertools
from dataclasses import replace

import pytest
import torch

from luts import EXACT
from models import (
    ARCHITECTURES,
    TOPOLOGIES,
    NetworkConfig,
    TrainingRecipe,
    build,
    channel_means,
    correct_bias_,
    emulate,
    expert_work,
    fit,
    load_data,
    measure_routing,
    sites,
    upcycle_,
)
from models.networks import expert_layers

PAIRS = list(itertools.product(ARCHITECTURES, TOPOLOGIES))
RECIPE = TrainingRecipe(epochs=1, batch_size=4, optimizer="adamw", lr=1e-4)


def test_the_pairs_are_the_sixteen():
    assert len(PAIRS) == 16


@pytest.fixture(scope="module")
def data():
    digits = load_data("digits", seed=0)
    return replace(digits, train=digits.train.take(4))


@pytest.mark.parametrize(("arch", "topology"), PAIRS)
def test_forward_sites_emulation_and_a_training_step(arch, topology, data):
    network = build(arch)
    if topology != "dense":
        config = NetworkConfig(arch, topology, experts=2)
        upcycle_(network, config, images=[data.train.images])
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    history = fit(network, data, RECIPE, seed=0)  # four images are one step
    assert len(history.epochs) == 1
    frozen = [n for n, p in network.named_parameters() if torch.equal(p, before[n])]
    # Of an expert that got no image nothing moves, nor of the head's last bias by chance.
    assert all(".experts." in name for name in frozen)

    images = data.train.images[:2]
    with torch.no_grad():
        logits = network(images)
    assert logits.shape == (2, 10)
    assert torch.isfinite(logits).all()

    found = sites(network, images[:1])
    layers = expert_layers(network)
    assert {s.expert_layer for s in found if s.expert is not None} == set(layers)
    rates = measure_routing(network, [images], source="here").rates
    for work in expert_work(network, images[:1]):
        assert sum(rates[work.layer]) == pytest.approx(work.executions)

    emulated = emulate(network, EXACT, calibration=[images])
    assert emulated.sites == found
    with torch.no_grad():
        exact = emulated(images)
    # Rounding may send a token elsewhere; what is held here is that nothing is grossly off.
    assert (exact - logits).abs().max() < 0.25 * logits.abs().max() + 0.1

    reference = channel_means(emulated, images)
    emulated.assign_("mul8s_1L2H")
    correct_bias_(emulated, images, reference)
    loss = torch.nn.functional.cross_entropy(emulated.train()(images), torch.tensor([1, 7]))
    loss.backward()
    learning = [p for p in emulated.parameters() if p.grad is not None and p.grad.any()]
    assert len(learning) > 0.4 * len(before)
