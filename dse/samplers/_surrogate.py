"""A model of the validation score that starts from screening and learns from every trial.

Screening predicts the distortion ``D(a) = Σ_g d[g, a_g]``. With unknown factors on groups,
circuits and single choices, ``D' = Σ_g exp(α_g + β_circuit + γ_{g, a_g}) · d[g, a_g]``, and to
first order ::

    log(D' + k) ≈ log(D + k) + Σ_g α_g · s_g(a) + Σ_m β_m · S_m(a) + Σ_g γ_{g, a_g} · s_g(a)

where ``s_g = d[g, a_g] / (D + k)``, and ``S_m`` is the sum of those of circuit m. The shares are
those of the assignments that were measured, so the factors are learnt where the front lies and not
at the exact network. The knee ``k`` is the distortion below which the score hardly moves: without
it, a share would weigh as much near the exact network, where it decides nothing, as far from it. A
Gaussian process (Rasmussen and Williams 2006) on the logarithm of the score sums a smooth function
of log(D + k), the linear terms, and a residual that is similar for assignments that share choices.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize
from scipy.sparse import csr_array

from dse.problem import Problem

Matrix = npt.NDArray[np.float64]
CodeMatrix = npt.NDArray[np.integer]

MOST_POINTS = 300
"""A Gaussian process takes cubic time: of more trials than this it sees the latest, and of the
others a selection that is even in rank by score."""

_START = np.log([1.0, 0.5, 0.5, 0.5, 0.5, 0.1, 0.02])
"""Logarithms of the smooth function's scale and length, the scales of the factors of groups,
circuits and single choices, of the residual, and the noise."""
_KNEES = (1e-3, 1e-2, 0.1, 0.3, 1.0)
"""Knees that are tried, relative to the median distortion of a fixed circuit."""


@dataclasses.dataclass(frozen=True)
class Features:
    """What the kernel compares: shape ``(n, …)`` each; `one_hot` and `entry_share` are sparse."""

    log_distortion: Matrix
    group_share: Matrix
    circuit_share: Matrix
    one_hot: csr_array
    entry_share: csr_array


class Surrogate:
    """Predicts the logarithm of the score of assignments.

    Args:
        problem: has the screening's distortion; without one, distance from exact stands in.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.distortion = prior_distortion(problem)
        everywhere = self.distortion.sum(axis=0)[problem.offer.mask.any(axis=0)]
        self._everywhere = everywhere
        # A network of zeros errs nowhere: any scale does then.
        erring = everywhere[everywhere > 0]
        self._median = float(np.median(erring)) if len(erring) else 1.0
        self._learnt: dict[int, tuple[float, Matrix]] = {}
        # Agreement of two assignments counts for more at groups where more distortion is at stake.
        worst = np.where(problem.offer.mask, self.distortion, 0.0).max(axis=1)
        weight = np.sqrt(worst / worst.max()) if worst.max() > 0 else np.ones(len(worst))
        self._weight = 0.5 * weight / weight.sum() + 0.5 / len(weight)

    def features(self, codes: CodeMatrix, knee: float) -> Features:
        """What the kernel compares of assignments, codes of shape ``(n, groups)``."""
        groups, choices = self.distortion.shape
        knee = knee * self._median
        distortion = self.distortion[np.arange(groups), codes]
        total = distortion.sum(axis=1, keepdims=True) + knee
        share = distortion / total
        circuits = int(self.problem.circuit.max()) + 1
        cell = np.arange(len(codes))[:, None] * circuits + self.problem.circuit[codes]
        summed = np.bincount(cell.ravel(), share.ravel(), len(codes) * circuits)
        by_circuit: Matrix = summed.reshape(len(codes), circuits).astype(np.float64)
        log_distortion = np.log(total[:, 0]) - float(np.log(self._everywhere + knee).mean())
        column = (np.arange(groups) * choices + codes).ravel()
        start = np.arange(len(codes) + 1) * groups

        def sparse(values: Matrix) -> csr_array:
            return csr_array((values.ravel(), column, start), (len(codes), groups * choices))

        weight = np.broadcast_to(np.sqrt(self._weight), share.shape)
        return Features(log_distortion, share, by_circuit, sparse(weight), sparse(share))

    def fit(self, codes: CodeMatrix, scores: Matrix) -> "Fitted":
        """Learn from measured scores, shape ``(n,)``, all positive."""
        target = np.log(np.maximum(scores, 1e-9))
        kept = self._kept(scores)
        knee, hyper = self._hyperparameters(codes, target, kept)
        return Fitted(self, self.features(codes[kept], knee), target[kept], knee, hyper)

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
    ) -> tuple[float, Matrix]:
        # Fitted only when the study reaches certain sizes, on what it held then: cheap, and the
        # same after an interruption.
        size = 8
        while size * 1.35 <= len(kept) and size * 1.35 <= MOST_POINTS:
            size = int(size * 1.35)
        if size > len(target):
            return _KNEES[0], _START
        if size not in self._learnt:
            tried = []
            for knee in _KNEES:
                loss, hyper = _most_likely(self.features(codes[:size], knee), target[:size])
                tried.append((loss, knee, hyper))
            _, knee, hyper = min(tried, key=lambda item: item[0])
            self._learnt[size] = knee, hyper
        return self._learnt[size]


