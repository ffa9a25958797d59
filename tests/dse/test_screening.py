import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from torch import nn

import luts
import models
from dse.problem import SearchSpace, constrained_sweep, lagrangian_sweep
from dse.scoring import screen
from models import channel_means, correct_bias_
from tests.dse._stand_in import SITES, problem_of


@given(st.integers(0, 10_000))
def test_sweep_finds_only_optimal_assignments(seed):
    rng = np.random.default_rng(seed)
    energy = np.sort(rng.random((3, 4)), axis=1)[:, ::-1]
    distortion = np.sort(rng.random((3, 4)), axis=1)
    everything = [
        (energy[range(3), list(c)].sum(), distortion[range(3), list(c)].sum())
        for c in itertools.product(range(4), repeat=3)
    ]
    found = lagrangian_sweep(distortion, energy, count=20)
    assert found
    for codes in found:
        e, d = energy[range(3), codes].sum(), distortion[range(3), codes].sum()
        assert not any(oe <= e and od < d - 1e-12 for oe, od in everything)
    totals = [energy[range(3), codes].sum() for codes in found]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] == pytest.approx(energy.max(axis=1).sum())
    assert totals[-1] == pytest.approx(energy.min(axis=1).sum())


def test_sweep_returns_as_many_as_asked_for():
    rng = np.random.default_rng(0)
    energy = np.sort(rng.random((40, 8)), axis=1)[:, ::-1]
    distortion = np.sort(rng.random((40, 8)), axis=1)
    assert 12 <= len(lagrangian_sweep(distortion, energy, count=15)) <= 15


def test_nothing_to_trade_gives_no_assignments():
    assert lagrangian_sweep(np.zeros((2, 3)), np.ones((2, 3)), count=5) == []


@pytest.mark.parametrize("limit", [None, 0.8])
def test_few_circuits_are_chosen_as_well_as_trying_all_subsets_does(limit):
    problem = problem_of(SITES[:5], max_distinct=2, max_energy=limit)
    rng = np.random.default_rng(4)
    distortion = np.cumsum(rng.random((5, problem.choices)), axis=1)
    found = constrained_sweep(problem, distortion, count=6)
    assert len(found) >= 4
    for codes in found:
        assert problem.is_feasible(codes)
        spent, harm = problem.energy_rel(codes), distortion[range(5), codes].sum()
        best = np.inf
        for pair in itertools.combinations(range(problem.circuit.max() + 1), 2):
            allowed = np.flatnonzero(np.isin(problem.circuit, pair))
            every = np.array(list(itertools.product(allowed, repeat=5)))
            cheap = every[problem.energies_rel(every) <= spent + 1e-9]
            if len(cheap):
                best = min(best, distortion[np.arange(5), cheap].sum(axis=1).min())
        assert harm <= 1.02 * best + 1e-9


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(7)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 16, 24),
        nn.ReLU(),
        nn.Linear(24, 5),
    )
    inputs = torch.rand(64, 1, 6, 6)
    emulated = models.emulate(network, luts.EXACT, calibration=[inputs])
    space = SearchSpace.of(emulated.sites, luts.catalog.names("mul8s"))
    return emulated, inputs, space


def test_prediction_ranks_what_happens_to_the_logits(small):
    """One site changed at a time, measured by running the network."""
    emulated, inputs, space = small
    predicted, measured = [], []
    screening = screen(emulated, inputs, space, seed=0)
    exact_means = channel_means(emulated, inputs)
    with torch.no_grad(), emulated.restored():
        reference = emulated(inputs)
        for site, code in itertools.product(range(len(space.free)), range(len(space.choices))):
            codes = space.uniform(0)
            codes[site] = code
            emulated.assign_(space.decode(codes))
            correct_bias_(emulated, inputs, exact_means)
            measured.append(float(((emulated(inputs) - reference) ** 2).sum(dim=1).mean()))
            predicted.append(screening.predict(codes))
    assert spearmanr(predicted, measured).statistic > 0.9


def test_exact_choice_has_no_distortion_and_the_network_is_left_exact(small):
    emulated, inputs, space = small
    screening = screen(emulated, inputs, space, seed=1)
    assert screening.distortion.shape == (3, 19)
    assert np.all(screening.distortion[:, 0] == 0)
    assert np.all(screening.distortion[:, -1] > 0)
    names = {choice.multiplier for choice in emulated.assignment.choices.values()}
    assert names == {luts.EXACT}
    assert all(p.grad is None for p in emulated.parameters())


class OneByOne(nn.Module):
    """Convolves one item after the other, without a batch."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(20, 17, 3), nn.Linear(17 * 4, 3)

    def forward(self, x):
        return self.fc(torch.stack([self.conv(item) for item in x]).flatten(1))


def test_layers_that_run_without_a_batch_are_screened():
    inputs = torch.rand(2, 20, 4, 4)
    emulated = models.emulate(OneByOne(), luts.EXACT, calibration=[inputs])
    space = SearchSpace.of(emulated.sites, luts.catalog.names("mul8s"))
    screening = screen(emulated, inputs, space, seed=0)
    assert np.all(screening.distortion[:, -1] > 0)


class Twice(nn.Module):
    """Two linear layers with the same weights, or one that runs twice."""

    def __init__(self, *, is_shared):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Linear(24, 6)
        self.second = self.first if is_shared else copy.deepcopy(self.first)

    def forward(self, x):
        return self.first(x) + 3 * self.second(x.flip(1))


def test_every_run_of_a_shared_layer_counts():
    inputs = torch.rand(16, 24)
    rows = {}
    for is_shared in (True, False):
        emulated = models.emulate(Twice(is_shared=is_shared), luts.EXACT, calibration=[inputs])
        space = SearchSpace.of(emulated.sites, luts.catalog.names("mul8s"))
        rows[is_shared] = screen(emulated, inputs, space, seed=0).distortion
    assert rows[True].shape == (1, 19) and rows[False].shape == (2, 19)
    np.testing.assert_allclose(rows[True][0], rows[False].sum(axis=0), rtol=1e-4)
