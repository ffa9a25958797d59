"""As AxNN does (Venkataramani et al., ISLPED 2014): approximate the most resilient site first."""

import functools

import numpy as np
import numpy.typing as npt

from dse.problem import Codes
from dse.samplers._base import AssignmentSampler, Extra, SpaceExhausted
from dse.samplers._history import TrialHistory


class GreedySampler(AssignmentSampler):
    """Steps along one path from all exact to all cheapest.

    Each step of the path makes one group cheaper: the one for which screening predicts the least
    distortion for the energy that is saved. Trials sample the path in bisection order, coarsely
    first, so that a stopped search covers it too.
    """

    name = "greedy"

    @functools.cached_property
    def path(self) -> npt.NDArray[np.int16]:
        """Assignments from dear to cheap, int16 of shape ``(steps, groups)``."""
        energy, distortion = self.problem.energy, self.problem.distortion
        if distortion is None:
            distortion = np.tile(np.arange(energy.shape[1]) ** 2.0, (len(energy), 1))
        steps: list[tuple[float, int, int]] = []
        offered = self.problem.offer.mask
        codes = np.where(offered, energy, -np.inf).argmax(axis=1)
        for group, own in enumerate(offered):
            costs = np.where(own, distortion[group], np.inf)
            steps += _hull_steps(group, int(codes[group]), energy[group], costs)
        path = [codes.astype(np.int16)]
        for _, group, code in sorted(steps):
            codes[group] = code
            path.append(codes.astype(np.int16))
        return np.stack(path)

    def propose(self, history: TrialHistory, rng: np.random.Generator) -> tuple[Codes, Extra]:
        """The next point of the path that was not tried."""
        start = max((r.get("step", -1) for r in history.records), default=-1) + 1
        for step in range(start, 4 * len(self.path)):
            codes = self.path[int(bisection(step) * len(self.path))].astype(np.int64)
            codes = self.problem.repair(codes, rng)
            if not history.is_known(codes):
                return codes, {"step": step}
        raise SpaceExhausted("the whole greedy path was tried")


def _hull_steps(
    group: int, code: int, energy: npt.NDArray[np.float64], distortion: npt.NDArray[np.float64]
) -> list[tuple[float, int, int]]:
    """Choices cheaper than ``code`` with their slopes, which rise along the lower convex hull."""
    steps: list[tuple[float, int, int]] = []
    while True:
        saved = energy[code] - energy
        cheaper = np.flatnonzero((saved > 1e-15) & np.isfinite(distortion))
        if not len(cheaper):
            return steps
        slopes = (distortion[cheaper] - distortion[code]) / saved[cheaper]
        best = int(np.lexsort((energy[cheaper], slopes))[0])
        code = int(cheaper[best])
        steps.append((float(slopes[best]), group, code))


def bisection(index: int) -> float:
    """The van der Corput sequence (1/2, 1/4, 3/4, 1/8, …), at ``index`` 0, 1, …."""
    value, step, index = 0.0, 0.5, index + 1
    while index:
        value += step * (index & 1)
        step, index = step / 2, index >> 1
    return value