class Fitted:
    """A surrogate that was fitted to measured scores."""

    def __init__(
        self,
        surrogate: Surrogate,
        features: Features,
        target: Matrix,
        knee: float,
        hyper: Matrix,
    ) -> None:
        self._surrogate = surrogate
        self._features = features
        self._knee = knee
        self._hyper = hyper
        self._mean = float(target.mean())
        covariance = _kernel(_parts(features, features), hyper)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * hyper[6]) + 1e-8
        self._factor = cho_factor(covariance, lower=True)
        self._alpha = cho_solve(self._factor, target - self._mean)

    def predict(self, codes: CodeMatrix) -> tuple[Matrix, Matrix]:
        """Mean and standard deviation of the log score, each of shape ``(n,)``."""
        new = self._surrogate.features(codes, self._knee)
        cross = _kernel(_parts(new, self._features), self._hyper)
        mean = self._mean + cross @ self._alpha
        solved = solve_triangular(self._factor[0], cross.T, lower=True)
        variance = _diagonal(new, self._hyper) - (solved**2).sum(axis=0)
        return mean, np.sqrt(np.maximum(variance, 1e-10))

    def distortion(self, rng: np.random.Generator | None = None) -> Matrix:
        """The screening's distortion with the factors learnt, shape ``(groups, choices)``.

        Args:
            rng: draws the factors from what the trials leave possible (Matheron's rule); without
                it, they are the expected ones.
        """
        scale, prior, parts = np.exp(2 * self._hyper), self._surrogate.distortion, self._features
        alpha = np.zeros(prior.shape[0])
        beta = np.zeros(parts.circuit_share.shape[1])
        gamma = np.zeros(prior.size)
        weight = self._alpha
        if rng is not None:
            alpha = np.sqrt(scale[2]) * rng.normal(size=alpha.shape)
            beta = np.sqrt(scale[3]) * rng.normal(size=beta.shape)
            gamma = np.sqrt(scale[4]) * rng.normal(size=gamma.shape)
            drawn = parts.group_share @ alpha + parts.circuit_share @ beta
            drawn += parts.entry_share @ gamma + self._rest @ rng.normal(size=len(weight))
            weight = weight - cho_solve(self._factor, drawn)
        alpha = alpha + scale[2] * parts.group_share.T @ weight
        beta = beta + scale[3] * parts.circuit_share.T @ weight
        gamma = gamma + scale[4] * (parts.entry_share.T @ weight)
        factor = alpha[:, None] + beta[self._surrogate.problem.circuit] + gamma.reshape(prior.shape)
        factor /= max(self._slope, 0.05)
        return np.asarray(prior * np.exp(np.clip(factor, -3, 3)), dtype=np.float64)

    @functools.cached_property
    def _rest(self) -> Matrix:
        """Root of the covariance of all that is not linear in the factors, and of the noise."""
        without = self._hyper.copy()
        without[2:5] = -20
        covariance = _kernel(_parts(self._features, self._features), without)
        covariance[np.diag_indices_from(covariance)] += np.exp(2 * self._hyper[6]) + 1e-8
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)

    @functools.cached_property
    def _slope(self) -> float:
        """Change of the log score with log(D + k) over the middle of the data."""
        at = self._features.log_distortion
        low, high = np.quantile(at, (0.25, 0.9))
        if high - low < 1e-6:
            return 1.0
        ends = np.array([low, high])
        cross = _smooth(ends[:, None] - at, ends[:, None] * at, self._hyper) @ self._alpha
        return float((cross[1] - cross[0]) / (high - low))


