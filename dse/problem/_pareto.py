"""Fronts and hypervolumes; every objective is minimised."""

import numpy as np
import numpy.typing as npt
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

Points = npt.NDArray[np.float64]


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
