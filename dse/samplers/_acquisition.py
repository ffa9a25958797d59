"""How much a candidate is expected to add to the front that was measured."""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]

QUANTILES = np.array([-1.5, -0.75, -0.25, 0.25, 0.75, 1.5])
"""Standard-normal points that stand for the predictive distribution."""


def staircase(points: Matrix, reference: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """The region that ``points``, shape ``(n, 2)``, leave undominated below ``reference``.

    Returns:
        Left and right ends of its steps, and their heights, each of shape ``(steps,)``.
    """
    inside = points[(points < reference).all(axis=1)]
    inside = inside[np.lexsort((inside[:, 1], inside[:, 0]))]
    lows = np.minimum.accumulate(inside[:, 1]) if len(inside) else np.empty(0)
    left = np.concatenate([[-np.inf], inside[:, 0]])
    right = np.concatenate([inside[:, 0], [reference[0]]])
    height = np.concatenate([[reference[1]], lows])
    return left, right, height


def improvement(steps: tuple[Matrix, Matrix, Matrix], energy: Matrix, score: Matrix) -> Matrix:
    """Hypervolume that each point adds alone.

    Args:
        steps: as `staircase` returns them.
        energy: first objective of the points, shape ``(n,)``.
        score: second objective, shape ``(n,)``.

    Returns:
        float64 of shape ``(n,)``.
    """
    left, right, height = steps
    width = np.maximum(0, right[None, :] - np.maximum(left[None, :], energy[:, None]))
    rise = np.maximum(0, height[None, :] - score[:, None])
    return np.asarray((width * rise).sum(axis=1), dtype=np.float64)


def expected_improvement(
    front: Matrix,
    reference: Matrix,
    energy: Matrix,
    mean: Matrix,
    spread: Matrix,
    *,
    in_logarithm: bool,
    floor: float = 1e-9,
) -> Matrix:
    """Expected hypervolume improvement when the log score is normal.

    Args:
        front: measured energies and scores, shape ``(n, 2)``.
        reference: energy and score beyond which nothing counts.
        energy: of the candidates, shape ``(m,)``.
        mean: of the log score.
        spread: standard deviation of the log score.
        in_logarithm: measure volume over the logarithm of the score, where a part of the way to
            the exact network counts the same wherever it is gained.
        floor: scores below it count as equal to it, such as those below the exact network's.
    """
    points, limit = np.column_stack([front[:, 0], np.maximum(front[:, 1], floor)]), reference
    if in_logarithm:
        points[:, 1] = np.log(points[:, 1])
        limit = np.array([reference[0], np.log(reference[1])])
    steps = staircase(points, limit)
    total = np.zeros(len(energy))
    weights = np.exp(-0.5 * QUANTILES**2)
    for point, weight in zip(QUANTILES, weights / weights.sum(), strict=True):
        score = np.maximum(mean + point * spread, np.log(floor))
        total += weight * improvement(steps, energy, score if in_logarithm else np.exp(score))
    return total
