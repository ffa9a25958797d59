"""Optuna samplers that propose a whole assignment at once.

A network has a hundred sites and Optuna's database writes one row per parameter, so a trial here
has no parameters: the assignment lies in one attribute, written when the trial starts. Trials that
were queued with an assignment keep it.
"""

import abc
import itertools
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from dse.problem import Codes, Problem
from dse.samplers._history import TrialHistory
from dse.samplers._record import ASSIGNMENT, record_of

ENUMERABLE = 20_000
"""Spaces up to this size are listed to find what was not tried."""

LOOKS, LOOK_SECONDS = 20, 0.1
"""How often, and how far apart, a trial checks that the others have left it the last assignment."""

Extra = dict[str, Any]


class SpaceExhausted(Exception):
    """A sampler has nothing left to propose."""


class AssignmentSampler(BaseSampler, abc.ABC):
    """Base of all samplers: writes what `propose` returns into the trial.

    What is proposed meets the problem's constraints and was not tried before, as long as anything
    is left. Proposals depend on nothing but the seed, the trial's number and the complete trials,
    so that an interrupted study goes on as if it had not stopped.

    Args:
        problem: what is searched.
        seed: of everything random; the n-th trial of a study draws from its own stream.
        budget: trials that the study is going to have.

    Attributes:
        takes_screened: whether screened assignments are queued before it proposes.
        keeps_offer: whether it proposes what each group is offered alone. A choice that another one
            dominates at some group may be right for few circuits that serve all groups.
        has_rivals: whether other processes propose trials of the same study.
    """

    name: str
    takes_screened: ClassVar[bool] = True
    keeps_offer: ClassVar[bool] = True

    def __init__(self, problem: Problem, *, seed: int, budget: int) -> None:
        self.problem = problem
        self.space = problem.space
        self.seed = seed
        self.budget = budget
        self.objectives = 2
        self.has_rivals = False
        self._history = TrialHistory(problem.size)

    @abc.abstractmethod
    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """Codes for a new trial, shape ``(groups,)``, and what to keep with it.

        Raises:
            SpaceExhausted: nothing is left to propose.
        """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its assignment, unless it was queued with one."""
        if ASSIGNMENT in trial.user_attrs:
            return
        self.objectives = len(study.directions)
        rng = np.random.default_rng([self.seed, trial.number])
        try:
            while not self._claim(study, trial, rng):
                pass
        except SpaceExhausted:
            if self._keeps_last(study, trial):
                return
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            raise

    def _claim(self, study: Study, trial: FrozenTrial, rng: np.random.Generator) -> bool:
        """Write a proposal into the trial; False if another process made the same meanwhile.

        Each process writes and then looks, so that of two with the same proposal at
        least one sees the other. A process that is alone need not look.
        """
        self._history.update(study, without=trial.number)
        codes, extra = self.propose(self._history, rng)
        if self.keeps_offer or not self.problem.is_feasible(codes):
            codes = self.problem.repair(codes, rng)
        codes = self._new(codes, rng)
        record = record_of(codes, self.name, **extra)
        study._storage.set_trial_user_attr(trial._trial_id, ASSIGNMENT, record)
        if not self.has_rivals:
            return True
        self._history.update(study, without=trial.number)
        return not self._history.is_known(codes)

    def _keeps_last(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether this trial keeps the last assignment: the lowest-numbered claimant does.

        Trials that claim the last assignment at once see each other and find nothing else. The one
        with the lowest number stays, but waits for the others to leave: one of them may not have
        seen it, and may be being scored.
        """
        for _ in range(LOOKS):
            trials = study.get_trials(deepcopy=False)
            record = trials[trial.number].user_attrs.get(ASSIGNMENT)
            if record is None:
                return False
            rivals = [
                other
                for other in trials
                if other.number != trial.number
                and other.state != TrialState.FAIL
                and other.user_attrs.get(ASSIGNMENT, {}).get("codes") == record["codes"]
            ]
            if not rivals:
                return True
            if any(r.number < trial.number or r.state != TrialState.RUNNING for r in rivals):
                return False
            time.sleep(LOOK_SECONDS)
        return False

    def _new(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """``codes``, or an assignment near them that was not tried.

        Raises:
            SpaceExhausted: all that meet the constraints were tried.
        """
        if not self._history.is_known(codes):
            return codes
        for changes in range(1, 60):
            near = codes.copy()
            where = rng.integers(self.problem.size, size=1 + changes // 10)
            near[where] = self.problem.offer.drawn(rng)[where]
            near = self.problem.repair(near, rng)
            if not self._history.is_known(near):
                return near
        for near in self._listed(codes):
            if self.problem.is_feasible(near) and not self._history.is_known(near):
                return near
        raise SpaceExhausted(f"all {len(self._history)} assignments were tried")

    def _listed(self, codes: Codes) -> Iterator[Codes]:
        """All assignments of a small space; else the fixed ones, and all near what was tried.

        From a fixed assignment every other one of its circuits is reached step by step without
        leaving the constraints, so that something new is among these as long as there is any.
        """
        problem = self.problem
        if float(np.log(problem.offer.counts).sum()) <= np.log(ENUMERABLE):
            every = itertools.product(*problem.offer.to_lists())
            yield from (np.array(one, dtype=np.int64) for one in every)
            return
        yield from problem.steps(codes)
        yield from problem.fixed
        for start in (*problem.fixed, *self._history.every):
            yield from problem.steps(start)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """None: a trial has no parameters."""
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """None: a trial has no parameters."""
        return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Refuse: a trial has no parameters."""
        raise NotImplementedError(f"trials carry an assignment, not the parameter {param_name!r}")
