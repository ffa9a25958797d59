"""Scales that suit the circuit: closed forms against errors counted pair by pair."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import luts
from luts import Arithmetic, quantise
from models import Assignment, Recovery, emulate, recover
from models.emulation import (
    EmulatedLinear,
    EmulatedMatmul,
    best_scales,
    best_weight_map,
    code_histograms,
    expected_error,
)
from models.emulation._expected import VALUES, rescaled_shares
from models.emulation._rescale import FACTORS
from tests.models.bars import bars

NARROW = [
    ("mul8s_1L1G", True),
    ("array:a4b5d0", True),
    ("array:a3b5d0", False),
    ("mul8s_1KVL", False),
]


def shares_of(seed: int) -> np.ndarray:
    counts = np.random.default_rng(seed).random(256) * np.exp(-np.abs(VALUES) / 20)
    counts[128] = 0
    return counts / counts.sum()


def linear(seed: int) -> EmulatedLinear:
    torch.manual_seed(seed)
    return EmulatedLinear(nn.Linear(9, 4))


def slow_error(layer, arithmetic, shares, a, b, *, corrected, tunes) -> np.ndarray:
    """By channel, one pair of codes after the other: what the module's docstring says."""
    codes, scale = layer.calibrated_codes()
    table, errors = arithmetic.table, []
    used = np.arange(256)
    if tunes:
        # As the map is made once the activation scale is chosen, of the codes that it then sees.
        used = best_map(arithmetic, shares, a)
    for row, step in zip(codes.numpy(), scale.numpy(), strict=True):
        mean = variance = 0.0
        for v in row.astype(float):
            w = used[int(np.clip(np.rint(v / b), -127, 127)) % 256]
            x = np.clip(np.rint(VALUES / a), -127, 127).astype(int) % 256
            values = a * b * table[x, w] - VALUES * v
            one = float(shares @ values)
            mean += one
            variance += float(shares @ np.square(values)) - one**2
        errors.append((variance + (0 if corrected else mean**2)) * step.astype(float) ** 2)
    return np.array(errors)


def best_map(arithmetic, shares, a) -> np.ndarray:
    table = arithmetic.table.astype(float)
    x = (np.clip(np.rint(VALUES / a), -127, 127)).astype(int) % 256
    error = np.stack(
        [
            [float(shares @ np.square(a * table[x, w] - VALUES * v)) for v in VALUES]
            for w in range(256)
        ]
    )
    error[128] = np.inf
    return error.argmin(axis=0)


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize(("name", "rounded"), NARROW)
@pytest.mark.parametrize("corrected", [False, True])
def test_no_factors_are_better(name: str, rounded: bool, weights: bool, corrected: bool) -> None:
    layer, shares = linear(0), shares_of(1)
    arithmetic = Arithmetic(luts.catalog[name], rounded=rounded)
    how = {"corrected": corrected, "tunes": False}
    found = best_scales(layer, arithmetic, (shares,), fan_in=9, weights=weights, **how)
    among = FACTORS if weights else FACTORS[:1]
    slow = {
        a: np.stack([slow_error(layer, arithmetic, shares, a, b, **how) for b in among]).min(axis=0)
        for a in FACTORS
    }
    totals = {a: errors.mean() for a, errors in slow.items()}
    assert found.error == pytest.approx(min(totals.values()))
    assert totals[found.x_factors[0]] == pytest.approx(found.error)
    if name != "mul8s_1KVL":  # three bits fewer want another range
        assert found.is_change


def test_error_with_tuned_codes_is_that_of_the_map() -> None:
    layer, shares = linear(2), shares_of(3)
    arithmetic = Arithmetic(luts.catalog["array:a3b5d0"], rounded=True)
    how = {"corrected": True, "tunes": True}
    found = best_scales(layer, arithmetic, (shares,), fan_in=9, weights=False, **how)
    slow = slow_error(layer, arithmetic, shares, found.x_factors[0], 1.0, **how).mean()
    assert found.error == pytest.approx(slow)
    unscaled = expected_error(
        layer, arithmetic, (shares,), fan_in=9, corrected=True, tune="squared"
    )
    assert found.error <= unscaled * (1 + 1e-9)


def test_products_of_two_activations() -> None:
    x, y = shares_of(4), shares_of(5)
    arithmetic = Arithmetic(luts.catalog["array:a4b5d0"], rounded=True)
    found = best_scales(
        EmulatedMatmul(), arithmetic, (x, y), fan_in=7, weights=True, corrected=False, tunes=False
    )

    def slow(a: float, b: float) -> float:
        codes = [np.clip(np.rint(VALUES / f), -127, 127).astype(int) % 256 for f in (a, b)]
        error = a * b * arithmetic.table[np.ix_(*codes)] - np.outer(VALUES, VALUES)
        mean = float(x @ error @ y)
        return 7 * (float(x @ error**2 @ y) - mean**2) + (7 * mean) ** 2

    errors = {pair: slow(*pair) for pair in itertools.product(FACTORS, FACTORS)}
    assert found.error == pytest.approx(min(errors.values()))
    assert errors[tuple(found.x_factors)] == pytest.approx(found.error)


def test_shares_move_with_the_codes() -> None:
    shares = shares_of(6)
    codes = torch.arange(-127, 128).float()
    for factor in FACTORS:
        moved = np.zeros(256)
        at = quantise(codes, torch.tensor(factor).float()).numpy().view(np.uint8)
        np.add.at(moved, at, shares[np.arange(-127, 128)])
        assert np.allclose(rescaled_shares(shares, factor), moved)


def test_scales_are_as_before_when_assigned_anew() -> None:
    torch.manual_seed(0)
    data = bars()
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
    emulated = emulate(network, luts.EXACT, calibration=[data.train.images])
    before = {name: value.clone() for name, value in emulated.state_dict().items()}
    narrow = Assignment.uniform(emulated.sites, "array:a4b5d0", rounded=True)
    with emulated.restored():
        emulated.assign_(narrow)
        recover(emulated, Recovery(rescale="both", tune_weights="squared"), data, seed=0)
        changed = emulated.state_dict()
        assert any(not torch.equal(before[n], changed[n]) for n in before if "x_scale" in n)
        assert any((changed[n] != 1).any() for n in before if "weight_factor" in n)
        inner = {name: value.clone() for name, value in changed.items()}
        with emulated.restored():
            emulated.assign_(luts.EXACT)
        assert all(torch.equal(inner[n], value) for n, value in emulated.state_dict().items())
        emulated.assign_(luts.EXACT)
        assert all(torch.equal(before[n], v) for n, v in emulated.state_dict().items())
    assert all(torch.equal(before[n], value) for n, value in emulated.state_dict().items())


def test_rescaling_lowers_the_measured_error() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(64, 32)
    x = torch.randn(512, 64).relu() ** 1.5
    emulated = emulate(nn.Sequential(layer), luts.EXACT, calibration=[x])
    histograms = code_histograms(emulated, x)
    exact = layer(x)
    emulated.assign_(Assignment.uniform(emulated.sites, "array:a5b5d0", rounded=True))
    site = emulated.layer("0")
    errors = [(emulated(x) - exact).var(dim=0).mean()]
    for weights in (False, True):
        best_scales(
            site,
            site.arithmetic,
            histograms["0"],
            fan_in=64,
            weights=weights,
            corrected=True,
            tunes=False,
        ).apply_(site)
        errors.append((emulated(x) - exact).var(dim=0).mean())
    assert errors[2] < errors[1] < errors[0]
    assert best_weight_map(site.arithmetic, histograms["0"][0]).shape == (256,)
