"""What every sampler must do, on a cheap stand-in for scoring."""

import threading
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from dse.problem import hypervolume
from dse.samplers import (
    ASSIGNMENT,
    NAMES,
    RESULT,
    SpaceExhausted,
    TrialHistory,
    _base,
    record_of,
    sampler_for,
)
from dse.samplers._acquisition import expected_improvement
from dse.samplers._surrogate import Surrogate
from luts import InputError
from tests.dse._stand_in import (
    SITES,
    listing,
    loss_of,
    open_study,
    problem_of,
    run_to,
    score,
    seeded,
)

REFERENCE = np.array([1.1, 2.5])
TOTAL = 20
BLIND = {"random", "uniform", "tpe", "gp", "mcts", "alwann", "marlin"}
"""Samplers that need more trials than a test has to beat the best of a few fixed assignments."""


MOST = (*(n for n in NAMES if not n.startswith("pymoo:")), "pymoo:nsga2", "pymoo:smsemoa")


@pytest.fixture(params=MOST)
def name(request):
    return request.param


class TestEverySampler:
    def test_the_seed_repeats_the_list(self, name):
        lists = []
        for _ in range(2):
            study = open_study(InMemoryStorage(), name, budget=TOTAL)
            seeded(study)
            total = TOTAL if name != "gp" else 8
            lists.append(listing(run_to(study, total)))
        assert lists[0] == lists[1]

    def test_an_interrupted_study_goes_on_as_if_it_had_not_been(self, name):
        total = 17 if name != "gp" else 8
        whole = open_study(InMemoryStorage(), name, budget=TOTAL)
        seeded(whole)
        expected = listing(run_to(whole, total))
        storage = InMemoryStorage()
        for stop in (5, total):
            parts = open_study(storage, name, budget=TOTAL)
            if parts.needs_seeds:
                seeded(parts)
            run_to(parts, stop)
            if stop < total:
                parts.ask()  # and the process dies here
        assert listing(parts.trials()) == expected

    def test_constraints_are_met_and_nothing_is_tried_twice(self, name):
        problem = problem_of(max_distinct=3, max_energy=0.8, exact=["layer1"])
        study = open_study(InMemoryStorage(), name, problem=problem, budget=TOTAL)
        found = []
        try:
            for _ in range(7):
                pending = study.ask()
                assert problem.is_feasible(pending.codes), pending.codes
                assert pending.assignment.choices["layer1"].multiplier == "mul8s_1KV8"
                assert len(pending.assignment.tables) <= 3
                found.append(pending.codes.tobytes())
                study.tell(pending, score(pending))
        except SpaceExhausted:
            assert name == "uniform"
        assert found
        assert len(set(found)) == len(found)

    def test_a_third_objective_can_be_minimised_too(self, name):
        problem = problem_of(third="delay")
        study = open_study(InMemoryStorage(), name, problem=problem, budget=TOTAL)
        seeded(study)
        trials = run_to(study, 10)
        assert all(len(t.objectives) == 3 for t in trials)
        assert trials[0].third == pytest.approx(1.48)  # the exact circuit's, in nanosecond

    def test_it_adds_to_the_fixed_assignments(self, name):
        if name in BLIND:
            pytest.skip("needs more trials")
        study = open_study(InMemoryStorage(), name, budget=45)
        seeded(study, range(0, 19, 3))
        points = np.array([t.objectives for t in run_to(study, 45)])
        assert hypervolume(points, REFERENCE) > 1.01 * hypervolume(points[:7], REFERENCE)

    def test_parallel_proposals_differ(self, name):
        study = open_study(InMemoryStorage(), name, budget=TOTAL)
        seeded(study)
        run_to(study, 9)
        asked = [study.ask().codes.tobytes() for _ in range(3)]
        assert len(set(asked)) == 3

    def test_a_small_space_is_left_when_all_is_tried(self, name):
        problem = problem_of(SITES[:2], ["mul8s_1KV8", "mul8s_1L1G"])
        study = open_study(InMemoryStorage(), name, problem=problem, budget=TOTAL)
        found = []
        with pytest.raises(SpaceExhausted):
            for _ in range(6):
                pending = study.ask()
                found.append(pending.codes.tobytes())
                study.tell(pending, score(pending))
        assert len(set(found)) == len(found) == (2 if name == "uniform" else len(found))
        assert study.open == len(found)


@pytest.mark.parametrize("name", ["random", "nsga2", "mcts", "guided"])
@pytest.mark.parametrize(
    ("names", "limits", "feasible"),
    [
        # layer0 dearer in three ways, layer1 in two, or both in four; or nothing
        (["mul8s_1KV8", "mul8s_1KTY", "mul8s_1L1G"], {"max_energy": 0.29647 + 2e-4}, 10),
        (["mul8s_1KV8", "mul8s_1L1G"], {"max_distinct": 1}, 2),
        (["mul8s_1KV8", "mul8s_1KTY", "mul8s_1L1G"], {"max_distinct": 1}, 2 + 2**16),
    ],
)
def test_constraints_that_leave_few_assignments_end_the_search(name, names, limits, feasible):
    count = 16 if "max_distinct" in limits else 12  # too many assignments to list
    sites = [type(SITES[0])(f"layer{i}", "linear", 2**i, 8) for i in range(count)]
    study = open_study(
        InMemoryStorage(), name, problem=problem_of(sites, names, **limits), budget=TOTAL
    )
    digests = [t.assignment.digest for t in run_to(study, 14)]
    assert len(set(digests)) == len(digests) == min(feasible, 14)


