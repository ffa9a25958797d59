"""Optuna's own samplers, over one ordinal parameter per group of sites: its choice's rank."""

import abc
import warnings

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from dse.problem import Codes, Problem
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory
from luts.errors import InputError


class OptunaSampler(AssignmentSampler):
    """Base of the samplers that are Optuna's.

    They work on a copy of the study in memory, in which the trials have their parameters.
    """

    def __init__(self, problem: Problem, *, seed: int, budget: int) -> None:
        super().__init__(problem, seed=seed, budget=budget)
        self._names = [f"{index:04d}" for index in range(problem.size)]
        self._distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, int(count) - 1)
            for name, count in zip(self._names, problem.offer.counts, strict=True)
        }
        self._copy: Study | None = None
        self._copied = 0

    @abc.abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """Optuna's sampler for one trial."""

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """What Optuna asks for next."""
        copy = self._updated_copy(history)
        seed = int(rng.integers(2**31))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            copy.sampler = self.sampler(seed)
            asked = copy.ask(self._distributions)
        copy.tell(asked, state=TrialState.FAIL)
        params = asked.params  # a deep copy each time
        ranks = np.array([params[name] for name in self._names], dtype=np.int64)
        return self.problem.offer.at(ranks), {}

    def _updated_copy(self, history: TrialHistory) -> Study:
        if self._copy is None:
            self._copy = optuna.create_study(directions=["minimize"] * self.objectives)
        for index in range(self._copied, len(history)):
            ranks = self.problem.offer.ranks(history.codes[index])
            made = create_trial(
                values=history.values[index].tolist(),
                params=dict(zip(self._names, ranks.tolist(), strict=True)),
                distributions=self._distributions,
            )
            self._copy.add_trial(made)
        self._copied = len(history)
        return self._copy


class _KnownSpace(TPESampler):
    """Optuna's TPE, told the search space that it else gathers from all trials anew each time.

    Args:
        space: distributions of the parameters that every trial has.
        seed: of everything random.
    """

    def __init__(self, space: dict[str, BaseDistribution], *, seed: int) -> None:
        super().__init__(multivariate=True, constant_liar=False, seed=seed)
        self._space = {name: space[name] for name in sorted(space) if not space[name].single()}

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All that can vary."""
        return self._space


class TPESampler_(OptunaSampler):
    """Tree-structured Parzen estimators (Bergstra et al., NeurIPS 2011; Ozaki et al. 2022)."""

    name = "tpe"

    def sampler(self, seed: int) -> BaseSampler:
        """Optuna's TPE."""
        return _KnownSpace(self._distributions, seed=seed)


class GPSampler_(OptunaSampler):
    """Gaussian process with expected hypervolume improvement, for small problems.

    Raises:
        InputError: more trials or groups of sites than it can handle in reasonable time.
    """

    name = "gp"
    max_trials = 50
    max_groups = 25

    def __init__(self, problem: Problem, *, seed: int, budget: int) -> None:
        if problem.size > self.max_groups or budget > self.max_trials:
            raise InputError(
                f"the gp sampler takes at most {self.max_trials} trials on {self.max_groups} "
                f"groups of sites, not {budget} on {problem.size}; tie sites with --tie block, "
                f"lower --trials, or use --sampler guided"
            )
        super().__init__(problem, seed=seed, budget=budget)

    def sampler(self, seed: int) -> BaseSampler:
        """Optuna's Gaussian-process sampler."""
        return GPSampler(seed=seed, deterministic_objective=True)


def population_for(trials: int) -> int:
    """A population that leaves a budget of ``trials`` several generations: 16 for 60 trials."""
    return int(np.clip(2 * round(np.sqrt(trials)), 8, 50))
