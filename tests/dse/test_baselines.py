"""The samplers that others are compared with, on a cheap stand-in for scoring."""

import numpy as np
import pytest
from optuna.storages import InMemoryStorage

from dse.problem import non_dominated
from dse.samplers import sampler_for, seeds_for
from dse.samplers._nsga import bred, population_of
from tests.dse._stand_in import SITES, open_study, problem_of, run_to, seeded

TOTAL = 20


class TestEvolution:
    @pytest.mark.parametrize("name", ["nsga2", "nsga3", "pymoo:nsga2"])
    def test_what_was_queued_are_the_first_parents(self, name):
        problem = problem_of()
        study = open_study(InMemoryStorage(), name, problem=problem, budget=30)
        rng = np.random.default_rng(0)
        good = np.zeros(problem.size, dtype=np.int64)
        good[::2] = 18
        seeds = [(np.minimum(good, rng.integers(15, 19, size=12)), "screening") for _ in range(20)]
        study.seed([(problem.space.uniform(0), "uniform"), *seeds])
        trials = run_to(study, 30)
        children = [problem.space.encode(t.assignment) for t in trials[21:]]
        for child in children:
            # A random assignment would share about one of the twelve groups with the seeds.
            assert max((child == codes).sum() for codes, _ in seeds) >= 6

    def test_the_population_is_no_smaller_than_the_seeds_front(self, monkeypatch):
        problem = problem_of()
        sampler = sampler_for("nsga2", problem, seed=0, budget=30)
        sizes = []
        fitness = sampler.fitness
        monkeypatch.setattr(
            sampler, "fitness", lambda v, size, seed: sizes.append(size) or fitness(v, size, seed)
        )
        study = open_study(InMemoryStorage(), "nsga2", problem=problem, budget=30)
        study.use(sampler)
        seeded(study, range(19))
        points = np.array([t.objectives for t in run_to(study, 20)])[:19]
        # Energy falls and loss rises with every circuit; operand orders cost the same.
        assert sizes == [len(non_dominated(points))] == [13]

    @pytest.mark.parametrize(("trials", "size"), [(30, 12), (100, 12), (200, 25), (10_000, 50)])
    def test_the_population_suits_the_budget(self, trials, size):
        assert population_of(trials) == size

    def test_children_are_made_of_their_parents_and_near_them_in_power(self):
        problem = problem_of(tuple(type(SITES[0])(f"s{i}", "linear", 5, 2) for i in range(100)))
        rng = np.random.default_rng(0)
        parents = np.stack([problem.space.uniform(4), problem.space.uniform(12)])
        children = np.stack([bred(parents, problem, rng) for _ in range(400)])
        moved = (children != 4) & (children != 12)
        assert 0.5 < moved.sum(axis=1).mean() < 1.5  # one of a hundred groups
        distance = np.minimum(abs(children - 4), abs(children - 12))[moved]
        assert (distance <= 4).mean() > 0.7
        both = (children == 4).any(axis=1) & (children == 12).any(axis=1)
        assert 0.3 < both.mean() < 0.6  # half the pairs are one parent twice


class TestPublished:
    def test_parents_are_only_its_own_individuals(self):
        lists = []
        for codes in ((0, 9), (3, 18)):
            study = open_study(InMemoryStorage(), "marlin", budget=TOTAL)
            seeded(study, codes)
            lists.append([t.assignment.digest for t in run_to(study, 12)[2:]])
        assert lists[0] == lists[1]

    def test_no_screened_assignments_are_queued_for_it(self):
        queued = [(np.zeros(12, dtype=np.int64), origin) for origin in ("uniform", "screening")]
        for name, count in (("alwann", 1), ("marlin", 1), ("nsga2", 2), ("pymoo:nsga2", 2)):
            assert len(seeds_for(name, queued)) == count

    def test_alwann_has_as_many_circuits_as_tiles(self):
        for limits, most in (({}, 4), ({"max_distinct": 2}, 2)):
            problem = problem_of(**limits)
            study = open_study(InMemoryStorage(), "alwann", problem=problem, budget=TOTAL)
            for trial in run_to(study, TOTAL):
                assert len(set(trial.assignment.choices.values())) <= most

    @pytest.mark.parametrize("name", ["alwann", "marlin"])
    def test_the_second_generation_comes_after_the_first(self, name):
        sampler = sampler_for(name, problem_of(), seed=0, budget=120)
        study = open_study(InMemoryStorage(), name, budget=120)
        study.use(sampler)
        run_to(study, sampler.individuals + 1)
        records = sampler._history.records
        made = [record["individual"][0] for record in records]
        assert made[: sampler.individuals - 1] == [0] * (sampler.individuals - 1)
        run_to(study, sampler.individuals + 2)
        assert sampler._generation == 1


class TestSplit:
    @pytest.mark.parametrize("screened", [True, False])
    def test_two_circuits_divide_the_groups(self, screened):
        problem = problem_of(screened=screened)
        splits = sampler_for("split", problem, seed=0, budget=10).splits
        assert len(np.unique(splits, axis=0)) == len(splits) > 100
        assert max(problem.distinct(codes.astype(np.int64)) for codes in splits) == 2

    def test_the_cheap_circuit_goes_where_a_unit_of_energy_costs_least(self):
        problem = problem_of(SITES, ["mul8s_1KV8", "mul8s_1L1G"])
        splits = sampler_for("split", problem, seed=0, budget=10).splits
        ratio = problem.distortion[:, 1] / (problem.energy[:, 0] - problem.energy[:, 1])
        for codes in splits:
            assert ratio[codes == 1].max() <= ratio[codes == 0].min()

    def test_without_screening_it_goes_where_most_products_are(self):
        problem = problem_of(SITES, ["mul8s_1KV8", "mul8s_1L1G"], screened=False)
        for codes in sampler_for("split", problem, seed=0, budget=10).splits:
            assert (np.diff(codes) >= 0).all()  # the stand-in's layers grow

    def test_it_ends_when_all_were_tried(self):
        problem = problem_of(SITES[:3], ["mul8s_1KV8", "mul8s_1L1G"])
        study = open_study(InMemoryStorage(), "split", problem=problem, budget=TOTAL)
        splits = sampler_for("split", problem, seed=0, budget=TOTAL).splits
        assert len(run_to(study, TOTAL)) == len(splits) < 2**3
