"""The default: search on a surrogate that starts from screening and learns from every trial."""

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from dse.problem import Codes, Problem, non_dominated, offered_sweeps
from dse.samplers._acquisition import expected_improvement
from dse.samplers._base import AssignmentSampler, Extra
from dse.samplers._history import TrialHistory
from dse.samplers._surrogate import Fitted, Surrogate

Matrix = npt.NDArray[np.float64]
Many = npt.NDArray[np.int64]

CHILDREN = 120
"""Of front members, among the candidates for a proposal."""
SWEPT = 60
"""Assignments along a Lagrangian sweep."""
DRAWS = 10
"""Sensitivities that are drawn for a proposal."""
TURNS = (1.5, 1.1, 2.0, None)
"""Boxes in turn, beginning where the seed says: multiples of the exact network's score, or all that
was measured."""
LEAST_STEP = 0.1
"""A network that hardly errs has a box as one whose score is this."""

FEWEST = 4
"""With fewer trials than this there is nothing to learn from."""


class GuidedSampler(AssignmentSampler):
    """Proposes the candidate with the largest expected gain of the measured front.

    Energy is analytic, so only the score is predicted. Gain is measured in turn within boxes of
    several widths next to the exact network, where an assignment is of use, and on the whole front.
    Candidates are optimal under sensitivities that the trials leave possible: Lagrangian sweeps
    over those that screening predicts, those re-learnt from the trials, and several drawn from the
    surrogate (Thompson 1933), which change many sites at once. Children of the measured front are
    among them too.
    """

    name = "guided"

    def __init__(self, problem: Problem, *, seed: int, budget: int) -> None:
        super().__init__(problem, seed=seed, budget=budget)
        self._surrogate = Surrogate(problem)

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The best candidate of many under the surrogate."""
        if len(history) < FEWEST:
            return self._any_fixed(rng), {}
        codes, energy, scores = history.codes, history.values[:, 0], history.values[:, 1]
        fitted = self._surrogate.fit(codes, scores)
        front = np.column_stack([energy, scores])
        if history.pending:
            # What others are scoring now counts as if it had turned out as predicted.
            waiting = np.stack(history.pending)
            believed = np.exp(fitted.predict(waiting)[0])
            front = np.vstack(
                [front, np.column_stack([self.problem.energies_rel(waiting), believed])]
            )
        candidates = self._candidates(codes[non_dominated(front[: len(codes)])], fitted, rng)
        candidates = self._new_ones(candidates, history)
        if not len(candidates):
            return self._any_fixed(rng), {}
        mean, spread = fitted.predict(candidates)
        best = int(self._gain(history, front, candidates, mean, spread).argmax())
        return candidates[best], {"predicted": float(np.exp(mean[best]))}

    def _any_fixed(self, rng: np.random.Generator) -> Codes:
        fixed = self.problem.fixed or [self.problem.offer.drawn(rng)]
        return fixed[int(rng.integers(len(fixed)))]

    def _new_ones(self, candidates: Many, history: TrialHistory) -> Many:
        candidates = np.unique(candidates, axis=0)
        new = [not history.is_known(c) and self.problem.is_feasible(c) for c in candidates]
        return candidates[new]

    def _gain(
        self, history: TrialHistory, front: Matrix, candidates: Many, mean: Matrix, spread: Matrix
    ) -> Matrix:
        energy = self.problem.energies_rel(candidates)
        turn = len(history) + len(history.pending)
        if self.problem.min_quality is not None and turn % 4:
            return self._cheaper(history, energy, mean, spread)
        if self.problem.max_energy is not None and turn % 4:
            return _expected_fall(float(np.log(front[:, 1].min())), mean, spread)
        reference, floor, logarithm = self._box(front, turn)
        if self.objectives == 2:
            return expected_improvement(
                front, reference, energy, mean, spread, in_logarithm=logarithm, floor=floor
            )
        third = self.problem.thirds(candidates)
        gain = np.zeros(len(candidates))
        for level in np.unique(third):
            at = third == level
            rivals = front[: len(history)][history.values[:, 2] <= level]
            gain[at] = expected_improvement(
                rivals,
                reference,
                energy[at],
                mean[at],
                spread[at],
                in_logarithm=logarithm,
                floor=floor,
            )
        return gain

    def _box(self, front: Matrix, turn: int) -> tuple[Matrix, float, bool]:
        """Reference point, score that cannot be bettered, and whether volume is logarithmic."""
        exact = float(front[front[:, 0].argmax(), 1])
        has_goal = self.problem.min_quality is not None or self.problem.max_energy is not None
        factor = None if has_goal else TURNS[(turn + self.seed) % len(TURNS)]
        reference = reference_of(front)
        if factor is None:
            return reference, 1e-9, True
        limit = max(factor * exact, exact + (factor - 1) * LEAST_STEP)
        reference[1] = min(reference[1], limit)
        return reference, exact, False

    def _cheaper(
        self, history: TrialHistory, energy: Matrix, mean: Matrix, spread: Matrix
    ) -> Matrix:
        """Log of the saving of energy times the probability that the score is good enough."""
        assert self.problem.min_quality is not None
        good = history.qualities >= self.problem.min_quality
        limit = np.log(dividing_score(history.values[:, 1], good))
        least = history.values[good, 0].min() if good.any() else 1.0
        saved = np.log(np.maximum(1e-300, least - energy))
        # What saves nothing is not an answer, however good its score.
        saved[energy >= least] = -1e9
        return np.asarray(saved + norm.logcdf((limit - mean) / spread))

    def _candidates(
        self, front: npt.NDArray[np.integer], fitted: Fitted, rng: np.random.Generator
    ) -> Many:
        """Front members' children, and what is optimal under possible sensitivities."""
        problem = self.problem
        expected = [self._surrogate.distortion, fitted.distortion()]
        drawn = [fitted.distortion(rng) for _ in range(DRAWS)]
        sweeps = offered_sweeps(problem, expected, count=SWEPT)
        sweeps += offered_sweeps(problem, drawn, count=SWEPT // 2)
        swept = [codes for sweep in sweeps for codes in sweep]
        children = self._children(front.astype(np.int64), rng)
        return self._repaired(np.vstack([children, *swept, *problem.fixed]), rng)

    def _repaired(self, codes: Many, rng: np.random.Generator) -> Many:
        if self.problem.max_distinct is None and self.problem.max_energy is None:
            return codes
        return np.stack([self.problem.repair(one, rng) for one in codes])

    def _children(self, parents: Many, rng: np.random.Generator) -> Many:
        offer = self.problem.offer
        first = parents[rng.integers(len(parents), size=CHILDREN)]
        second = parents[rng.integers(len(parents), size=CHILDREN)]
        children = np.where(rng.random(first.shape) < 0.5, first, second)
        children[: CHILDREN // 2] = first[: CHILDREN // 2]
        rate = rng.choice([1, 2, 4, 8], size=(CHILDREN, 1)) / self.problem.size
        moved = rng.random(children.shape) < rate
        step = np.rint(rng.normal(0, 2.5, size=children.shape)).astype(np.int64)
        anywhere = offer.drawn(rng, len(children))
        far = rng.random(children.shape) < 0.2
        changed = np.where(far, anywhere, offer.at(offer.ranks(children) + step))
        return np.where(moved, changed, offer.nearest(children))


def reference_of(points: Matrix) -> Matrix:
    """Energy of the exact network and a score that only the worst measured ones exceed."""
    low, high = points[:, 1].min(), np.quantile(points[:, 1], 0.9)
    return np.array([max(1.0, points[:, 0].max()) + 1e-6, max(high, low * 1.5) + 1e-9])


def dividing_score(scores: Matrix, good: npt.NDArray[np.bool_]) -> float:
    """The score that best divides good trials (below) from the others."""
    order = np.argsort(scores, kind="stable")
    wrong = np.cumsum(~good[order]) + (good.sum() - np.cumsum(good[order]))
    if good.sum() <= wrong.min():
        return float(scores.min())
    return float(scores[order][int(wrong.argmin())])


def _expected_fall(best: float, mean: Matrix, spread: Matrix) -> Matrix:
    """Expected improvement of the log score below ``best`` (Jones et al. 1998)."""
    z = (best - mean) / spread
    return np.asarray((best - mean) * norm.cdf(z) + spread * norm.pdf(z))
