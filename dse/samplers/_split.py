"""Two circuits to a network: what a designer would try by hand."""

import functools
import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from dse.problem import Codes, evenly, undominated
from dse.samplers._base import AssignmentSampler, Extra, SpaceExhausted
from dse.samplers._greedy import bisection
from dse.samplers._history import TrialHistory
from dse.samplers._surrogate import prior_distortion

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of the way from the energy of the dear circuit to that of the cheap one."""


MOST_CIRCUITS = 16
"""Of more circuits, so many of those that no other one dominates everywhere are paired."""


class SplitSampler(AssignmentSampler):
    """An expensive circuit where it matters and a cheap one elsewhere, for every pair of circuits.

    Groups go over to the cheap circuit in the order of the distortion that screening predicts for
    each unit of energy saved, until a share of the energy between the two is saved; without
    screening, those with the most products go first. Each circuit works in whichever operand order
    is predicted to be better at the group. Splits are proposed front by front of predicted
    distortion over energy, each front coarsely first, until none is left.
    """

    name = "split"
    keeps_offer = False

    @functools.cached_property
    def splits(self) -> npt.NDArray[np.int16]:
        """All different splits in the order of proposal, int16 of shape ``(splits, groups)``."""
        found = {codes.tobytes(): codes for codes in self._pairs()}
        if not found:
            return np.empty((0, self.problem.size), dtype=np.int16)
        codes = np.stack(list(found.values()))
        energy = self.problem.energies_rel(codes)
        distortion = prior_distortion(self.problem)[np.arange(self.problem.size), codes].sum(axis=1)
        order: list[int] = []
        for front in NonDominatedSorting().do(np.column_stack([energy, distortion])):
            left = [int(i) for i in front[np.argsort(energy[front], kind="stable")]]
            spread = dict.fromkeys(int(bisection(i) * len(left)) for i in range(4 * len(left)))
            order += [left[at] for at in dict.fromkeys([*spread, *range(len(left))])]
        return codes[order].astype(np.int16)

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The next split that was not tried."""
        for codes in self.splits:
            if not history.is_known(codes):
                return codes.astype(np.int64), {}
        raise SpaceExhausted("every split between two circuits was tried")

    def _pairs(self) -> Iterator[Codes]:
        problem = self.problem
        distortion, groups = prior_distortion(problem), np.arange(problem.size)
        for dear, cheap in itertools.permutations(self._circuits(distortion), 2):
            saved = problem.energy[groups, dear] - problem.energy[groups, cheap]
            if saved.sum() <= 0:
                continue
            paid = distortion[groups, cheap] - distortion[groups, dear]
            if problem.distortion is None:
                paid = np.zeros(problem.size)
            order = np.lexsort((-saved, paid / np.maximum(saved, 1e-300)))
            reached = np.cumsum(saved[order])
            for share in SHARES:
                count = int(np.searchsorted(reached, share * saved.sum())) + 1
                codes = dear.astype(np.int64)
                codes[order[:count]] = cheap[order[:count]]
                if problem.is_feasible(codes):
                    yield codes

    def _circuits(self, distortion: npt.NDArray[np.float64]) -> list[Codes]:
        """Each circuit everywhere, in the order of operands that is better at each group."""
        problem, groups = self.problem, np.arange(self.problem.size)
        best = []
        for circuit in range(int(problem.circuit.max()) + 1):
            orders = np.flatnonzero(problem.circuit == circuit)
            best.append(orders[distortion[:, orders].argmin(axis=1)])
        if len(best) <= MOST_CIRCUITS:
            return best
        energy = problem.energies_rel(np.stack(best))
        harm = np.array([distortion[groups, codes].sum() for codes in best])
        front = np.flatnonzero(undominated(np.stack([energy, harm])))
        front = front[np.argsort(-energy[front], kind="stable")]
        return [best[front[place]] for place in evenly(energy[front], MOST_CIRCUITS)]
