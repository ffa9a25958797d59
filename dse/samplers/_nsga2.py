"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002), Optuna's own."""

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, IntDistribution
from optuna.samplers import NSGAIISampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from dse._space import Codes, SearchSpace
from dse.samplers._base import ASSIGNMENT, AssignmentSampler
from models import Assignment

GENERATION = "NSGAIISampler:generation"
_OWN_GENERATION = "generation"


class NSGA2Sampler(AssignmentSampler):
    """Optuna's NSGA-II over one ordinal parameter a site.

    It works on a copy of the study in memory, in which the trials have their parameters; the
    generation it gives a trial is kept with the trial, so that the copy can be made again.

    Args:
        space: sites and choices.
        seed: see `AssignmentSampler`.
        population: individuals a generation; queued trials are generation 0.
    """

    name = "nsga2"

    def __init__(self, space: SearchSpace, *, seed: int, population: int) -> None:
        super().__init__(space, seed=seed)
        self.population = population
        self._distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(space.choices) - 1) for name in space.free
        }
        self._copy: Study | None = None
        self._copied: set[int] = set()

    def propose(self, study: Study, trial: FrozenTrial) -> tuple[Codes, dict[str, Any]]:
        """The next individual."""
        copy = self._updated_copy(study)
        # The stream of one trial: neither resuming nor another worker changes or repeats it.
        stream = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0]
        # Optuna hands a generation's first child its parents in another order than the others,
        # whose parents come from a cache. A first ask fills the cache, so that every child, also
        # the first one after an interruption, sees one order.
        for _ in range(2):
            copy.sampler = NSGAIISampler(population_size=self.population, seed=int(stream))
            asked = copy.ask(self._distributions)
            copy.tell(asked, state=TrialState.FAIL)
        generation = copy.trials[asked.number].system_attrs.get(GENERATION, 0)
        codes = np.array([asked.params[name] for name in self.space.free], dtype=np.int64)
        return codes, {_OWN_GENERATION: generation}

    def _updated_copy(self, study: Study) -> Study:
        if self._copy is None:
            self._copy = optuna.create_study(directions=study.directions)
        complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for trial in complete:
            if trial.number in self._copied:
                continue
            self._copied.add(trial.number)
            codes = self.space.encode(Assignment.from_json(trial.user_attrs[ASSIGNMENT]))
            made = create_trial(
                values=trial.values,
                params=dict(zip(self.space.free, codes.tolist(), strict=True)),
                distributions=self._distributions,
                system_attrs={GENERATION: trial.user_attrs.get(_OWN_GENERATION, 0)},
            )
            self._copy.add_trial(made)
        return self._copy


def population_for(trials: int) -> int:
    """A population that leaves a budget of ``trials`` several generations: 16 for 60 trials."""
    return int(np.clip(2 * round(np.sqrt(trials)), 8, 50))
