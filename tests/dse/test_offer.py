"""Choices that not every group is offered."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage

from dse.problem import Offer, lagrangian_sweep, offered_sweep, undominated, undominated_circuits
from dse.samplers import NAMES, SpaceExhausted
from luts import InputError
from tests.dse._stand_in import SITES, open_study, problem_of, score, seeded

ANY_CIRCUIT = {"alwann", "split", "uniform"}
"""Samplers that give few circuits to many sites, each of which may have better ones."""


def random_offer(seed, groups=12, choices=19):
    rng = np.random.default_rng(seed)
    mask = rng.random((groups, choices)) < 0.4
    mask[:, 0] = mask[:, -1] = True
    return Offer(mask)


def test_ranks_are_positions_among_what_is_offered():
    offer = Offer.of_lists([[0, 3, 4], [1, 2]], 6)
    assert offer.to_lists() == [[0, 3, 4], [1, 2]]
    assert offer.counts.tolist() == [3, 2]
    assert offer.ranks(np.array([3, 2])).tolist() == [1, 1]
    assert offer.at(np.array([9, -2])).tolist() == [4, 1]
    assert offer.nearest(np.array([1, 5])).tolist() == [0, 2]
    assert offer.has(np.array([3, 2])) and not offer.has(np.array([1, 2]))
    table = np.arange(12.0).reshape(2, 6)
    assert offer.of(table).tolist() == [[0, 3, 4], [7, 8, np.inf]]
    drawn = offer.drawn(np.random.default_rng(0), 200)
    assert set(drawn[:, 0]) == {0, 3, 4} and set(drawn[:, 1]) == {1, 2}
    assert offer.summary == {"all": 6, "least": 2, "median": 2, "most": 3}
    with pytest.raises(InputError, match="at least one choice"):
        Offer(np.array([[True], [False]]))


@given(st.integers(0, 10_000))
def test_what_is_undominated_is_found_by_comparing_all(seed):
    costs = np.random.default_rng(seed).integers(0, 4, size=(2, 12)).astype(float)

    def beats(i, j):
        no_worse = all(costs[:, i] <= costs[:, j])
        return i != j and no_worse and (any(costs[:, i] < costs[:, j]) or i < j)

    expected = [not any(beats(i, j) for i in range(12)) for j in range(12)]
    assert undominated(costs).tolist() == expected


@given(st.integers(0, 10_000))
def test_few_circuits_lose_nothing_by_what_is_dropped(seed):
    """For any two circuits that a chip has, two that stay are no worse at every group."""
    rng = np.random.default_rng(seed)
    circuit = np.array([0, 0, 1, 2, 2, 3])
    costs = [rng.integers(0, 4, size=(2, 6)).astype(float) for _ in range(2)]
    masks = undominated_circuits(costs, circuit)
    left = [c for c in range(4) if all((mask & (circuit == c)).any() for mask in masks)]
    for pair in itertools.combinations(range(4), 2):
        for codes in itertools.product(np.flatnonzero(np.isin(circuit, pair)), repeat=2):
            wanted = [group[:, code] for group, code in zip(costs, codes, strict=True)]
            assert any(
                all(
                    any(
                        (group[:, c] <= cost).all()
                        for c in np.flatnonzero(mask & np.isin(circuit, kept))
                    )
                    for group, mask, cost in zip(costs, masks, wanted, strict=True)
                )
                for kept in itertools.combinations_with_replacement(left, 2)
            )


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("gp", *ANY_CIRCUIT)])
def test_samplers_propose_what_is_offered(name):
    offer = random_offer(1)
    problem = dataclasses.replace(problem_of(), offer=offer)
    study = open_study(InMemoryStorage(), name, problem=problem, budget=30)
    seeded(study, range(19))  # fixed assignments are representable all the same
    tried = set()
    for number in range(27):
        pending = study.ask()
        assert number < 19 or offer.has(pending.codes), pending.codes
        tried.add(pending.codes.tobytes())
        study.tell(pending, score(pending))
    assert len(tried) == 27


@pytest.mark.parametrize("name", ["guided", "random", "tpe", "pymoo:nsga2"])
def test_a_group_with_one_choice_keeps_it(name):
    mask = random_offer(2).mask.copy()
    mask[3] = np.arange(19) == 7
    problem = dataclasses.replace(problem_of(), offer=Offer(mask))
    study = open_study(InMemoryStorage(), name, problem=problem, budget=30)
    for _ in range(12):
        pending = study.ask()
        assert pending.codes[3] == 7
        study.tell(pending, score(pending))


@pytest.mark.parametrize("name", ["guided", "nsga2", "split", "greedy"])
def test_limits_are_met_among_what_is_offered(name):
    whole = problem_of(max_distinct=3, max_energy=0.8)
    costs = [np.stack([row, np.arange(19) ** 1.5]) for row in whole.energy]
    masks = np.stack(undominated_circuits(costs, whole.circuit))
    problem = dataclasses.replace(whole, offer=Offer(masks))
    study = open_study(InMemoryStorage(), name, problem=problem, budget=30)
    for _ in range(10):
        pending = study.ask()
        assert problem.is_feasible(pending.codes)
        study.tell(pending, score(pending))


def test_a_small_offer_is_left_when_all_of_it_is_tried():
    mask = np.zeros((2, 19), dtype=bool)
    mask[:, [0, 9]] = True
    mask[1, 4] = True
    problem = dataclasses.replace(problem_of(SITES[:2]), offer=Offer(mask))
    study = open_study(InMemoryStorage(), "random", problem=problem, budget=30)
    found = set()
    with pytest.raises(SpaceExhausted):
        for _ in range(9):
            pending = study.ask()
            found.add(tuple(pending.codes))
            study.tell(pending, score(pending))
    assert found == set(itertools.product([0, 9], [0, 4, 9]))


def test_sweeps_stay_within_the_offer_and_the_distortion():
    offer = random_offer(5)
    problem = dataclasses.replace(problem_of(), offer=offer)
    swept = offered_sweep(problem, problem.distortion, count=30)
    assert len(swept) >= 15
    assert all(offer.has(codes) for codes in swept)
    groups = np.arange(problem.size)
    harm = [problem.distortion[groups, codes].sum() for codes in swept]
    most = harm[len(harm) // 2]
    within = offered_sweep(problem, problem.distortion, count=30, most=most)
    assert len(within) >= 15
    assert max(problem.distortion[groups, codes].sum() for codes in within) <= most


@given(st.integers(0, 10_000))
def test_a_sweep_finds_the_optimum_of_every_weight(seed):
    rng = np.random.default_rng(seed)
    energy, distortion = rng.random((4, 6)), rng.random((4, 6))
    swept = lagrangian_sweep(distortion, energy, count=10_000)
    rows = np.arange(4)
    for weight in (0.01, 0.3, 1.0, 5.0):
        best = (distortion + weight * energy).min(axis=1).sum()
        found = min(
            (distortion[rows, c].sum() + weight * energy[rows, c].sum() for c in swept),
            default=best,
        )
        assert found == pytest.approx(best)
