"""Facts about expert layers."""

import pytest
import torch

import models
from luts.errors import InputError


@pytest.fixture(scope="module")
def network():
    config = models.NetworkConfig("vit_small", "hard", experts=3, expert_blocks=(0, 5), top_k=2)
    return models.build(config)


def test_records_follow_from_the_shape(network):
    found = models.expert_work(network, torch.zeros(2, 3, 32, 32))
    assert [record.layer for record in found] == ["blocks.0.mlp", "blocks.5.mlp"]
    for record in found:
        # 2 × 2 patches of 16 pixels and the class token.
        assert (record.experts, record.items, record.executions) == (3, 5, 2.0)
        # Two experts' outputs of 384 features are each scaled by their gate.
        assert (record.overhead_macs, record.fixed, record.capacity) == (5 * 2 * 384, False, None)


def test_dense_networks_have_none():
    dense = models.build("vit_small")
    assert models.expert_work(dense, torch.zeros(1, 3, 32, 32)) == ()


def test_empty_batch(network):
    with pytest.raises(InputError, match="at least one input"):
        models.expert_work(network, torch.zeros(0, 3, 32, 32))


def test_routing_per_input_averages_to_the_routing(network):
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    single = models.measure_routing_per_input(network, images, source="noise")
    whole = models.measure_routing(network, [images], source="noise")
    assert [one.source for one in single] == [f"noise, input {i}" for i in range(3)]
    for layer, rates in whole.rates.items():
        for expert, rate in enumerate(rates):
            mean = sum(one.rate(layer, expert) for one in single) / 3
            assert mean == pytest.approx(rate)


def test_sites_count_the_activations_they_read():
    sites = {s.name: s for s in models.sites(models.build("vit_small"), torch.zeros(2, 3, 32, 32))}
    tokens, width, heads = 5, 384, 6
    assert sites["patch_embed.proj"].inputs == 3 * 32 * 32
    assert sites["blocks.0.attn.qkv"].inputs == tokens * width
    assert sites["blocks.0.attn.qk"].inputs == 2 * tokens * width
    assert sites["blocks.0.attn.av"].inputs == heads * tokens**2 + tokens * width
    assert sites["blocks.0.mlp.fc2"].inputs == tokens * 4 * width
    second = {name: site.second_inputs for name, site in sites.items() if site.second_inputs}
    attention = [f"blocks.{b}.attn.{product}" for b in range(12) for product in ("qk", "av")]
    assert second == dict.fromkeys(attention, tokens * width)
