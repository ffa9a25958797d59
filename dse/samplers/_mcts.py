"""Monte-Carlo tree search as TransAxx describes it (Danopoulos et al., arXiv 2402.07545)."""

import numpy as np
import numpy.typing as npt

from dse.problem import Codes, non_dominated
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory

EXPLORATION = 1 / (2 * np.sqrt(2))
"""UCT's constant in TransAxx's public code (``mcts/mcts.py``)."""


class MCTSSampler(AssignmentSampler):
    """One tree level per group of sites; below the tree, choices are drawn by a hardware policy.

    A child is chosen by UCT (Kocsis and Szepesvári, ECML 2006). The hardware policy draws choices
    with probabilities that rise with the energy they save. TransAxx rewards a learnt accuracy
    predictor; here every trial is measured and its reward is its quality under weights that are
    drawn for each new trial, so that the whole front is covered. The tree needs no store of its
    own: the statistics of a node are those of the trials that share its prefix.
    """

    name = "mcts"

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """Select by UCT, expand, and complete by the hardware policy."""
        policy = self._policy(rng)
        rewards = self._rewards(history, rng)
        codes = np.zeros(self.problem.size, dtype=np.int64)
        here = np.arange(len(history))
        for group in range(self.problem.size):
            if not len(here):
                codes[group] = rng.choice(self.problem.choices, p=policy[group])
                continue
            chosen = history.codes[here, group].astype(np.int64)
            visits = np.bincount(chosen, minlength=self.problem.choices)
            open_children = np.flatnonzero(self.problem.offer.mask[group] & (visits == 0))
            # Progressive widening (Coulom 2007): nineteen children each would never get deep.
            if len(open_children) and np.count_nonzero(visits) <= np.sqrt(len(here)):
                weight = policy[group][open_children]
                codes[group] = rng.choice(open_children, p=weight / weight.sum())
                here = here[:0]
                continue
            total = np.bincount(chosen, weights=rewards[here], minlength=self.problem.choices)
            tried = np.flatnonzero(visits)
            bound = total[tried] / visits[tried] + EXPLORATION * np.sqrt(
                2 * np.log(len(here)) / visits[tried]
            )
            codes[group] = tried[int(bound.argmax())]
            here = here[chosen == codes[group]]
        return codes, {}

    def _policy(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Probability of each choice at each group, for one roll-out."""
        energy = self.problem.energy
        spread = np.maximum(np.ptp(energy, axis=1, keepdims=True), 1e-300)
        saved = (energy.max(axis=1, keepdims=True) - energy) / spread
        weight = np.exp(rng.uniform(-4, 4) * saved)
        weight = weight * self.problem.offer.mask
        return np.asarray(weight / weight.sum(axis=1, keepdims=True), dtype=np.float64)

    def _rewards(self, history: TrialHistory, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """In [0, 1], by a weighted Chebyshev distance from the best of each objective."""
        values = history.values
        if not len(values):
            return np.empty(0)
        front = values[non_dominated(values)]
        low = front.min(axis=0)
        high = np.maximum(front.max(axis=0), low + 1e-12)
        weights = rng.dirichlet(np.ones(values.shape[1]))
        distance = (weights * np.clip((values - low) / (high - low), 0, 1)).max(axis=1)
        return np.asarray(1 - distance, dtype=np.float64)
