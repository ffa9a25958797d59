"""A model of the validation score that starts from screening and learns from every trial.

Screening predicts the distortion ``D(a) = Σ_g d[g, a_g]``. With unknown factors on groups and
circuits, ``D' = Σ_g exp(α_g + β_circuit) · d[g, a_g]``, and to first order in them ::

    log D' ≈ log D + Σ_g α_g · s_g(a) + Σ_m β_m · S_m(a)

where ``s_g`` is the share of group g in D, and ``S_m`` that of circuit m. The shares are those of
the assignments that were measured, so the factors are learnt where the front lies and not at the
exact network. A Gaussian process (Rasmussen and Williams 2006) on the logarithm of the score sums a
smooth function of log D, the two linear terms, and a residual that is similar for assignments that
share choices.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

from dse.problem import Problem

Matrix = npt.NDArray[np.float64]
CodeMatrix = npt.NDArray[np.integer]

MOST_POINTS = 300
"""A Gaussian process takes cubic time: of more trials than this it sees the latest, and of the
others a selection that is even in rank by score."""

_START = np.log([1.0, 0.5, 0.5, 0.5, 0.1, 0.02])


@dataclasses.dataclass(frozen=True)
class Features:
    """What the kernel compares: shape ``(n, …)`` each."""

    log_distortion: Matrix
    group_share: Matrix
    circuit_share: Matrix
    one_hot: Matrix


class Surrogate:
    """Predicts the logarithm of the score of assignments.

    Args:
        problem: has the screening's distortion; without one, distance from exact stands in.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.distortion = prior_distortion(problem)
        everywhere = self.distortion.sum(axis=0)
        self._floor = 1e-3 * float(np.median(everywhere[everywhere > 0]))
        self._centre = float(np.log(everywhere + self._floor).mean())
        self._hyper: dict[int, Matrix] = {}
        # Agreement of two assignments counts for more at groups where more distortion is at stake.
        weight = np.sqrt(self.distortion.max(axis=1) / self.distortion.max())
        self._weight = 0.5 * weight / weight.sum() + 0.5 / len(weight)

    def features(self, codes: CodeMatrix) -> Features:
        """What the kernel compares of assignments, codes of shape ``(n, groups)``."""
        groups, choices = self.distortion.shape
        distortion = self.distortion[np.arange(groups), codes]
        total = distortion.sum(axis=1, keepdims=True) + self._floor
        share = distortion / total
        circuits = int(self.problem.circuit.max()) + 1
        by_circuit = np.zeros((len(codes), circuits))
        for circuit in range(circuits):
            at = self.problem.circuit[codes] == circuit
            by_circuit[:, circuit] = (share * at).sum(axis=1)
        one_hot = np.zeros((len(codes), groups, choices))
        rows = np.arange(len(codes))[:, None]
        one_hot[rows, np.arange(groups), codes] = np.sqrt(self._weight)
        log_distortion = np.log(total[:, 0]) - self._centre
        return Features(log_distortion, share, by_circuit, one_hot.reshape(len(codes), -1))

    def fit(self, codes: CodeMatrix, scores: Matrix) -> "Fitted":
        """Learn from measured scores, shape ``(n,)``, all positive."""
        target = np.log(np.maximum(scores, 1e-9))
        kept = self._kept(scores)
        features = self.features(codes[kept])
        hyper = self._hyperparameters(codes, target, kept)
        return Fitted(self, features, target[kept], hyper)

    @staticmethod
    def _kept(scores: Matrix) -> npt.NDArray[np.int64]:
        if len(scores) <= MOST_POINTS:
            return np.arange(len(scores))
        latest = np.arange(len(scores) - MOST_POINTS // 2, len(scores))
        earlier = np.argsort(scores[: latest[0]], kind="stable")
        spread = np.linspace(0, len(earlier) - 1, MOST_POINTS // 2).astype(int)
        return np.concatenate([np.sort(earlier[spread]), latest])

    def _hyperparameters(
        self, codes: CodeMatrix, target: Matrix, kept: npt.NDArray[np.int64]
    ) -> Matrix:
        # Fitted only when the study reaches certain sizes, on what it held then: cheap, and the
        # same after an interruption.
        size = 8
        while size * 1.35 <= len(kept) and size * 1.35 <= MOST_POINTS:
            size = int(size * 1.35)
        if size > len(target):
            return _START
        if size not in self._hyper:
            some = self.features(codes[:size])
            self._hyper[size] = _most_likely(some, target[:size])
        return self._hyper[size]


class Fitted:
    """A surrogate that was fitted to measured scores."""

    def __init__(
        self, surrogate: Surrogate, features: Features, target: Matrix, hyper: Matrix
    ) -> None:
        self._surrogate = surrogate
        self._features = features
        self._hyper = hyper
        self._mean = float(target.mean())
        covariance = _kernel(features, features, hyper)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * hyper[5]) + 1e-8
        self._factor = cho_factor(covariance, lower=True)
        self._alpha = cho_solve(self._factor, target - self._mean)

    def predict(self, codes: CodeMatrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of the log score, each of shape ``(n,)``."""
        new = self._surrogate.features(codes)
        cross = _kernel(new, self._features, self._hyper)
        mean = self._mean + cross @ self._alpha
        solved = solve_triangular(self._factor[0], cross.T, lower=True)
        variance = _diagonal(new, self._hyper) - (solved**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-10))

    def distortion(self) -> Matrix:
        """The screening's distortion with the factors learnt, shape ``(groups, choices)``."""
        hyper = np.exp(2 * self._hyper)
        slope = np.clip(self._slope(), 0.05, None)
        alpha = hyper[2] * self._features.group_share.T @ self._alpha / slope
        beta = hyper[3] * self._features.circuit_share.T @ self._alpha / slope
        factor = np.exp(
            np.clip(alpha[:, None] + beta[self._surrogate.problem.circuit][None, :], -3, 3)
        )
        return np.asarray(self._surrogate.distortion * factor, dtype=np.float64)

    def _slope(self) -> float:
        """Change of the log score with log D over the middle of the data."""
        at = self._features.log_distortion
        low, high = np.quantile(at, (0.25, 0.9))
        if high - low < 1e-6:
            return 1.0
        ends = np.array([low, high])
        cross = _smooth(ends, at, self._hyper) @ self._alpha
        return float((cross[1] - cross[0]) / (high - low))


def prior_distortion(problem: Problem) -> Matrix:
    """The screening's distortion; without one, squared rank times the energy at stake."""
    if problem.distortion is not None:
        return problem.distortion
    rank = np.arange(problem.choices) / (problem.choices - 1)
    return np.asarray(np.ptp(problem.energy, axis=1)[:, None] * rank[None, :] ** 2)


def _smooth(a: Matrix, b: Matrix, hyper: Matrix) -> Matrix:
    """Kernel of the smooth function of log D: linear and squared-exponential."""
    gap = a[:, None] - b[None, :]
    length = np.exp(hyper[1]) * 4
    linear = 0.25 * a[:, None] * b[None, :]
    scale: Matrix = np.exp(2 * hyper[0]) * (np.exp(-0.5 * (gap / length) ** 2) + linear)
    return scale


def _kernel(a: Features, b: Features, hyper: Matrix) -> Matrix:
    scale = np.exp(2 * hyper)
    agreement = a.one_hot @ b.one_hot.T
    total: Matrix = (
        _smooth(a.log_distortion, b.log_distortion, hyper)
        + scale[2] * a.group_share @ b.group_share.T
        + scale[3] * a.circuit_share @ b.circuit_share.T
        + scale[4] * np.exp(-2 * (1 - agreement))
    )
    return total


def _diagonal(a: Features, hyper: Matrix) -> Matrix:
    scale = np.exp(2 * hyper)
    total: Matrix = (
        scale[0] * (1 + 0.25 * a.log_distortion**2)
        + scale[2] * (a.group_share**2).sum(axis=1)
        + scale[3] * (a.circuit_share**2).sum(axis=1)
        + scale[4]
    )
    return total


def _most_likely(features: Features, target: Matrix) -> Matrix:
    """Hyperparameters of the largest marginal likelihood under a wide log-normal prior."""
    centred = target - target.mean()

    def loss(hyper: Matrix) -> float:
        covariance = _kernel(features, features, hyper)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * hyper[5]) + 1e-8
        try:
            factor = cho_factor(covariance, lower=True)
        except np.linalg.LinAlgError:
            return 1e10
        fit = 0.5 * centred @ cho_solve(factor, centred)
        prior = 0.5 * (((hyper - _START) / 1.0) ** 2).sum()
        return float(fit + np.log(np.diag(factor[0])).sum() + prior)

    optimum = minimize(loss, _START, method="L-BFGS-B", options={"maxiter": 25})
    return np.asarray(optimum.x, dtype=np.float64)
