"""What makes asking fast, against what is obvious and slow."""

import dataclasses
import itertools

import numpy as np
import pytest
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from scipy.optimize import approx_fprime
from scipy.stats import multivariate_normal

from dse.problem import Offer, evenly, lagrangian_sweep, offered_sweeps
from dse.samplers import _optuna, _surrogate
from dse.samplers._surrogate import Surrogate
from tests.dse._stand_in import loss_of, open_study, problem_of, run_to, seeded
from tests.dse.test_offer import random_offer


def test_sweeps_found_together_are_those_found_alone():
    problem = dataclasses.replace(problem_of(), offer=random_offer(4))
    rng, offer = np.random.default_rng(0), problem.offer
    distortions = [problem.distortion * rng.lognormal(size=(12, 19)) for _ in range(5)]
    distortions.append(np.zeros((12, 19)))  # nothing to trade: the cheapest choices are the best
    together = offered_sweeps(problem, distortions, count=25, most=1e4)
    assert len(together) == 6 and together[-1] == []
    for distortion, swept in zip(distortions[:-1], together, strict=False):
        tables = offer.of(distortion), offer.of(problem.energy)
        alone = [offer.at(ranks) for ranks in lagrangian_sweep(*tables, count=25, most=1e4)]
        assert len(swept) > 10
        np.testing.assert_array_equal(swept, alone)


def test_assignments_of_a_sweep_are_the_best_for_their_slope():
    """Each is the sum of the sites' own best choices under some price of energy."""
    rng = np.random.default_rng(1)
    distortion, energy = rng.random((2, 6, 8))
    swept = {tuple(codes) for codes in lagrangian_sweep(distortion, energy, count=1000)}
    prices = np.geomspace(1e-4, 1e4, 40_000)
    best = {tuple((distortion + price * energy).argmin(axis=1)) for price in prices}
    assert best <= swept and len(swept) > 10


def measured(count=30):
    problem = problem_of()
    surrogate = Surrogate(problem)
    codes = np.random.default_rng(2).integers(problem.choices, size=(count, problem.size))
    target = np.log([loss_of(one) for one in codes])
    return surrogate.features(codes, 0.1), target


def test_the_likelihood_is_that_of_a_normal_distribution():
    features, target = measured()
    parts = _surrogate._parts(features, features)
    loss = _surrogate._Loss(parts, target)
    start = _surrogate._START
    differences = []
    for hyper in (start, start + np.linspace(-0.7, 0.9, 7)):
        noise = (np.exp(2 * hyper[6]) + 1e-8) * np.eye(len(target))
        covariance = _surrogate._kernel(parts, hyper) + noise
        centred = target - target.mean()
        known = multivariate_normal(cov=covariance).logpdf(centred)
        prior = 0.5 * ((hyper - start) ** 2).sum()
        differences.append(loss(hyper)[0] - prior + known)
    # What does not depend on the hyperparameters is left out.
    np.testing.assert_allclose(differences, -0.5 * len(target) * np.log(2 * np.pi), rtol=1e-9)


def test_its_gradient_is_that_of_finite_differences():
    loss = _surrogate._Loss(_surrogate._parts(measured()[0], measured()[0]), measured()[1])
    for shift in (0, 0.4, -0.6):
        at = _surrogate._START + shift * np.cos(np.arange(7))
        slow = approx_fprime(at, lambda hyper: loss(hyper)[0], 1e-6)
        np.testing.assert_allclose(loss(at)[1], slow, rtol=1e-4, atol=1e-4)


def test_tpe_told_its_space_proposes_what_optunas_own_does(monkeypatch):
    found = []
    mask = random_offer(6).mask.copy()
    mask[3] = np.arange(19) == 7  # a parameter that cannot vary
    problem = dataclasses.replace(problem_of(), offer=Offer(mask))
    for told in (True, False):
        if not told:
            own = lambda self, seed: TPESampler(multivariate=True, seed=seed)  # noqa: E731
            monkeypatch.setattr(_optuna.TPESampler_, "sampler", own)
        study = open_study(InMemoryStorage(), "tpe", problem=problem)
        seeded(study, range(0, 19, 3))
        found.append([t.assignment.digest for t in run_to(study, 30)])
    assert found[0] == found[1]
    assert len(set(found[0])) == 30


@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_places_are_the_nearest_to_even_ones(count):
    totals = np.sort(np.random.default_rng(3).lognormal(size=50))[::-1]
    logs = np.log(totals)
    wanted = np.linspace(logs[0], logs[-1], count)
    nearest = {min(range(50), key=lambda i, want=want: abs(logs[i] - want)) for want in wanted}
    assert evenly(totals, count) == sorted(nearest)
    pairs = itertools.pairwise(evenly(totals, count))
    assert all(first < second for first, second in pairs)
