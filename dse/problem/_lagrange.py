"""Exact optima of an additive model of distortion and energy."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from dse.problem._problem import Problem
from dse.problem._space import Codes

Matrix = npt.NDArray[np.float64]


def lagrangian_sweep(distortion: Matrix, energy: Matrix, *, count: int) -> list[Codes]:
    """Assignments on the lower convex hull of additive distortion and additive energy.

    For every weight λ the best choice at each site is its own argmin of
    ``distortion + λ · energy``, so that each assignment found is optimal for its energy.

    Args:
        distortion: shape ``(sites, choices)``.
        energy: shape ``(sites, choices)``.
        count: how many assignments to return.

    Returns:
        At most ``count`` different assignments, evenly spread over the logarithm of their energy,
        from high to low.
    """
    ratios = _slopes(distortion, energy)
    if not len(ratios):
        return []
    sites = np.arange(len(energy))
    optima: dict[bytes, tuple[float, Codes]] = {}
    for weight in np.geomspace(ratios.min() / 2, ratios.max() * 2, 40 * count):
        codes = (distortion + weight * energy).argmin(axis=1).astype(np.int64)
        optima.setdefault(codes.tobytes(), (float(energy[sites, codes].sum()), codes))
    return _spread(list(optima.values()), count)


def _slopes(distortion: Matrix, energy: Matrix) -> npt.NDArray[np.float64]:
    """Distortion paid for each unit of energy saved, between any two choices of a site."""
    saved = energy[:, :, None] - energy[:, None, :]
    paid = distortion[:, None, :] - distortion[:, :, None]
    useful = (saved > 0) & (paid > 0)
    return np.asarray(paid[useful] / saved[useful], dtype=np.float64)


def _spread(candidates: list[tuple[float, Codes]], count: int) -> list[Codes]:
    """At most ``count``, evenly over the logarithm of their energy, from high to low."""
    ordered = sorted(candidates, key=lambda item: -item[0])
    if len(ordered) <= count:
        return [codes for _, codes in ordered]
    at = np.log([total for total, _ in ordered])
    wanted = np.linspace(at[0], at[-1], count)
    picked = sorted({int(np.abs(at - want).argmin()) for want in wanted})
    return [ordered[index][1] for index in picked]


def constrained_sweep(problem: Problem, distortion: Matrix, *, count: int) -> list[Codes]:
    """Like `lagrangian_sweep`, among the assignments that meet the problem's constraints.

    Args:
        problem: energy and constraints.
        distortion: shape ``(groups, choices)``.
        count: how many assignments to return.
    """
    if problem.max_distinct is None:
        swept = lagrangian_sweep(distortion, problem.energy, count=4 * count)
        swept = [codes for codes in swept if problem.is_feasible(codes)]
    else:
        free = lagrangian_sweep(distortion, problem.energy, count=count)
        if not free:
            return []
        limits = np.geomspace(
            max(problem.least_energy * 1.001, 1e-6), problem.energy_rel(free[0]), count
        )
        if problem.max_energy is not None:
            limits = np.unique(np.minimum(limits, problem.max_energy))
        swept = [
            c
            for limit in limits
            if (c := _cheapest_distortion(problem, distortion, limit)) is not None
        ]
    unique = {codes.tobytes(): (problem.energy_rel(codes), codes) for codes in swept}
    return _spread(list(unique.values()), count)


def _cheapest_distortion(problem: Problem, distortion: Matrix, limit: float) -> Codes | None:
    """The least distortion within ``limit`` of energy and the problem's number of circuits.

    An integer program: x[g, c] = 1 where group g takes choice c, y[m] = 1 where circuit m is used.
    """
    assert problem.max_distinct is not None
    groups, choices = distortion.shape
    circuits = int(problem.circuit.max()) + 1
    chosen, used = groups * choices, circuits
    index = np.arange(chosen)
    one_each = coo_array((np.ones(chosen), (index // choices, index)), (groups, chosen + used))
    circuit = problem.circuit[index % choices]
    opened = coo_array(
        (
            np.concatenate([np.ones(chosen), -np.ones(chosen)]),
            (np.concatenate([index, index]), np.concatenate([index, chosen + circuit])),
        ),
        (chosen, chosen + used),
    )
    counted = np.concatenate([np.zeros(chosen), np.ones(used)])
    spent = np.concatenate([problem.energy.ravel(), np.zeros(used)])
    fixed = np.zeros(used)
    fixed[[c for c in problem.fixed_circuits if c >= 0]] = 1
    elsewhere = sum(c < 0 for c in problem.fixed_circuits)
    solution = milp(
        np.concatenate([distortion.ravel() / max(distortion.max(), 1e-300), np.zeros(used)]),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(opened, -np.inf, 0),
            LinearConstraint(counted[None, :], 0, problem.max_distinct - elsewhere),
            LinearConstraint(spent[None, :], 0, limit - problem.constant),
        ],
        integrality=np.ones(chosen + used),
        bounds=Bounds(np.concatenate([np.zeros(chosen), fixed]), 1),
        options={"time_limit": 2.0, "mip_rel_gap": 0.01},
    )
    if solution.x is None:
        return None
    return np.asarray(solution.x[:chosen].reshape(groups, choices).argmax(axis=1), dtype=np.int64)
