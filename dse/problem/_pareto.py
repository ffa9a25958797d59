"""Fronts and hypervolumes; every objective is minimised."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from luts.errors import InputError

Points = npt.NDArray[np.float64]
Tight = Literal["accuracy", "cross-entropy"]

TIGHT_POINTS = (1.0, 2.0, 5.0)
"""Points of accuracy below the exact network within which `tight_hypervolume` is reported."""
TIGHT_FACTORS = (1.1, 1.5, 2.0)
"""Multiples of the exact network's cross-entropy within which it is reported."""


def non_dominated(points: Points) -> npt.NDArray[np.int64]:
    """Indices of the points that no other dominates, by rising first objective.

    Of equal points only the first is kept.

    Args:
        points: shape ``(n, objectives)``.
    """
    if not len(points):
        return np.empty(0, dtype=np.int64)
    _, first = np.unique(points, axis=0, return_index=True)
    first = np.sort(first)
    sorting = NonDominatedSorting()
    front = first[sorting.do(points[first], only_non_dominated_front=True)]
    order = np.lexsort(points[front].T[::-1])
    return np.asarray(front[order], dtype=np.int64)


def hypervolume(points: Points, reference: Points) -> float:
    """Volume that ``points`` dominate below ``reference``.

    Args:
        points: shape ``(n, objectives)``.
        reference: shape ``(objectives,)``; points beyond it count for nothing.
    """
    if not len(points):
        return 0.0
    return float(HV(ref_point=reference)(points))


def tight_hypervolume(
    points: Points, exact: float, within: float, *, score: Tight = "accuracy"
) -> float:
    """Part of a box that anyone would use that ``points`` dominate.

    With the reference at guessing's score nearly all volume lies where no network is of use. Here
    the box reaches from the exact network's score to a little worse, and from energy 0 to 1, the
    exact network's. Points that score better than the exact network count as equally good.

    Args:
        points: relative energies and scores, shape ``(n, 2)``; scores are accuracies in 0…1 or
            cross-entropies, as ``score`` says.
        exact: score of the exact network, on the same images.
        within: how much worse a point may be: points of accuracy (``TIGHT_POINTS``), or the
            multiple of the exact network's cross-entropy (``TIGHT_FACTORS``).
        score: what the second column is.

    Returns:
        Between 0 and 1, where 1 would be the exact score for no energy.

    Raises:
        InputError: a box without area.
    """
    if score == "accuracy":
        if not within > 0:
            raise InputError(f"within must be more than 0 points of accuracy, not {within:g}")
        drop = 100 * (exact - points[:, 1]) / within
    else:
        if not (within > 1 and exact > 0):
            raise InputError(
                f"within must be more than 1 times a positive cross-entropy, not {within:g} times "
                f"{exact:g}"
            )
        drop = (points[:, 1] / exact - 1) / (within - 1)
    return hypervolume(np.column_stack([points[:, 0], np.maximum(drop, 0)]), np.ones(2))


def thin_front(points: Points, reference: Points, count: int) -> npt.NDArray[np.int64]:
    """The ``count`` points of a front that, taken greedily, keep the most hypervolume.

    Args:
        points: shape ``(n, objectives)``.
        reference: as in `hypervolume`.
        count: how many to keep.

    Returns:
        Indices into ``points``, by rising first objective.
    """
    left, kept = list(non_dominated(points)), list[int]()
    while left and len(kept) < count:
        gains = [hypervolume(points[[*kept, i]], reference) for i in left]
        kept.append(int(left.pop(int(np.argmax(gains)))))
    return np.array(sorted(kept, key=lambda i: tuple(points[i])), dtype=np.int64)
