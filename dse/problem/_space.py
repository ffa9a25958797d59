"""The search space: one ordinal choice per group of sites."""

import dataclasses
import fnmatch
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from luts import EXACT, Catalog, ignored_bits
from luts import catalog as evoapprox
from luts.errors import InputError
from models import Assignment, Choice, Site

Codes = npt.NDArray[np.int64]
Tie = Literal["none", "expert", "layer", "block"]
Operands = Literal["rounded", "cut", "both"]
_ROUNDED = {"rounded": (True,), "cut": (False,), "both": (False, True)}


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The free sites, and the choices at each in a meaningful order.

    A *code* is the index of a choice. Choices are ordered by falling power, then operand order
    (unswapped first), cut operands before rounded ones, so that neighbouring codes are similar
    circuits. A swapped order is not offered where a table is commutative, nor rounded operands
    where it depends on every bit of them: it would be the same choice twice. Sites of a *group*
    share their choice; an assignment has one code per group.

    Attributes:
        sites: all sites of the network.
        groups: names of the sites that are searched, those that share a choice together; the other
            sites keep ``fixed``.
        choices: what can be chosen at each group.
        fixed: choices at the sites that are not searched.
        catalog: where the multipliers are.
    """

    sites: tuple[Site, ...]
    groups: tuple[tuple[str, ...], ...]
    choices: tuple[Choice, ...]
    fixed: Mapping[str, Choice]
    catalog: Catalog = dataclasses.field(default_factory=lambda: evoapprox, repr=False)

    def __post_init__(self) -> None:
        if not self.groups:
            raise InputError("there is nothing to search: no site is free")
        if len(self.choices) < 2:
            raise InputError(
                f"a search needs at least two choices per site, not {len(self.choices)}; "
                f"name more multipliers"
            )

    @classmethod
    def of(
        cls,
        sites: Sequence[Site],
        multipliers: Sequence[str],
        catalog: Catalog = evoapprox,
        *,
        exact: Sequence[str] = (),
        tie: Tie = "none",
        operands: Operands = "cut",
    ) -> "SearchSpace":
        """All sites but the routers, which stay exact.

        Args:
            sites: of the network.
            multipliers: names in the catalogue.
            catalog: where they are looked up.
            exact: patterns as of a shell (``*``, ``?``, ``[…]``); sites whose name matches one of
                them stay exact.
            tie: which sites share their choice.
            operands: see `ordered_choices`.

        Raises:
            InputError: an unknown multiplier, too few of them, or a pattern that matches no site.
        """
        names = [site.name for site in sites]
        pinned = {site.name for site in sites if site.kind == "router"}
        for pattern in exact:
            matched = fnmatch.filter(names, pattern)
            if not matched:
                raise InputError(
                    f"--exact {pattern!r} matches no site; sites are named like {names[0]!r} and "
                    f"{names[-1]!r}, and * stands for any characters"
                )
            pinned.update(matched)
        tied: dict[str, list[str]] = {}
        for site in sites:
            if site.name not in pinned:
                tied.setdefault(group_key(site, tie), []).append(site.name)
        return cls(
            sites=tuple(sites),
            groups=tuple(tuple(group) for group in tied.values()),
            choices=ordered_choices(multipliers, catalog, operands=operands),
            fixed={name: Choice(EXACT) for name in names if name in pinned},
            catalog=catalog,
        )

    @functools.cached_property
    def free(self) -> tuple[str, ...]:
        """Names of the sites that are searched, in the network's order."""
        searched = {name for group in self.groups for name in group}
        return tuple(site.name for site in self.sites if site.name in searched)

    @property
    def every_choice(self) -> tuple[Choice, ...]:
        """What can be at any site: the choices, and those of the sites that are not searched."""
        return tuple(dict.fromkeys([*self.choices, *self.fixed.values()]))

    @property
    def size(self) -> int:
        """Codes in an assignment: the number of groups."""
        return len(self.groups)

    def pool(self, per_site: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Sums over the sites of each group.

        Args:
            per_site: shape ``(free sites, choices)``, in the order of `free`.

        Returns:
            float64 of shape ``(groups, choices)``.
        """
        row = {name: index for index, name in enumerate(self.free)}
        return np.stack([per_site[[row[n] for n in group]].sum(axis=0) for group in self.groups])

    def encode(self, assignment: Assignment) -> Codes:
        """Codes of an assignment, int64 of shape ``(groups,)``.

        Raises:
            InputError: the assignment makes a choice that the space does not have, or different
                choices at tied sites.
        """
        index = {choice: code for code, choice in enumerate(self.choices)}
        codes = []
        for group in self.groups:
            chosen = {self._canonical(assignment.choices[name]) for name in group}
            if len(chosen) > 1:
                raise InputError(f"{group[0]} and {group[-1]} are tied but differ in this choice")
            choice = chosen.pop()
            if choice not in index:
                raise InputError(f"{choice} at {group[0]} is not among the choices of this search")
            codes.append(index[choice])
        return np.array(codes, dtype=np.int64)

    def _canonical(self, choice: Choice) -> Choice:
        multiplier = self.catalog[choice.multiplier]
        return Choice(
            choice.multiplier,
            swapped=choice.swapped and not multiplier.is_commutative,
            rounded=choice.arithmetic(self.catalog).rounds,
        )

    def decode(self, codes: Codes) -> Assignment:
        """The assignment that ``codes``, shape ``(groups,)``, stand for."""
        chosen = {
            name: self.choices[int(code)]
            for group, code in zip(self.groups, codes, strict=True)
            for name in group
        }
        return Assignment.of(
            {site.name: chosen.get(site.name) or self.fixed[site.name] for site in self.sites},
            self.catalog,
        )

    def uniform(self, code: int) -> Codes:
        """Codes of the assignment with one choice everywhere."""
        return np.full(self.size, code, dtype=np.int64)


def group_key(site: Site, tie: Tie) -> str:
    """What the sites that share a choice with ``site`` have in common.

    Args:
        site: of the network.
        tie: ``none`` ties nothing; ``expert`` all sites of one expert; ``layer`` the same layer of
            all experts, as if there were one; ``block`` all sites of one block: what precedes the
            first number in a qualified name, and that number.
    """
    if tie == "block":
        match = re.match(r"(?:[^.]+\.)*?[^.]*\d+(?:\.\d+)?(?=\.|$)", site.name)
        return match.group() if match else site.name
    if tie == "none" or site.expert_layer is None or site.expert is None:
        return site.name
    if tie == "expert":
        return f"{site.expert_layer} expert {site.expert}"
    inner = re.sub(rf"(?<=\.){site.expert}(?=\.|$)", "*", site.name[len(site.expert_layer) :])
    return site.expert_layer + inner


def ordered_choices(
    multipliers: Sequence[str], catalog: Catalog = evoapprox, *, operands: Operands = "cut"
) -> tuple[Choice, ...]:
    """Choices by falling power, unswapped before swapped, cut before rounded, none of them twice.

    Args:
        multipliers: names in the catalogue.
        catalog: where they are looked up.
        operands: what ports that ignore low bits get: ``cut`` codes, ``rounded`` ones, or
            ``both``, each as a choice.

    Raises:
        UnknownMultiplierError: a name is not in the catalogue.
    """
    named = {catalog[name].name: catalog[name] for name in multipliers}
    by_power = sorted(named.values(), key=lambda m: (-m.power_mw, m.name))
    choices = []
    for multiplier in by_power:
        rounded = _ROUNDED[operands] if any(ignored_bits(multiplier)) else (False,)
        orders = (False,) if multiplier.is_commutative else (False, True)
        choices += [Choice(multiplier.name, *how) for how in itertools.product(orders, rounded)]
    return tuple(choices)
