"""One multiplier everywhere: the baseline of AxMoE (arXiv 2605.04754)."""

import numpy as np

from dse.problem import Codes
from dse.samplers._base import AssignmentSampler, Extra, SpaceExhausted
from dse.samplers._history import TrialHistory


class UniformSampler(AssignmentSampler):
    """Each choice once, at all groups alike; then the search ends."""

    name = "uniform"
    keeps_offer = False

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The first fixed choice that was not tried."""
        for code in range(self.problem.choices):
            codes = self.space.uniform(code)
            if self.problem.is_feasible(codes) and not history.is_known(codes):
                return codes, {}
        raise SpaceExhausted("every fixed multiplier was tried")
