"""Independent uniform draws."""

import numpy as np

from dse.problem import Codes
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory


class RandomSampler(AssignmentSampler):
    """Every choice with the same probability at every group: what a search must beat."""

    name = "random"

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """A uniform draw."""
        return self.problem.offer.drawn(rng), {}
