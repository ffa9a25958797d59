"""Which choices a sampler need not see: those that err more at a site and save nothing there.

With hundreds of circuits most choices at a site are dominated: another one has no larger expected
squared error under the codes that meet there, after the recipe's own scales and weight codes, and
costs no more energy. Errors of histograms say little of products of two activations, whose
operands are alike from token to token; both operand orders of a circuit stay there.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt

from dse.problem import Offer, Problem, evenly, undominated, undominated_circuits
from luts import EXACT
from luts.circuits import cuts_of_table
from models import Choice
from models.emulation import ErrorTable

WHOLE = 24
"""So few choices are offered whole: a sampler copes with them, and predictions err."""

USABLE = 0.15
"""Largest mean error, in parts of the outputs' own square, of a fixed multiplier worth a trial."""

Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Pruning:
    """What is left of a list of choices.

    Attributes:
        offer: the choices of each group.
        fixed: codes worth a trial at all groups alike.
        errors: expected errors in parts of the outputs' own square, by site, each of shape
            ``(choices,)``; empty if nothing was predicted.
    """

    offer: Offer
    fixed: tuple[int, ...]
    errors: Mapping[str, npt.NDArray[np.float64]]

    @property
    def is_whole(self) -> bool:
        """Whether nothing was left out."""
        return self.offer.is_whole and len(self.fixed) == self.offer.mask.shape[1]

    def lines(self) -> list[str]:
        """What a reader must know, one line each."""
        if self.is_whole:
            return []
        counts, choices = self.offer.counts, self.offer.mask.shape[1]
        return [
            f"{counts.min()} to {counts.max()} of {choices} choices remain at a site, "
            f"{np.median(counts):.0f} in the median: of the others, each errs no less there than "
            f"one that costs no more",
            f"{len(self.fixed)} of {choices} choices are tried as fixed multipliers: of each "
            f"published circuit the operand order of less expected error, and a few of the arrays, "
            f"and of the plain narrow multipliers, that no other one betters in error and energy; "
            f"{choices - len(self.fixed)} are left out to save trials",
        ]


def whole(problem: Problem) -> Pruning:
    """Nothing is left out."""
    offer = Offer.everything(problem.size, problem.choices)
    return Pruning(offer, tuple(range(problem.choices)), {})


def prune(
    problem: Problem, table: ErrorTable, *, products: Collection[str], most_fixed: int
) -> Pruning:
    """Leave out the choices that others dominate.

    Args:
        problem: choices and their energy.
        table: expected errors of the sites under each of the problem's choices.
        products: names of the sites that multiply two activations.
        most_fixed: arrays, and plain narrow multipliers, that are tried at all groups alike.
    """
    if not table.sites:
        return whole(problem)
    errors = {
        site: _either_order(row, problem) if site in products else row
        for site, row in zip(table.sites, table.relative, strict=True)
    }
    offer = _offer(problem, errors, products)
    predicted = np.mean([errors[name] for name in problem.space.free if name in errors], axis=0)
    return Pruning(offer, _fixed(problem, predicted, most_fixed), errors)


def is_narrow(choice: Choice, problem: Problem) -> bool:
    """Whether a choice is a multiplier of fewer bits, nothing cut inside it."""
    return is_plain_narrow(problem.space.catalog[choice.multiplier].sha256)


def is_plain_narrow(sha256: str) -> bool:
    """Whether the circuit of a table is the exact product of the operands' high bits."""
    cuts = cuts_of_table(sha256)
    return cuts is not None and not cuts.cuts_inside and bool(cuts.break_a or cuts.break_b)


def _either_order(row: npt.NDArray[np.float64], problem: Problem) -> npt.NDArray[np.float64]:
    """The error of the better operand order, for both."""
    least = row.copy()
    for partners in _orders(problem):
        least[partners] = row[partners].min()
    return least


def _orders(problem: Problem) -> list[list[int]]:
    """Codes that differ in nothing but the operand order."""
    alike: dict[Choice, list[int]] = {}
    for code, choice in enumerate(problem.space.choices):
        alike.setdefault(dataclasses.replace(choice, swapped=False), []).append(code)
    return list(alike.values())


def _offer(
    problem: Problem,
    errors: Mapping[str, npt.NDArray[np.float64]],
    products: Collection[str],
) -> Offer:
    groups = problem.space.groups
    known = [[errors[name] for name in group if name in errors] for group in groups]
    every = np.stack([problem.space.uniform(code) for code in range(problem.choices)])
    figures = [] if problem.third is None else [problem.thirds(every)]
    costs = [
        np.stack([energy, *figures, *rows])
        for energy, rows in zip(problem.energy, known, strict=True)
        if rows
    ]
    if problem.max_distinct is None:
        found = [undominated(group) for group in costs]
    else:
        found = undominated_circuits(costs, problem.circuit)
    # Of a site that no image reached nothing is known: it is offered what any other one is.
    anywhere = np.any(found, axis=0)
    masks = iter(found)
    mask = np.stack([next(masks) if rows else anywhere for rows in known])
    for row, group in zip(mask, groups, strict=True):
        if any(name in products for name in group):
            for partners in _orders(problem):
                row[partners] |= row[partners].any()
    names = [choice.multiplier for choice in problem.space.choices]
    if EXACT in names:
        mask[:, names.index(EXACT)] = True
    return Offer(mask)


def _fixed(problem: Problem, predicted: npt.NDArray[np.float64], most: int) -> tuple[int, ...]:
    """Codes worth a trial at all groups alike."""
    choices, catalog = problem.space.choices, problem.space.catalog
    energy = np.array([problem.energy_rel(problem.space.uniform(c)) for c in range(len(choices))])
    published: dict[str, int] = {}
    for code in np.argsort(predicted, kind="stable"):
        name = choices[code].multiplier
        if catalog[name].figures_from != "estimated":
            published.setdefault(name, int(code))
    found = set(published.values())
    narrow = np.array([is_narrow(choice, problem) for choice in choices])
    for among in (predicted <= USABLE, (predicted <= USABLE) & narrow):
        codes = np.flatnonzero(among)
        front = codes[undominated(np.stack([energy[codes], predicted[codes]]))]
        front = front[np.argsort(-energy[front], kind="stable")]
        if len(front):
            found |= {int(front[place]) for place in evenly(energy[front], most)}
    return tuple(sorted(found))


def filled(distortion: Matrix, sites: tuple[str, ...], pruning: Pruning) -> Matrix:
    """Screened distortions, and where a choice was not screened (NaN) an estimate of it.

    The distortion of the choice of nearest expected error that was screened at the site, times the
    ratio of the two errors. Nothing but fixed multipliers has such a choice.

    Args:
        distortion: shape ``(free sites, choices)``.
        sites: names of the free sites.
        pruning: with the errors.
    """
    whole_rows = distortion.copy()
    for row, name in zip(whole_rows, sites, strict=True):
        screened = np.flatnonzero(~np.isnan(row))
        missing = np.flatnonzero(np.isnan(row))
        if not len(missing):
            continue
        if name not in pruning.errors:
            row[missing] = row[screened].max()
            continue
        size = np.log(np.maximum(pruning.errors[name], 1e-12))
        near = screened[np.abs(size[missing][:, None] - size[screened]).argmin(axis=1)]
        row[missing] = row[near] * np.exp(size[missing] - size[near])
    return whole_rows
