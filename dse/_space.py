"""The search space: one ordinal choice a site."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from luts import EXACT, Catalog
from luts import catalog as evoapprox
from luts.errors import InputError
from models import Assignment, Choice, Site

Codes = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Sites that are free, and the choices at each, in an order that means something.

    A *code* is the index of a choice. Choices are ordered by falling power, then operand order
    (unswapped first), so that neighbouring codes are similar circuits. A swapped order is not
    offered where a table is commutative: it would be the same choice twice.

    Attributes:
        sites: all sites of the network.
        free: names of the sites that are searched; the others keep ``fixed``.
        choices: what can be chosen at each free site.
        fixed: choices at the sites that are not searched.
        catalog: where the multipliers are.
    """

    sites: tuple[Site, ...]
    free: tuple[str, ...]
    choices: tuple[Choice, ...]
    fixed: Mapping[str, Choice]
    catalog: Catalog = dataclasses.field(default_factory=lambda: evoapprox, repr=False)

    def __post_init__(self) -> None:
        if not self.free:
            raise InputError("there is nothing to search: no site is free")
        if len(self.choices) < 2:
            raise InputError(
                f"a search needs at least two choices a site, not {len(self.choices)}; "
                f"name more multipliers"
            )

    @classmethod
    def of(
        cls, sites: Sequence[Site], multipliers: Sequence[str], catalog: Catalog = evoapprox
    ) -> "SearchSpace":
        """All sites but the routers, which stay exact.

        Args:
            sites: of the network.
            multipliers: names in the catalogue.
            catalog: where they are looked up.

        Raises:
            InputError: an unknown multiplier, or too few of them.
        """
        return cls(
            sites=tuple(sites),
            free=tuple(site.name for site in sites if site.kind != "router"),
            choices=ordered_choices(multipliers, catalog),
            fixed={site.name: Choice(EXACT) for site in sites if site.kind == "router"},
            catalog=catalog,
        )

    def encode(self, assignment: Assignment) -> Codes:
        """Codes of an assignment, int64 of shape ``(free sites,)``.

        Raises:
            InputError: the assignment makes a choice that the space does not have.
        """
        index = {choice: code for code, choice in enumerate(self.choices)}
        codes = []
        for name in self.free:
            choice = assignment.choices[name]
            if self.catalog[choice.multiplier].is_commutative:
                choice = Choice(choice.multiplier)
            if choice not in index:
                raise InputError(f"{choice} at {name} is not among the choices of this search")
            codes.append(index[choice])
        return np.array(codes, dtype=np.int64)

    def decode(self, codes: Codes) -> Assignment:
        """The assignment that ``codes``, shape ``(free sites,)``, stand for."""
        chosen = {n: self.choices[int(c)] for n, c in zip(self.free, codes, strict=True)}
        return Assignment.of(
            {site.name: chosen.get(site.name) or self.fixed[site.name] for site in self.sites},
            self.catalog,
        )

    def uniform(self, code: int) -> Codes:
        """Codes of the assignment with one choice everywhere."""
        return np.full(len(self.free), code, dtype=np.int64)


def ordered_choices(multipliers: Sequence[str], catalog: Catalog = evoapprox) -> tuple[Choice, ...]:
    """Choices by falling power, unswapped before swapped, without commutative swaps.

    Raises:
        UnknownMultiplierError: a name is not in the catalogue.
    """
    found = {catalog[name].name: catalog[name] for name in multipliers}
    by_power = sorted(found.values(), key=lambda m: (-m.power_mw, m.name))
    choices = []
    for multiplier in by_power:
        choices.append(Choice(multiplier.name))
        if not multiplier.is_commutative:
            choices.append(Choice(multiplier.name, swapped=True))
    return tuple(choices)
