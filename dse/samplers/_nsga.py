"""NSGA-II and NSGA-III for ordinal codes and small budgets."""

import abc

import numpy as np
import numpy.typing as npt
from pymoo.algorithms.moo.nsga3 import ReferenceDirectionSurvival
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.survival.rank_and_crowding import RankAndCrowding
from pymoo.util.ref_dirs import get_reference_directions

from dse.problem import Codes, Problem, non_dominated
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory

CROSSOVER = 0.9
"""Probability that a child has two parents."""
JUMP = 0.2
"""Probability that a group that mutates takes any choice instead of one near its own."""
STEP = 2.0
"""Standard deviation of a step in the order of power, in choices."""
DRAWS = 30
"""Children that are bred before one that was tried already is handed on."""
FEWEST = 8
"""With fewer trials than this, assignments are drawn at random."""

Parents = npt.NDArray[np.int64]


class NSGASampler(AssignmentSampler):
    """Base of both: every trial is followed by the selection of a new population.

    All complete trials, the fixed and the screened ones included, compete for a place, and a child
    competes as soon as it is scored. This steady-state form (Durillo et al., EMO 2009) wastes
    nothing of a small budget and finds better fronts than generations of the same size. Operators
    suit an order of choices: uniform crossover over groups, and a mutation that at one group in
    ``groups`` takes a few steps in the order of power, or sometimes any choice. A child that was
    tried before is bred again.
    """

    @abc.abstractmethod
    def fitness(self, values: npt.NDArray[np.float64], size: int, seed: int) -> Population:
        """Up to ``size`` survivors of trials with these objectives, of shape ``(n, objectives)``.

        Each has its row as X, and as ``rank`` and ``better`` what a tournament compares: lower
        ranks first, then larger ``better``.
        """

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """A child of the present population."""
        if len(history) < FEWEST:
            return self.problem.offer.drawn(rng), {}
        first = [i for i, origin in enumerate(history.origins) if origin != self.name]
        size = max(population_of(self.budget), len(non_dominated(history.values[first])))
        survivors = self.fitness(history.values, size, int(rng.integers(2**31)))
        rows = survivors.get("X")[:, 0].astype(int)
        order = np.lexsort((rows, -survivors.get("better"), survivors.get("rank")))
        parents = history.codes[rows[order]].astype(np.int64)
        for _ in range(DRAWS):
            child = self.problem.repair(bred(parents, self.problem, rng), rng)
            if not history.is_known(child):
                break
        return child, {}


class NSGA2Sampler(NSGASampler):
    """NSGA-II (Deb et al., IEEE TEC 6(2), 2002) from all trials that are there."""

    name = "nsga2"

    def fitness(self, values: npt.NDArray[np.float64], size: int, seed: int) -> Population:
        """By non-dominated rank, then by crowding distance."""
        everyone = Population.new(X=np.arange(len(values))[:, None], F=values)
        rng = np.random.default_rng(seed)
        kept = RankAndCrowding().do(
            _unconstrained(values),
            everyone,
            n_survive=min(size, len(values)),
            random_state=rng,
        )
        kept.set("better", np.nan_to_num(kept.get("crowding").astype(float), posinf=1e300))
        return kept


class NSGA3Sampler(NSGASampler):
    """NSGA-III (Deb and Jain, IEEE TEC 18(4), 2014) from all trials that are there."""

    name = "nsga3"

    def fitness(self, values: npt.NDArray[np.float64], size: int, seed: int) -> Population:
        """By non-dominated rank, then by closeness to a reference direction."""
        everyone = Population.new(X=np.arange(len(values))[:, None], F=values)
        partitions = size - 1 if values.shape[1] == 2 else 4
        directions = get_reference_directions(
            "das-dennis", values.shape[1], n_partitions=partitions
        )
        kept = ReferenceDirectionSurvival(directions).do(
            _unconstrained(values),
            everyone,
            n_survive=min(size, len(values)),
            random_state=np.random.default_rng(seed),
        )
        kept.set("better", -kept.get("dist_to_niche").astype(float))
        return kept


def _unconstrained(values: npt.NDArray[np.float64]) -> PymooProblem:
    return PymooProblem(n_var=1, n_obj=values.shape[1])


def bred(parents: Parents, problem: Problem, rng: np.random.Generator) -> Codes:
    """A child of two parents that binary tournaments choose, shape ``(groups,)``.

    Args:
        parents: from best to worst, int64 of shape ``(n, groups)``.
        problem: what each group is offered.
        rng: of everything random.
    """
    first, second = (int(rng.integers(len(parents), size=2).min()) for _ in range(2))
    offer, child = problem.offer, parents[first].copy()
    if rng.random() < CROSSOVER:
        child = np.where(rng.random(problem.size) < 0.5, child, parents[second])
    moved = rng.random(problem.size) < 1 / problem.size
    if not moved.any() and any(np.array_equal(child, parents[p]) for p in (first, second)):
        moved[rng.integers(problem.size)] = True
    size = np.maximum(1, np.rint(np.abs(rng.normal(0, STEP, problem.size)))).astype(np.int64)
    step = size * rng.choice([-1, 1], size=problem.size)
    near, anywhere = offer.at(offer.ranks(child) + step), offer.drawn(rng)
    far = rng.random(problem.size) < JUMP
    return offer.nearest(np.where(moved, np.where(far, anywhere, near), child))


def population_of(trials: int) -> int:
    """Individuals that a budget of ``trials`` can renew several times: 12 for 100."""
    return int(np.clip(round(trials / 8), 12, 50))