def prior_distortion(problem: Problem) -> Matrix:
    """The screening's distortion; without one, squared rank times the energy at stake."""
    if problem.distortion is not None:
        return problem.distortion
    rank = np.arange(problem.choices) / (problem.choices - 1)
    return np.asarray(np.ptp(problem.energy, axis=1)[:, None] * rank[None, :] ** 2)


def _parts(a: Features, b: Features) -> tuple[Matrix, ...]:
    """What the kernel is made of and no hyperparameter changes, each of shape ``(n, m)``."""
    at, to = a.log_distortion[:, None], b.log_distortion[None, :]
    return (
        at - to,
        at * to,
        a.group_share @ b.group_share.T,
        a.circuit_share @ b.circuit_share.T,
        (a.entry_share @ b.entry_share.T).toarray(),
        (a.one_hot @ b.one_hot.T).toarray(),
    )


def _smooth(gap: Matrix, product: Matrix, hyper: Matrix) -> Matrix:
    """Kernel of the smooth function of log(D + k): linear and squared-exponential."""
    length = np.exp(hyper[1]) * 4
    scale: Matrix = np.exp(2 * hyper[0]) * (np.exp(-0.5 * (gap / length) ** 2) + 0.25 * product)
    return scale


def _kernel(parts: tuple[Matrix, ...], hyper: Matrix) -> Matrix:
    scale = np.exp(2 * hyper)
    gap, product, group, circuit, entry, agreement = parts
    total: Matrix = (
        _smooth(gap, product, hyper)
        + scale[2] * group
        + scale[3] * circuit
        + scale[4] * entry
        + scale[5] * np.exp(-2 * (1 - agreement))
    )
    return total


def _diagonal(a: Features, hyper: Matrix) -> Matrix:
    scale = np.exp(2 * hyper)
    total: Matrix = (
        scale[0] * (1 + 0.25 * a.log_distortion**2)
        + (scale[2] + scale[4]) * (a.group_share**2).sum(axis=1)
        + scale[3] * (a.circuit_share**2).sum(axis=1)
        + scale[5]
    )
    return total


def _most_likely(features: Features, target: Matrix) -> tuple[float, Matrix]:
    """Least loss, and hyperparameters of it."""
    loss = _Loss(_parts(features, features), target)
    optimum = minimize(loss, _START, jac=True, method="L-BFGS-B", options={"maxiter": 25})
    return float(optimum.fun), np.asarray(optimum.x, dtype=np.float64)


class _Loss:
    """Negative logarithm of the marginal likelihood times a wide log-normal prior.

    Args:
        parts: of the kernel, of the measured assignments.
        target: what was measured of them, shape ``(n,)``.
    """

    def __init__(self, parts: tuple[Matrix, ...], target: Matrix) -> None:
        self._parts = parts
        self._centred = target - target.mean()
        gap, _, group, circuit, entry, agreement = parts
        self._squared_gap = gap**2
        # Of the scales of these the kernel is a multiple.
        self._scaled = np.stack([group, circuit, entry, np.exp(-2 * (1 - agreement))])

    def __call__(self, hyper: Matrix) -> tuple[float, Matrix]:
        """The loss and its gradient (Rasmussen and Williams 2006, equation 5.9)."""
        _, product, *_ = self._parts
        scale, noise = np.exp(2 * hyper), np.exp(2 * hyper[6])
        stretched = self._squared_gap / (4 * np.exp(hyper[1])) ** 2
        bell = scale[0] * np.exp(-0.5 * stretched)
        smooth = bell + 0.25 * scale[0] * product
        covariance = smooth + np.tensordot(scale[2:6], self._scaled, 1)
        covariance[np.diag_indices_from(covariance)] += noise + 1e-8
        try:
            factor = cho_factor(covariance, lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(hyper)
        inverse = cho_solve(factor, np.eye(len(covariance)))
        alpha = inverse @ self._centred
        loss = 0.5 * self._centred @ alpha + np.log(np.diag(factor[0])).sum()
        outer = inverse - np.outer(alpha, alpha)
        gradient = hyper - _START
        gradient[0] += (outer * smooth).sum()
        gradient[1] += 0.5 * (outer * bell * stretched).sum()
        gradient[2:6] += scale[2:6] * np.tensordot(self._scaled, outer, 2)
        gradient[6] += noise * np.trace(outer)
        return float(loss + 0.5 * ((hyper - _START) ** 2).sum()), gradient
