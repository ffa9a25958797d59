"""The vectorised cost equals the plain one."""

import numpy as np
import pytest

import energy
import luts
from luts.errors import InputError
from models import Assignment, Choice, Uncovered
from tests.energy.networks import LAYER, load, two_layers, work

PIECES = (
    Uncovered("memory", "LSTM", 60),
    *(Uncovered(f"moe.experts.{e}", "Sequential", 10, LAYER, e) for e in (0, 1)),
)
CHOICES = [Choice(name) for name in luts.catalog.names("mul8s")] + [Choice("mul8s_1KR3", True)]
CHOICES += [Choice("mul8s_1L1G", rounded=True), Choice("array:a3b5d0", True, True)]


@pytest.mark.parametrize("model", energy.MODELS)
def test_equals_cost(model):
    sites = two_layers()
    workload = load(0.2, 0.8, layers=work(overhead_macs=17), uncovered=PIECES)
    fast = energy.CostModel(workload, CHOICES, model=model)
    codes = np.random.default_rng(0).integers(0, len(CHOICES), (50, len(sites)))
    slow = []
    for row in codes:
        pairs = zip(sites, row, strict=True)
        assignment = Assignment.of({site.name: CHOICES[code] for site, code in pairs})
        slow.append(energy.cost(workload, assignment, model=model).energy_rel)
    np.testing.assert_allclose(fast.energy_rel(codes), slow, rtol=1e-13)
    assert fast.energy_rel(codes[0]).shape == ()
    assert fast.energy_rel(codes[:0]).shape == (0,)


def test_contributions_are_what_a_choice_adds():
    model = energy.CostModel(load(0.2, 0.8), CHOICES)
    assert model.contributions.shape == (4, len(CHOICES))
    assert model.contributions[0, 0] == pytest.approx(100 / 140)
    codes = np.zeros(4, dtype=int)
    before = model.energy_rel(codes)
    codes[2] = 5
    change = model.contributions[2, 5] - model.contributions[2, 0]
    assert model.energy_rel(codes) - before == pytest.approx(change)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 0, 0]], r"\(n, 4\)"),
        ([[0.0, 0, 0, 0]], "integers"),
        ([[0, 0, 0, 16]], "numbered 0…15"),
        ([[0, 0, 0, -1]], "numbered 0…15"),
    ],
)
def test_codes_that_are_none(codes, message):
    model = energy.CostModel(load(0.2, 0.8), CHOICES)
    with pytest.raises(InputError, match=message):
        model.energy_rel(codes)


def test_no_choice():
    with pytest.raises(InputError, match="at least one choice"):
        energy.CostModel(load(0.2, 0.8), [])
