"""pymoo's multi-objective algorithms, by ask and tell (Blank and Deb, IEEE Access 8, 2020).

Genes are ranks among the choices that a group is offered.
"""

import importlib
from typing import Any

import numpy as np
from pymoo.core.evaluator import Evaluator
from pymoo.core.population import Population
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.ux import UX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.util.ref_dirs import get_reference_directions

from dse.problem import Codes, Problem, non_dominated
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory
from dse.samplers._optuna import population_for
from luts.errors import InputError, suggest

ALGORITHMS = {
    "nsga2": ("nsga2", "NSGA2", False),
    "nsga3": ("nsga3", "NSGA3", True),
    "unsga3": ("unsga3", "UNSGA3", True),
    "rvea": ("rvea", "RVEA", True),
    "smsemoa": ("sms", "SMSEMOA", False),
    "spea2": ("spea2", "SPEA2", False),
}
"""Name on the command line → pymoo's module, its class, and whether it wants directions.

Left out: C-TAEA, which never returns from a small first population; AGE-MOEA, which needs numba;
MOEA/D, which goes on one individual at a time; R-NSGA-II, R-NSGA-III and PINSGA-II, which need
somebody's preferences; those for problems that change with time; and differential evolution and
particle swarms, which move in continuous spaces.
"""

MOST_GENERATIONS_PER_ASK = 4


class PymooSampler(AssignmentSampler):
    """An algorithm of pymoo over integers.

    All trials that are there when it first proposes are its first population, however many they
    are; the fixed and the screened ones are queued before. After an interruption the algorithm is
    run again on what the study holds, which costs no evaluation.

    Args:
        problem: what is searched.
        algorithm: one of `ALGORITHMS`.
        seed: of everything random.
        budget: trials that the study is going to have.

    Raises:
        InputError: an unknown algorithm.
    """

    def __init__(self, problem: Problem, algorithm: str, *, seed: int, budget: int) -> None:
        if algorithm not in ALGORITHMS:
            raise InputError(
                f"unknown algorithm of pymoo {algorithm!r}; {suggest(algorithm, [*ALGORITHMS])}"
            )
        super().__init__(problem, seed=seed, budget=budget)
        self.name = f"pymoo:{algorithm}"
        self.algorithm = algorithm
        self.population = population_for(budget)
        self._running: Any = None
        self._asked: Any = None
        self._generation = 0
        self._results: dict[tuple[int, int], int] = {}
        self._read = 0

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The next individual; while others of its generation are being scored, a draw near one."""
        # pymoo's C-TAEA never returns from a first population smaller than its set of directions.
        directions = ALGORITHMS[self.algorithm][2]
        if self._running is None and len(history) < (len(self._directions()) if directions else 8):
            return self.problem.offer.drawn(rng), {}
        return self._individual(history, rng)

    def _individual(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        self._read_results(history)
        # A generation that is scored gives way to the next; an algorithm that finds no offspring
        # but duplicates is helped out with a draw.
        for _ in range(MOST_GENERATIONS_PER_ASK):
            self._ask(history)
            if self._asked is None or not len(self._asked):
                self._asked = None
                continue
            left = [
                index for index in range(len(self._asked)) if not self._is_scored(index, history)
            ]
            if left:
                index = left[min(len(self._history.pending), len(left) - 1)]
                return self.decoded(self._asked[index].X), {"individual": [self._generation, index]}
            self._tell(history)
        return self.problem.offer.drawn(rng), {}

    def decoded(self, genes: Any) -> Codes:
        """The assignment that an individual stands for, codes of shape ``(groups,)``."""
        return self.problem.offer.at(np.rint(genes).astype(np.int64))

    def _is_scored(self, index: int, history: TrialHistory) -> bool:
        return (self._generation, index) in self._results

    def _read_results(self, history: TrialHistory) -> None:
        for index in range(self._read, len(history)):
            made = history.records[index].get("individual")
            if made is not None:
                self._results.setdefault((made[0], made[1]), index)
        self._read = len(history)

    def _ask(self, history: TrialHistory) -> None:
        if self._asked is not None:
            return
        if self._running is None:
            self._begin(history)
        self._asked = self._running.ask()

    def _begin(self, history: TrialHistory) -> None:
        made = ["individual" in record for record in history.records]
        first = np.arange(made.index(True) if True in made else len(made))
        self.population = max(self.population, len(non_dominated(history.values[first])))
        self._running = self._made(self.problem.offer.ranks(history.codes[first]).astype(float))
        start = self._running.ask()
        genes = self.problem.offer.ranks(history.codes[first])
        self._score(start, history.values[first], genes)
        self._running.tell(infills=start)

    def _tell(self, history: TrialHistory) -> None:
        rows = [self._results[self._generation, index] for index in range(len(self._asked))]
        self._score(self._asked, history.values[rows], self._genes(history.codes[rows]))
        self._running.tell(infills=self._asked)
        self._asked = None
        self._generation += 1

    def _genes(self, codes: Any) -> Any:
        """Genes of what was tried in the place of the individuals that were asked for."""
        return self.problem.offer.ranks(codes)

    def _score(self, individuals: Population, values: Any, genes: Any) -> None:
        for individual, value, own in zip(individuals, values, genes, strict=True):
            individual.X = own.astype(float)
            individual.set("F", np.asarray(value, dtype=float))
            individual.evaluated.update({"F", "G", "H"})
        Evaluator().eval(self._running.problem, individuals)

    def _directions(self) -> Any:
        partitions = self.population - 1 if self.objectives == 2 else 4
        return get_reference_directions("das-dennis", self.objectives, n_partitions=partitions)

    def _made(self, start: Any) -> Any:
        module, name, wants_directions = ALGORITHMS[self.algorithm]
        algorithm_class = getattr(importlib.import_module(f"pymoo.algorithms.moo.{module}"), name)
        settings: dict[str, Any] = {
            "sampling": start,
            "crossover": UX(repair=RoundingRepair()),
            "mutation": PM(eta=5, repair=RoundingRepair()),
            "eliminate_duplicates": True,
        }
        if wants_directions:
            settings["ref_dirs"] = self._directions()
        settings["pop_size"] = self.population
        return self._set_up(algorithm_class(**settings), self.problem.offer.counts - 1)

    def _set_up(self, algorithm: Any, last: Any) -> Any:
        """An algorithm over genes from 0 to ``last``, shape ``(genes,)``."""
        problem = PymooProblem(
            n_var=len(last), n_obj=self.objectives, xl=np.zeros(len(last)), xu=last, vtype=int
        )
        generations = max(2, self.budget // self.population)
        algorithm.setup(
            problem, termination=("n_gen", 10 * generations), seed=self.seed, verbose=False
        )
        return algorithm
