"""Weight codes and operand orders of least expected error, against brute force."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import luts
import models
from luts import Arithmetic
from models.emulation import (
    EmulatedLinear,
    best_weight_map,
    choose_operand_order,
    code_histograms,
    error_moments,
    product_operands,
    set_operand_order_,
    sites_before_batchnorm,
    tune_layer_,
)
from models.training import Reference

VALUES = np.arange(256, dtype=np.uint8).view(np.int8).astype(float)


def shares_of(rng, kind):
    if kind == "half":  # after a ReLU
        counts = np.bincount(np.minimum(np.abs(rng.normal(0, 40, 4000)), 127).astype(int))
        return np.pad(counts, (0, 256 - len(counts))) / counts.sum()
    counts = rng.integers(0, 9, 256).astype(float)
    return counts / counts.sum()


@pytest.mark.parametrize("criterion", ["squared", "centred", "mean"])
@pytest.mark.parametrize("name", ["mul8s_1KR3", "mul8s_1L1G", "mul8s_1KTY"])
def test_the_weight_map_is_that_of_brute_force(rng, name, criterion):
    arithmetic = Arithmetic(luts.catalog[name])
    for kind in ("half", "any"):
        shares = shares_of(rng, kind)
        found = best_weight_map(arithmetic, shares, criterion=criterion).numpy()
        assert found.min() >= -127
        for w in (-127, -77, -3, 0, 1, 30, 127):
            errors = arithmetic.table[:, :] - (VALUES * w)[:, None]
            mean, squared = shares @ errors, shares @ errors**2
            value = {"squared": squared, "centred": squared - mean**2, "mean": mean**2}[criterion]
            value = np.delete(value, 128)  # code −128 is not the contract's
            used = value[np.delete(VALUES, 128) == found[w & 255]][0]
            assert used <= value.min() + 1e-5


def test_exact_products_keep_every_code(rng):
    kept = best_weight_map(Arithmetic(luts.catalog[luts.EXACT]), shares_of(rng, "half"))
    expected = torch.arange(256, dtype=torch.uint8).view(torch.int8)
    assert torch.equal(kept[:128], expected[:128])
    assert torch.equal(kept[129:], expected[129:])
    assert int(kept[128]) == -127


@pytest.mark.parametrize("corrected", [False, True])
def test_expected_layer_error_is_the_measured_one(rng, corrected):
    """Over activations drawn independently from the histogram."""
    shares = shares_of(rng, "half")
    arithmetic = Arithmetic(luts.catalog["mul8s_1L2D"])
    layer = EmulatedLinear(nn.Linear(40, 6, bias=False))
    layer.assign_(arithmetic)
    codes, scale = layer.meant_codes()
    expected = error_moments(arithmetic, shares).layer_error(codes, scale, corrected=corrected)
    x = torch.from_numpy(rng.choice(VALUES, size=(20_000, 40), p=shares)).float()
    error = layer(x).detach() - x @ (codes * scale[:, None]).t()
    measured = error.var(dim=0) if corrected else error.square().mean(dim=0)
    assert expected == pytest.approx(float(measured.mean()), rel=0.03)


def test_histograms_count_what_a_site_reads():
    network = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3))
    x = torch.randn(64, 5)
    emulated = models.emulate(network, "mul8s_1L1G", calibration=[x])
    found = code_histograms(emulated, x)
    codes = (x / emulated.layer("0").x_scale).round().clamp(-127, 127).int()
    for code in (0, 5, 127, 200):
        share = float((codes == int(VALUES[code])).float().mean())
        assert found["0"][0][code] == pytest.approx(share)
    assert found["2"][0][129:].sum() == 0  # nothing negative after a ReLU


def tuned(name="mul8s_1L1G"):
    network = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8))
    x = torch.rand(256, 12)
    emulated = models.emulate(network, luts.EXACT, calibration=[x])
    exact = emulated(x).detach()
    emulated.assign_(name)
    return emulated, x, exact


def tune_(emulated, x):
    histograms = code_histograms(emulated, x)
    for site in emulated.sites:
        tune_layer_(emulated.layer(site.name), histograms[site.name][0])


@torch.no_grad()
def test_tuned_weights_bring_the_output_closer_and_are_forgotten_on_assigning():
    emulated, x, exact = tuned()
    plain = emulated(x)
    tune_(emulated, x)
    assert all(emulated.layer(site.name).maps_any_code() for site in emulated.sites)
    better = emulated(x)
    assert (better - exact).square().mean() < 0.6 * (plain - exact).square().mean()
    emulated.assign_("mul8s_1L1G")
    assert torch.equal(emulated(x), plain)


@torch.no_grad()
def test_tuned_weights_follow_the_weights():
    emulated, x, _ = tuned()
    tune_(emulated, x)
    layer = emulated.layer("0")
    before = layer.weight_codes()[0]
    layer.weight.mul_(torch.linspace(0.2, 1, 12))
    meant, after = layer.meant_codes()[0], layer.weight_codes()[0]
    assert not torch.equal(after, before)
    assert torch.equal(after, layer.weight_map[meant.view(torch.uint8).long()])


@torch.no_grad()
def test_operand_order_is_the_better_one_and_only_where_it_matters():
    emulated, x, exact = tuned("mul8s_1KTY")
    chosen = choose_operand_order(emulated, code_histograms(emulated, x), operands={})
    errors = {}
    for swapped in (False, True):
        emulated.assign_(models.Assignment.uniform(emulated.sites, "mul8s_1KTY", swapped=swapped))
        errors[swapped] = float((emulated(x) - exact).square().mean())
    better = min(errors, key=errors.get)
    assert {choice.swapped for choice in chosen.choices.values()} == {better}
    set_operand_order_(emulated, chosen)
    assert float((emulated(x) - exact).square().mean()) == errors[better]
    emulated.assign_("mul8s_1L1G")
    histograms = code_histograms(emulated, x)
    assert choose_operand_order(emulated, histograms, operands={}) == emulated.assignment


class _Attention(nn.Module):
    """Products of activations, and nothing else."""

    def forward(self, parts):
        query, key, value = parts.unbind(dim=1)
        return functional.scaled_dot_product_attention(query, key, value)


@torch.no_grad()
@pytest.mark.parametrize("corrected", [(), ("the layer that reads it",)])
def test_operand_order_of_a_product_of_activations_is_measured(corrected):
    parts = torch.randn(32, 3, 2, 6, 8, generator=torch.Generator().manual_seed(2))
    emulated = models.emulate(_Attention(), luts.EXACT, calibration=[parts])
    histograms, operands = code_histograms(emulated, parts), product_operands(emulated, parts)
    name = {site.kind: site.name for site in emulated.sites}["av"]
    assert set(operands) == {site.name for site in emulated.sites}
    exact, errors = emulated(parts), {}
    for swapped in (False, True):
        emulated.layer(name).assign_(Arithmetic(luts.catalog["mul8s_1KR3"], swapped))
        error = emulated(parts) - exact
        if corrected:
            error = error - error.mean(dim=(0, 2), keepdim=True)
        errors[swapped] = float(error.square().mean())
    better = min(errors, key=errors.get)
    assert better == bool(corrected)  # the order with less noise has more bias here
    for given in (False, True):
        assignment = models.Assignment.uniform(emulated.sites, "mul8s_1KR3", swapped=given)
        emulated.assign_(assignment)
        chosen = choose_operand_order(emulated, histograms, operands=operands, corrected=corrected)
        assert chosen.choices[name].swapped == better
        assert emulated.layer(name).arithmetic.swapped == given  # the network is left as it is


def test_layers_before_batchnorm_are_found():
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    x = torch.randn(8, 3, 6, 6)
    emulated = models.emulate(network, luts.EXACT, calibration=[x])
    assert sites_before_batchnorm(emulated, x) == {"0"}


@pytest.mark.parametrize("rescale", ["none", "activations", "both"])
@pytest.mark.parametrize("name", ["mul8s_1KV8", "mul8s_1L1G", "mul8s_1KTY"])
def test_a_reference_knows_which_layers_get_other_codes(name, rescale):
    emulated, x, _ = tuned(luts.EXACT)
    recipe = models.Recovery(rescale=rescale, tune_weights="squared")
    reference = Reference.of(emulated, x)
    emulated.assign_(name)
    for site in emulated.sites:
        assert not reference.replaces_codes(emulated, site)
        reference.prepare_(emulated, site, recipe)
        assert reference.replaces_codes(emulated, site) is emulated.layer(site.name).maps_any_code()
    few = torch.arange(256).to(torch.uint8).view(torch.int8).clone()
    unused = next(c for c in range(128) if not (emulated.layer("0").meant_codes()[0] == c).any())
    few[unused] += 1
    emulated.layer("0").map_weights_(few)
    assert not reference.replaces_codes(emulated, emulated.sites[0])
