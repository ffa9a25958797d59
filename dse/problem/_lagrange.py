"""Exact optima of an additive model of distortion and energy."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from dse.problem._problem import Problem
from dse.problem._space import Codes

Matrix = npt.NDArray[np.float64]


def lagrangian_sweep(
    distortion: Matrix, energy: Matrix, *, count: int, most: float = np.inf
) -> list[Codes]:
    """Assignments on the lower convex hull of additive distortion and additive energy.

    For a weight λ the best choice at each site is its own argmin of ``distortion + λ · energy``, so
    that each assignment found is optimal for its energy. A site changes its choice only where λ
    passes the slope of an edge of its own hull, and the assignments between are all that there are.

    Args:
        distortion: shape ``(sites, choices)``; +∞ for choices that a site does not have.
        energy: shape ``(sites, choices)``.
        count: how many assignments to return.
        most: distortion that none of them exceeds.

    Returns:
        At most ``count`` different assignments, evenly spread over the logarithm of their energy,
        from high to low; none where no site has anything to trade.
    """
    return _along(*_hulls(distortion, energy), distortion, energy, count=count, most=most)


def _along(
    start: Codes, edges: "_Edges", distortion: Matrix, energy: Matrix, *, count: int, most: float
) -> list[Codes]:
    """At most ``count`` assignments from ``start`` along the edges, as `lagrangian_sweep` says."""
    if not len(edges.slope):
        return []
    order = np.argsort(edges.slope, kind="stable")
    site, before, after = edges.site[order], edges.before[order], edges.after[order]
    saved = np.concatenate([[0.0], np.cumsum(energy[site, before] - energy[site, after])])
    paid = np.concatenate([[0.0], np.cumsum(distortion[site, after] - distortion[site, before])])
    sites = np.arange(len(energy))
    totals = energy[sites, start].sum() - saved
    within = distortion[sites, start].sum() + paid <= most
    found, codes, done = [], start.copy(), 0
    for last in evenly(totals[: max(1, int(within.sum()))], count):
        # A site's later edge overwrites its earlier one.
        codes[site[done:last]] = after[done:last]
        found.append(codes.copy())
        done = last
    return found


@dataclasses.dataclass(frozen=True, eq=False)
class _Edges:
    """Edges of the sites' hulls, each of shape ``(edges,)``; those of a site by rising slope.

    Attributes:
        slope: distortion paid for each unit of energy saved.
        site: whose hull.
        before: choice at its dear end.
        after: choice at its cheap end.
    """

    slope: npt.NDArray[np.float64]
    site: Codes
    before: Codes
    after: Codes

    def of_sites(self, first: int, last: int) -> "_Edges":
        """Those of the sites from ``first`` to before ``last``, which count from 0."""
        mine = (self.site >= first) & (self.site < last)
        return _Edges(
            self.slope[mine], self.site[mine] - first, self.before[mine], self.after[mine]
        )


def _hulls(distortion: Matrix, energy: Matrix) -> tuple[Codes, _Edges]:
    """Least distorting choices, and the edges of every site's lower convex hull from there on."""
    sites = np.arange(len(energy))
    least = distortion == distortion.min(axis=1, keepdims=True)
    start = np.where(least, energy, np.inf).argmin(axis=1)
    slopes, owners, befores, afters = [], [], [], []
    code = start.copy()
    while True:
        saved = energy[sites, code][:, None] - energy
        paid = distortion - distortion[sites, code][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.where(saved > 1e-15, paid / saved, np.inf)
        lowest = slope.min(axis=1)
        # Of choices on one edge the cheapest is its end.
        ends = np.where(slope <= lowest[:, None] * (1 + 1e-12), energy, np.inf).argmin(axis=1)
        going = np.flatnonzero(np.isfinite(lowest))
        if not len(going):
            break
        slopes.append(lowest[going])
        owners.append(going)
        befores.append(code[going])
        afters.append(ends[going])
        code[going] = ends[going]
    if not slopes:
        none = np.empty(0, dtype=np.int64)
        return start.astype(np.int64), _Edges(np.empty(0), none, none, none)
    return start.astype(np.int64), _Edges(
        np.concatenate(slopes),
        np.concatenate(owners),
        np.concatenate(befores),
        np.concatenate(afters),
    )


def evenly(totals: npt.NDArray[np.float64], count: int) -> list[int]:
    """Places of at most ``count`` of falling energies, evenly over their logarithm, both ends."""
    if len(totals) <= count:
        return list(range(len(totals)))
    at = np.log(np.maximum(totals, 1e-300))
    wanted = np.linspace(at[0], at[-1], count)
    return sorted(set(np.abs(at - wanted[:, None]).argmin(axis=1).tolist()))


def _spread(candidates: list[tuple[float, Codes]], count: int) -> list[Codes]:
    """At most ``count``, evenly over the logarithm of their energy, from high to low."""
    ordered = sorted(candidates, key=lambda item: -item[0])
    totals = np.array([total for total, _ in ordered])
    return [ordered[place][1] for place in evenly(totals, count)] if ordered else []


def offered_sweep(
    problem: Problem, distortion: Matrix, *, count: int, most: float = np.inf
) -> list[Codes]:
    """`lagrangian_sweep` over the choices that each group is offered.

    Args:
        problem: energy, and what is offered.
        distortion: shape ``(groups, choices)``.
        count: how many assignments to return.
        most: distortion that none of them exceeds.
    """
    (found,) = offered_sweeps(problem, [distortion], count=count, most=most)
    return found


def offered_sweeps(
    problem: Problem, distortions: Sequence[Matrix], *, count: int, most: float = np.inf
) -> list[list[Codes]]:
    """`offered_sweep` under each of several distortions, whose hulls are found together.

    Args:
        problem: energy, and what is offered.
        distortions: each of shape ``(groups, choices)``.
        count: how many assignments to return of each.
        most: distortion that none of them exceeds.
    """
    offer, energy = problem.offer, problem.offered_energy
    offered = [offer.of(distortion) for distortion in distortions]
    start, edges = _hulls(np.concatenate(offered), np.tile(energy, (len(offered), 1)))
    sweeps = []
    for index, table in enumerate(offered):
        first, last = index * len(energy), (index + 1) * len(energy)
        mine = edges.of_sites(first, last)
        swept = _along(start[first:last], mine, table, energy, count=count, most=most)
        sweeps.append([*offer.at(np.stack(swept))] if swept else [])
    return sweeps


def constrained_sweep(
    problem: Problem, distortion: Matrix, *, count: int, most: float = np.inf
) -> list[Codes]:
    """Like `lagrangian_sweep`, among the assignments that meet the problem's constraints.

    Args:
        problem: energy and constraints.
        distortion: shape ``(groups, choices)``.
        count: how many assignments to return.
        most: distortion that none of them exceeds.
    """
    if problem.max_distinct is None:
        swept = offered_sweep(problem, distortion, count=4 * count, most=most)
        swept = [codes for codes in swept if problem.is_feasible(codes)]
    else:
        free = offered_sweep(problem, distortion, count=count, most=most)
        if not free:
            return []
        limits = np.geomspace(
            max(problem.least_energy * 1.001, problem.energy_rel(free[-1]), 1e-6),
            problem.energy_rel(free[0]),
            count,
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
    group, choice = np.nonzero(problem.offer.mask)
    chosen, used = len(group), int(problem.circuit.max()) + 1
    index = np.arange(chosen)
    one_each = coo_array((np.ones(chosen), (group, index)), (problem.size, chosen + used))
    opened = coo_array(
        (
            np.concatenate([np.ones(chosen), -np.ones(chosen)]),
            (
                np.concatenate([index, index]),
                np.concatenate([index, chosen + problem.circuit[choice]]),
            ),
        ),
        (chosen, chosen + used),
    )
    counted = np.concatenate([np.zeros(chosen), np.ones(used)])
    spent = np.concatenate([problem.energy[group, choice], np.zeros(used)])
    fixed = np.zeros(used)
    fixed[[c for c in problem.fixed_circuits if c >= 0]] = 1
    elsewhere = sum(c < 0 for c in problem.fixed_circuits)
    paid = distortion[group, choice]
    solution = milp(
        np.concatenate([paid / max(paid.max(), 1e-300), np.zeros(used)]),
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
    taken = np.zeros(problem.offer.mask.shape)
    taken[group, choice] = solution.x[:chosen]
    return np.asarray(taken.argmax(axis=1), dtype=np.int64)
