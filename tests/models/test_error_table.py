"""Errors of many choices at once, held equal to those of one choice at one site."""

import numpy as np
import pytest
import torch
from torch import nn

import luts
import models
from models.emulation import code_histograms, expected_error, expected_errors

NAMES = ("mul8s_1KV8", "mul8s_1KTY", "array:a3b5d9", "array:a5b3d0", "array:a0b2d11")


class Small(nn.Module):
    """Weights before and after a product of two activations."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 12), nn.Linear(12, 3)
        self.attn = nn.MultiheadAttention(12, 2, batch_first=True)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.last(self.attn(x, x, x, need_weights=False)[0].mean(1))


@pytest.fixture(scope="module")
def emulated():
    torch.manual_seed(0)
    network = Small().eval()
    inputs = torch.randn(20, 5, 6)
    made = models.emulate(network, luts.EXACT, calibration=[inputs])
    return made, code_histograms(made, inputs)


ARITHMETICS = [
    models.Choice(name, swapped, rounded).arithmetic()
    for name in NAMES
    for swapped in (False, True)
    for rounded in (False, True)
]


@pytest.mark.parametrize(
    ("tune", "rescale"),
    [
        (None, "none"),
        ("squared", "none"),
        ("centred", "none"),
        ("mean", "none"),
        ("squared", "activations"),
        (None, "activations"),
    ],
)
@pytest.mark.parametrize("is_corrected", [False, True])
def test_all_at_once_is_one_by_one(emulated, tune, rescale, is_corrected):
    network, histograms = emulated
    corrected = [site.name for site in network.sites] if is_corrected else []
    found = expected_errors(
        network, histograms, ARITHMETICS, corrected=corrected, tune=tune, rescale=rescale
    )
    assert set(found.sites) == {site.name for site in network.sites}
    for name, row in zip(found.sites, found.errors, strict=True):
        site = next(site for site in network.sites if site.name == name)
        one_by_one = [
            expected_error(
                network.layer(name),
                arithmetic,
                histograms[name],
                fan_in=site.fan_in,
                corrected=is_corrected,
                tune=tune,
                rescale=rescale,
            )
            for arithmetic in ARITHMETICS
        ]
        # Where two codes err alike, `best_scales` takes either, with another mean.
        ties = rescale != "none" and tune is not None and not is_corrected
        limits = {"rtol": 0.05 if ties else 1e-6, "atol": 1e-9 * max(one_by_one)}
        np.testing.assert_allclose(row, one_by_one, **limits)


def test_an_error_is_a_part_of_the_signal(emulated):
    network, histograms = emulated
    found = expected_errors(network, histograms, ARITHMETICS)
    exact = found.relative[:, 0]
    assert np.all(found.signals > 0)
    np.testing.assert_allclose(exact, 0, atol=1e-12)


def test_sites_without_a_histogram_are_left_out(emulated):
    network, histograms = emulated
    known = {name: shares for name, shares in histograms.items() if name != "last"}
    assert "last" not in expected_errors(network, known, ARITHMETICS[:2]).sites
