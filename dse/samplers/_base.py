"""Optuna samplers that propose a whole assignment at once.

A network has a hundred sites and Optuna's database writes a row a parameter, so a trial here has no
parameters: the assignment lies in one attribute, written before the trial starts. Trials that were
queued with an assignment keep it.
"""

import abc
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from dse._space import Codes, SearchSpace

ASSIGNMENT = "assignment"
ORIGIN = "origin"


class AssignmentSampler(BaseSampler, abc.ABC):
    """Base of all samplers: writes what `propose` returns into the trial.

    Args:
        space: sites and choices.
        seed: of everything random; the n-th trial of a study draws from its own stream, so that an
            interrupted study goes on as if it had not been.
    """

    name: str

    def __init__(self, space: SearchSpace, *, seed: int) -> None:
        self.space = space
        self.seed = seed

    @abc.abstractmethod
    def propose(self, study: Study, trial: FrozenTrial) -> tuple[Codes, dict[str, Any]]:
        """Codes for a new trial, shape ``(free sites,)``, and attributes to keep with it."""

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Give the trial its assignment, unless it was queued with one."""
        if ASSIGNMENT in trial.user_attrs:
            return
        codes, extra = self.propose(study, trial)
        attributes = {
            ORIGIN: self.name,
            ASSIGNMENT: self.space.decode(codes).to_json(),
            **extra,
        }
        for key, value in attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, key, value)

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
        raise NotImplementedError(f"trials carry an assignment, no parameter {param_name!r}")
