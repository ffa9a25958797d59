"""Products that the comparison with ZigZag is made of."""

import numpy as np
import pytest
import torch

import energy
import models
from studies.energy_check import _cases as study


@pytest.mark.parametrize("topology", ["dense", "hard"])
def test_products_do_the_macs_of_their_sites(topology):
    network = models.build("vit_small", topology=topology, image_size=32, patch_size=16)
    example = torch.zeros(1, 3, 32, 32)
    sites = models.sites(network, example)
    layers = models.expert_work(network, example)
    routing = study.whole_token_routing(layers, 0.5, np.random.default_rng(0))
    for site in sites:
        rate = 1.0 if site.expert is None else routing.rate(site.expert_layer, site.expert)
        product = study.product_of(site, sites, routing)
        assert product.macs == pytest.approx(site.macs * rate)


def test_mixes_grow_harsher():
    network = models.build("vit_small")
    sites = models.sites(network, torch.zeros(1, 3, 32, 32))
    rng = np.random.default_rng(0)
    mild, harsh = (study.mixed_assignment(sites, harshness, rng) for harshness in (0.1, 0.9))
    assert (
        energy.cost(energy.Workload(sites), mild).energy_rel
        > energy.cost(energy.Workload(sites), harsh).energy_rel + 0.3
    )