@pytest.mark.parametrize("algorithm", [n for n in NAMES if n not in MOST])
def test_other_algorithms_of_pymoo_run_and_repeat(algorithm):
    lists = []
    for _ in range(2):
        study = open_study(InMemoryStorage(), algorithm, budget=TOTAL)
        seeded(study)
        lists.append(listing(run_to(study, TOTAL)))
    assert lists[0] == lists[1]
    assert len({digest for *_, digest in lists[0]}) == TOTAL


def test_guided_needs_a_fraction_of_the_evaluations():
    guided = open_study(InMemoryStorage(), "guided", budget=40)
    blind = open_study(InMemoryStorage(), "marlin", budget=200)
    volumes = []
    for study, total in ((guided, 40), (blind, 200)):
        seeded(study, range(19))
        points = np.array([t.objectives for t in run_to(study, total)])
        volumes.append(hypervolume(points, REFERENCE))
    assert volumes[0] > volumes[1]


def test_guided_is_ahead_of_nsga2_after_as_many_evaluations():
    volumes = {}
    for name in ("guided", "nsga2"):
        study = open_study(InMemoryStorage(), name, budget=40)
        seeded(study, range(19))
        points = np.array([t.objectives for t in run_to(study, 40)])
        volumes[name] = hypervolume(points, REFERENCE)
    assert volumes["guided"] > volumes["nsga2"]


class TestGuided:
    @pytest.mark.parametrize("in_logarithm", [True, False])
    def test_scores_below_the_exact_networks_gain_nothing(self, in_logarithm):
        front = np.array([[1.0, 0.5], [0.6, 0.5]])
        dear, good, cheap = expected_improvement(
            front,
            np.array([1.0, 0.75]),
            np.array([0.7, 0.6, 0.5]),
            np.log([0.3, 0.4, 0.3]),
            np.full(3, 1e-3),
            in_logarithm=in_logarithm,
            floor=0.5,
        )
        assert dear == good == 0
        area = np.log(1.5) if in_logarithm else 0.25
        assert cheap == pytest.approx(0.1 * area)

    def test_sensitivities_are_drawn_around_what_was_learnt(self):
        problem = problem_of()
        rng = np.random.default_rng(0)
        codes = rng.integers(problem.choices, size=(40, problem.size))
        scores = np.array([loss_of(one) for one in codes])
        fitted = Surrogate(problem).fit(codes, scores)
        draws = [fitted.distortion(np.random.default_rng(i)) for i in range(200)]
        again = fitted.distortion(np.random.default_rng(0))
        assert np.array_equal(draws[0], again)
        middle = np.median(np.log(np.stack(draws)[:, :, 1:]), axis=0)
        learnt = np.log(fitted.distortion()[:, 1:])
        spread = np.log(np.stack(draws)[:, :, 1:]).std(axis=0)
        assert spread.min() > 0
        assert abs(middle - learnt).mean() < 0.2 * spread.mean()


def test_guided_works_without_screening():
    study = open_study(InMemoryStorage(), "guided", problem=problem_of(screened=False))
    seeded(study, range(0, 19, 3))
    points = np.array([t.objectives for t in run_to(study, 30)])
    assert hypervolume(points, REFERENCE) > 1.01 * hypervolume(points[:7], REFERENCE)


def test_guided_looks_for_the_one_answer():
    problem = problem_of(min_quality=0.85)  # a loss of 0.2 at most
    study = open_study(InMemoryStorage(), "guided", problem=problem)
    seeded(study, range(19))
    trials = run_to(study, 40)
    good = [t for t in trials if t.validation.accuracy >= 0.85]
    fixed = min(t.energy_rel for t in good if t.origin == "uniform")
    assert min(t.energy_rel for t in good) < fixed
    near = [t for t in trials if t.origin == "guided" and 0.15 < t.validation.cross_entropy < 0.3]
    assert len(near) > 10


def rivals(count, name="random", **settings):
    """One study, opened by several as if on a database server."""
    storage = InMemoryStorage()
    studies = [open_study(storage, name, **settings) for _ in range(count)]
    for study in studies:
        study._study.sampler.has_rivals = True
    return studies


