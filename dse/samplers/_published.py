"""Searches with the settings that their authors published, to compare with.

They start from random mappings, as published, and look at no trial that they did not propose
themselves: neither the fixed multipliers nor screened assignments are among the parents. A mapping
that was tried before keeps its score instead of being tried again.
"""

from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.operators.crossover.pntx import SinglePointCrossover
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from dse.problem import Codes, Problem
from dse.samplers._base import Extra
from dse.samplers._history import TrialHistory
from dse.samplers._pymoo import PymooSampler


class RandomReset(Mutation):  # type: ignore[misc]
    """Each gene takes a random value with a probability of one in their number."""

    def _do(self, problem: Any, X: Any, *args: Any, random_state: Any = None, **kwargs: Any) -> Any:
        drawn = random_state.integers(0, problem.xu.astype(int) + 1, size=X.shape)
        return np.where(random_state.random(X.shape) < 1 / problem.n_var, drawn, X)


class PublishedSampler(PymooSampler):
    """Base of searches that begin with a random population of their own."""

    takes_screened = False
    individuals: int

    def __init__(self, problem: Problem, *, seed: int, budget: int) -> None:
        super().__init__(problem, "nsga2", seed=seed, budget=budget)
        self.name = type(self).name
        self.population = self.individuals

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The next individual of the present generation."""
        return self._individual(history, rng)

    def _begin(self, history: TrialHistory) -> None:
        self._running = self._made(None)

    def _is_scored(self, index: int, history: TrialHistory) -> bool:
        key = (self._generation, index)
        if key not in self._results:
            row = history.row_of(self.decoded(self._asked[index].X))
            if row is not None:
                self._results[key] = row
        return key in self._results

    def _genes(self, codes: Any) -> Any:
        return self._asked.get("X")


class MARLINSampler(PublishedSampler):
    """MARLIN's NSGA-II (Guella et al., IEEE TCAS-I 71(5), 2024).

    The settings are the defaults of the authors' ``benchmark_CIFAR10/nsga.py``, with which its
    README repeats the paper's ResNets: pymoo's NSGA-II with 70 individuals for 80 generations (120
    from ResNet-32 on), integers drawn at random to start with, single-point crossover with
    probability 0.8, polynomial mutation with probability 0.8 and η = 3 (at each gene one over their
    number, pymoo's default). Its fitness, after an epoch on a tenth of the training images, is not
    the sampler's: candidates are recovered and scored as for every other sampler.
    """

    name = "marlin"
    individuals = 70
    generations = 80

    def _made(self, start: Any) -> Any:
        algorithm = NSGA2(
            pop_size=self.individuals,
            sampling=IntegerRandomSampling(),
            crossover=SinglePointCrossover(prob=0.8, repair=RoundingRepair()),
            mutation=PM(prob=0.8, eta=3.0, vtype=float, repair=RoundingRepair()),
        )
        return self._set_up(algorithm, self.problem.offer.counts - 1)


class ALWANNSampler(PublishedSampler):
    """ALWANN's NSGA-II (Mrazek et al., ICCAD 2019, arXiv 1907.07229).

    An individual names the circuit of each of a few tiles, and the tile of each layer, as in the
    authors' published individuals (``alwann-demo``). Those come in 31 snapshots of at most 50:
    taken as 50 individuals for 30 generations. The operators and their rates are assumed, not
    taken from the paper: uniform crossover with probability 0.9, and mutation of one gene in as
    many as there are to a random value. Four tiles, the most that the published pictures have
    colours for, or as many circuits as the search allows. The paper's tuning of weights belongs to
    recovery, not to the search.
    """

    name = "alwann"
    individuals = 50
    generations = 30
    keeps_offer = False
    most_tiles = 4

    @property
    def tiles(self) -> int:
        """Circuits of an assignment."""
        return min(self.most_tiles, self.problem.max_distinct or self.most_tiles)

    def decoded(self, genes: Any) -> Codes:
        """The circuit of each group's tile, codes of shape ``(groups,)``."""
        whole = np.rint(genes).astype(np.int64)
        codes: Codes = whole[whole[self.tiles :]]
        return codes

    def _made(self, start: Any) -> Any:
        algorithm = NSGA2(
            pop_size=self.individuals,
            sampling=IntegerRandomSampling(),
            crossover=UX(prob=0.9, repair=RoundingRepair()),
            mutation=RandomReset(),
        )
        last = np.concatenate(
            [
                np.full(self.tiles, self.problem.choices - 1),
                np.full(self.problem.size, self.tiles - 1),
            ]
        )
        return self._set_up(algorithm, last)
