"""What the samplers search: a space, what its assignments cost, and what they must not exceed."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import numpy.typing as npt

from dse.problem._offer import Offer
from dse.problem._space import Codes, SearchSpace
from energy import CostModel
from luts.errors import InputError

Third = Literal["delay", "area"]
Matrix = npt.NDArray[np.float64]

OTHER_CIRCUIT = 1e-3
"""Added to the distance of two choices in their order if they use different circuits."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A search space with its additive energy and its constraints.

    Attributes:
        space: sites and choices.
        energy: part of ``energy_rel`` that each choice causes at each group, float64 of shape
            ``(groups, choices)``.
        constant: part of ``energy_rel`` that no choice changes.
        distortion: what screening predicts of each choice, same shape, or None without screening.
        max_distinct: most circuits that an assignment may use, fixed sites included, or None.
        max_energy: largest ``energy_rel`` that an assignment may have, or None.
        min_quality: validation accuracy, or `Score.quality` by a metric, that the answer must have,
            or None; known of an assignment only once it is measured.
        third: figure of the worst circuit that is minimised too: ``delay``, ``area``, or None.
        offer: the choices that are proposed at each group; all of them by default.

    Raises:
        InputError: no assignment meets the constraints, or only one does.
    """

    space: SearchSpace
    energy: Matrix
    constant: float = 0.0
    distortion: Matrix | None = None
    max_distinct: int | None = None
    max_energy: float | None = None
    min_quality: float | None = None
    third: Third | None = None
    offer: Offer = dataclasses.field(default=None, repr=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.offer is None:
            whole = Offer.everything(self.space.size, len(self.space.choices))
            object.__setattr__(self, "offer", whole)
        if self.max_distinct is not None:
            fixed = len(self._fixed_circuits)
            if self.max_distinct < max(1, fixed):
                raise InputError(
                    f"--max-distinct {self.max_distinct} allows fewer circuits than the "
                    f"{fixed} at sites that are kept; allow more"
                )
        if self.max_energy is not None and self.least_energy > self.max_energy:
            raise InputError(
                f"no assignment has an energy of at most {self.max_energy:g}: the least is "
                f"{self.least_energy:.4f}; allow more, or name cheaper multipliers"
            )
        self._check_choice()

    def _check_choice(self) -> None:
        limits = []
        if self.max_distinct is not None:
            limits.append(f"--max-distinct {self.max_distinct}")
        if self.max_energy is not None:
            limits.append(f"an energy of at most {self.max_energy:g}")
        if limits and not self._has_choice:
            raise InputError(
                f"at most one assignment meets {' and '.join(limits)}, so there is nothing to "
                f"search; allow more, or name other multipliers"
            )

    @property
    def _has_choice(self) -> bool:
        """Whether more than one assignment meets the constraints.

        Among the choices of any few circuits, one is the cheapest at every group. So where mixed
        assignments meet the constraints, a fixed one does, or one that is a step from a fixed one.
        """
        if self.max_distinct is None:
            two = np.sort(self.offer.of(self.energy), axis=1)[:, :2]
            cheapest, second = two[:, 0], two[:, -1] if two.shape[1] > 1 else np.inf
            least = self.constant + float(cheapest.sum() + (second - cheapest).min())
            return self.max_energy is None or least <= self.max_energy + 1e-12
        fixed = [codes for codes in self.fixed if self.is_feasible(codes)]
        return len(fixed) > 1 or any(
            map(self.is_feasible, itertools.chain(*map(self.steps, fixed)))
        )

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        model: CostModel,
        *,
        max_distinct: int | None = None,
        max_energy: float | None = None,
    ) -> "Problem":
        """With the energy of ``model``, whose choices include ``space.every_choice``."""
        row = {site.name: index for index, site in enumerate(model.sites)}
        column = {choice: index for index, choice in enumerate(model.choices)}
        searched = [column[choice] for choice in space.choices]
        table = model.contributions[[row[name] for name in space.free]][:, searched]
        kept = [model.contributions[row[n], column[c]] for n, c in space.fixed.items()]
        return cls(
            space,
            space.pool(table),
            model.constant + float(np.sum(kept)),
            max_distinct=max_distinct,
            max_energy=max_energy,
        )

    @property
    def size(self) -> int:
        """Codes in an assignment."""
        return self.space.size

    @property
    def choices(self) -> int:
        """Number of choices at a group."""
        return len(self.space.choices)

    @functools.cached_property
    def circuit(self) -> npt.NDArray[np.int64]:
        """Which circuit each choice uses, int64 of shape ``(choices,)``; orders share a circuit."""
        names = list(dict.fromkeys(c.multiplier for c in self.space.choices))
        return np.array([names.index(c.multiplier) for c in self.space.choices])

    @functools.cached_property
    def fixed(self) -> list[Codes]:
        """One choice at all groups, for each that every group is offered; else one circuit.

        Where groups are offered different choices of a circuit, the cheapest ones of each circuit
        that all groups are offered.
        """
        everywhere = np.flatnonzero(self.offer.mask.all(axis=0))
        found = [self.space.uniform(int(code)) for code in everywhere]
        if not self.offer.is_whole:
            cheapest = self._of_circuits.argmin(axis=2).T
            found += list(cheapest[np.isfinite(self._circuit_energy)])
        return list({codes.tobytes(): codes for codes in found}.values())

    @functools.cached_property
    def _of_circuits(self) -> Matrix:
        """Energy of offered choices by group, circuit and choice; +∞ elsewhere."""
        circuits = np.arange(self.circuit.max() + 1)
        own = self.circuit[None] == circuits[:, None]
        offered = self.offer.mask[:, None] & own[None]
        return np.where(offered, self.energy[:, None], np.inf)

    @functools.cached_property
    def _circuit_energy(self) -> npt.NDArray[np.float64]:
        """Energy with one circuit alone, shape ``(circuits,)``; +∞ if a group is not offered it."""
        total: Matrix = self._of_circuits.min(axis=2).sum(axis=0)
        return total

    @functools.cached_property
    def _fixed_circuits(self) -> frozenset[str]:
        return frozenset(choice.multiplier for choice in self.space.fixed.values())

    @functools.cached_property
    def fixed_circuits(self) -> frozenset[int]:
        """Circuits that fixed sites use; -1 for one that cannot be chosen."""
        names = [c.multiplier for c in self.space.choices]
        return frozenset(
            int(self.circuit[names.index(n)]) if n in names else -1 for n in self._fixed_circuits
        )

    @functools.cached_property
    def least_energy(self) -> float:
        """The least energy that any assignment has under the limit of circuits."""
        if self.max_distinct is None:
            return self.constant + float(self.offer.of(self.energy).min(axis=1).sum())
        return min(
            (self.energy_rel(c) for c in self.fixed if self.distinct(c) <= self.max_distinct),
            default=float("inf"),
        )

    @functools.cached_property
    def offered_energy(self) -> Matrix:
        """`energy` by rank of what each group is offered, ``(groups, most)``; +∞ beyond."""
        return self.offer.of(self.energy)

    def energy_rel(self, codes: Codes) -> float:
        """Relative energy of an assignment, codes of shape ``(groups,)``."""
        return self.constant + float(self.energy[np.arange(self.size), codes].sum())

    def energies_rel(self, codes: npt.NDArray[np.integer]) -> Matrix:
        """Relative energies of assignments, codes of shape ``(n, groups)``."""
        total: Matrix = self.energy[np.arange(self.size), codes].sum(axis=1) + self.constant
        return total

    @functools.cached_property
    def _figures(self) -> tuple[Matrix, float]:
        """The third objective's figure of each choice, and the worst of fixed sites."""
        catalog = self.space.catalog

        def figure(name: str) -> float:
            multiplier = catalog[name]
            return multiplier.delay_ns if self.third == "delay" else multiplier.area_um2

        own = np.array([figure(c.multiplier) for c in self.space.choices])
        return own, max((figure(name) for name in self._fixed_circuits), default=0.0)

    def thirds(self, codes: npt.NDArray[np.integer]) -> Matrix:
        """Delay in nanoseconds or area in square micrometres of each network's worst circuit.

        Args:
            codes: shape ``(n, groups)``.
        """
        own, fixed = self._figures
        return np.asarray(np.maximum(own[codes].max(axis=1), fixed), dtype=np.float64)

    def distinct(self, codes: Codes) -> int:
        """Number of circuits in the network under an assignment, fixed sites included."""
        return len(set(self.circuit[codes].tolist()) | self.fixed_circuits)

    def steps(self, codes: Codes) -> Iterator[Codes]:
        """What differs from ``codes``, shape ``(groups,)``, in what one group is offered."""
        for group, code in np.argwhere(self.offer.mask):
            if code != codes[group]:
                near = codes.copy()
                near[group] = code
                yield near

    def is_feasible(self, codes: Codes) -> bool:
        """Whether an assignment meets the constraints."""
        return (self.max_distinct is None or self.distinct(codes) <= self.max_distinct) and (
            self.max_energy is None or self.energy_rel(codes) <= self.max_energy + 1e-12
        )

    def repair(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """An assignment of what is offered, near ``codes``, that meets the constraints.

        Too many circuits: those on which the most energy depends stay, and the other groups take
        the nearest choice among them. Too much energy: groups in random order step to the next
        cheaper allowed choice.
        """
        codes = self.offer.nearest(codes)
        allowed = np.ones(self.choices, dtype=bool)
        if self.max_distinct is not None:
            kept = self._kept_circuits(codes)
            allowed = np.isin(self.circuit, list(kept))
            codes = self._nearest(codes, allowed)
        if self.max_energy is not None and not self.is_feasible(codes):
            codes = self._cheapened(codes, allowed, rng)
        return codes

    def _kept_circuits(self, codes: Codes) -> set[int]:
        assert self.max_distinct is not None
        kept = set(self.fixed_circuits)
        spread = self.energy.max(axis=1) - self.energy.min(axis=1)
        share = np.bincount(self.circuit[codes], weights=spread, minlength=self.circuit.max() + 1)
        used = [int(c) for c in np.argsort(-share, kind="stable") if c in set(self.circuit[codes])]
        for circuit in used:
            if len(kept) < self.max_distinct:
                kept.add(circuit)
        if self.max_energy is not None:
            kept = self._with_a_cheap_one(kept)
        return kept

    def _with_a_cheap_one(self, kept: set[int]) -> set[int]:
        """The circuits, the cheapest in the place of one if they cannot meet the energy limit."""
        assert self.max_energy is not None
        allowed = np.isin(self.circuit, list(kept))
        if allowed.any():
            offered = np.where(allowed & self.offer.mask, self.energy, np.inf)
            least = self.constant + float(offered.min(axis=1).sum())
            if least <= self.max_energy:
                return kept
        cheapest = int(self._circuit_energy.argmin())
        given_up = sorted(kept - self.fixed_circuits, key=lambda c: c == cheapest)
        return {cheapest, *self.fixed_circuits, *given_up[1:]}

    @functools.cached_property
    def _distance(self) -> Matrix:
        """Of any two choices."""
        order, other = np.arange(self.choices), self.circuit[:, None] != self.circuit[None, :]
        return np.asarray(np.abs(order[:, None] - order[None, :]) + OTHER_CIRCUIT * other)

    def _nearest(self, codes: Codes, allowed: npt.NDArray[np.bool_]) -> Codes:
        distance = np.where(allowed & self.offer.mask, self._distance[codes], np.inf)
        nearest: Codes = distance.argmin(axis=1).astype(np.int64)
        return nearest

    def _cheapened(
        self, codes: Codes, allowed: npt.NDArray[np.bool_], rng: np.random.Generator
    ) -> Codes:
        assert self.max_energy is not None
        total = self.energy_rel(codes)
        while total > self.max_energy:
            before = total
            for group in rng.permutation(self.size):
                row = self.energy[group]
                mine = allowed & self.offer.mask[group]
                cheaper = np.flatnonzero(mine & (row < row[codes[group]]))
                if not len(cheaper):
                    continue
                step = cheaper[np.argmax(row[cheaper])]
                total -= row[codes[group]] - row[step]
                codes[group] = step
                if total <= self.max_energy:
                    break
            if total == before:
                break
        return codes