@pytest.mark.parametrize("name", ["guided", "uniform", "greedy", "nsga2"])
def test_two_that_propose_the_same_at_once_part(name, monkeypatch):
    first, second = rivals(2, name, budget=TOTAL)
    seeded(first)
    run_to(first, 6)
    sampler, found = first._study.sampler, []
    once = sampler.propose

    def propose(history, rng):
        proposal = once(history, rng)
        if not found:
            other = second.ask()
            found.append(other.codes)
            # What the other drew is what this one has drawn.
            return other.codes.copy(), proposal[1]
        return proposal

    monkeypatch.setattr(sampler, "propose", propose)
    assert first.ask().codes.tolist() != found[0].tolist()
    assert first.open == 8


@pytest.mark.parametrize("processes", [2, 3])
def test_the_last_assignment_goes_to_one_of_those_who_take_it_at_once(processes, monkeypatch):
    studies = rivals(processes, problem=problem_of(SITES[:2], ["mul8s_1KV8", "mul8s_1L1G"]))
    run_to(studies[0], 3)
    together = threading.Barrier(processes, timeout=10)
    monkeypatch.setattr(TrialHistory, "update", _in_step(together, TrialHistory.update))

    def ask(study):
        try:
            return study._study.ask().number
        except SpaceExhausted:
            return None

    with ThreadPoolExecutor(processes) as threads:
        asked = list(threads.map(ask, studies))
    assert sorted(asked, key=str) == [3] + [None] * (processes - 1)
    assert studies[0].open == 4


def test_an_assignment_that_is_being_scored_is_not_taken_away(monkeypatch):
    monkeypatch.setattr(_base, "LOOKS", 2)
    first, second = rivals(2, problem=problem_of(SITES[:2], ["mul8s_1KV8", "mul8s_1L1G"]))
    storage = first._storage
    run_to(first, 3)
    write, numbers = storage.set_trial_user_attr, []

    def late(*words):
        monkeypatch.undo()
        monkeypatch.setattr(_base, "LOOKS", 2)
        numbers.append(second.ask().number)  # it saw nobody
        write(*words)

    monkeypatch.setattr(storage, "set_trial_user_attr", late)
    with pytest.raises(SpaceExhausted):
        first.ask()
    assert numbers == [4]
    assert first.open == 4


def _in_step(barrier, update):
    """All have looked before any writes or gives up, and have written before any looks again."""
    looks = Counter()

    def wait(history, study, **words):
        looks[history] += 1
        if looks[history] == 2:
            barrier.wait()
        update(history, study, **words)
        if looks[history] in (1, 3):
            barrier.wait()

    return wait


def test_the_greedy_path_gets_cheaper_step_by_step():
    problem = problem_of()
    path = sampler_for("greedy", problem, seed=0, budget=10).path
    energy = problem.energies_rel(path)
    assert np.all(np.diff(energy) < 0)
    assert energy[0] == pytest.approx(1.0)
    assert energy[-1] == pytest.approx(problem.least_energy)
    assert np.all((np.diff(path, axis=0) != 0).sum(axis=1) == 1)


def test_gp_refuses_what_would_take_for_ever():
    many = tuple(type(SITES[0])(f"s{i}", "linear", 5, 2) for i in range(26))
    with pytest.raises(InputError, match=r"at most 50 trials on 25 groups.*--tie block"):
        sampler_for("gp", problem_of(many), seed=0, budget=50)
    with pytest.raises(InputError, match="not 51 on 12"):
        sampler_for("gp", problem_of(), seed=0, budget=51)


def test_unknown_names_get_the_nearest():
    with pytest.raises(InputError, match="did you mean guided"):
        sampler_for("guide", problem_of(), seed=0, budget=5)
    with pytest.raises(InputError, match="pymoo:nsga3"):
        sampler_for("pymoo:nsga33", problem_of(), seed=0, budget=5)


@pytest.mark.slow
def test_many_trials_cost_little_memory(tmp_path):
    count = 1_000
    sites = tuple(type(SITES[0])(f"blocks.{i}.fc", "linear", 5 + i, 2) for i in range(100))
    problem = problem_of(sites)
    study = open_study(tmp_path / "s.db", "random", problem=problem, budget=20_000)
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        codes = rng.integers(problem.choices, size=problem.size)
        loss = loss_of(codes)
        result = {
            "energy_rel": 0.5,
            "validation": {"accuracy": 0.9, "cross_entropy": loss, "images": 100},
            "fidelity": "bias-corrected",
            "seconds": 0.1,
            "tuned_validation": None,
            "test": None,
            "note": "",
            "third": None,
        }
        made.append(
            create_trial(
                values=[problem.energy_rel(codes), loss],
                user_attrs={ASSIGNMENT: record_of(codes, "random"), RESULT: result},
            )
        )
    study._study.add_trials(made)
    del made
    tracemalloc.start()
    again = open_study(tmp_path / "s.db", "random", problem=problem, budget=20_000)
    again.ask()
    assert len(again.trials()) == count
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held / count < 20_000
    for name in ("random", "greedy", "mcts"):
        again.use(sampler_for(name, problem, seed=1, budget=20_000))
        assert again.ask().codes.shape == (problem.size,)
    assert len(again._in_state(TrialState.COMPLETE)) == count
