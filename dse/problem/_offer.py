"""Which choices are offered at which group: what is dominated there need not be proposed.

Codes mean the same choice at every group, whatever is offered, so that assignments of any kind
(one multiplier everywhere, say) can be tried and remembered. Samplers that step or draw do so in
*ranks*: positions among the choices that a group is offered, in the order of all choices.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from dse.problem._space import Codes
from luts.errors import InputError

Ranks = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True, eq=False)
class Offer:
    """The choices of each group.

    Attributes:
        mask: whether a group is offered a choice, shape ``(groups, choices)``.

    Raises:
        InputError: a group is offered nothing.
    """

    mask: Mask

    def __post_init__(self) -> None:
        if not self.mask.any(axis=1).all():
            raise InputError("a search needs at least one choice at every group of sites")

    @classmethod
    def everything(cls, groups: int, choices: int) -> "Offer":
        """Every choice at every group."""
        return cls(np.ones((groups, choices), dtype=bool))

    @classmethod
    def of_lists(cls, lists: list[list[int]], choices: int) -> "Offer":
        """The inverse of `to_lists`."""
        mask = np.zeros((len(lists), choices), dtype=bool)
        for row, codes in zip(mask, lists, strict=True):
            row[codes] = True
        return cls(mask)

    def to_lists(self) -> list[list[int]]:
        """The codes of each group, as plain values."""
        return [np.flatnonzero(row).tolist() for row in self.mask]

    @property
    def is_whole(self) -> bool:
        """Whether every group is offered every choice."""
        return bool(self.mask.all())

    @functools.cached_property
    def counts(self) -> Ranks:
        """How many choices each group is offered, shape ``(groups,)``."""
        counts: Ranks = self.mask.sum(axis=1).astype(np.int64)
        return counts

    @property
    def summary(self) -> dict[str, int]:
        """Choices in all, and the least, the median and the most that a group is offered."""
        return {
            "all": self.mask.shape[1],
            "least": int(self.counts.min()),
            "median": int(np.median(self.counts)),
            "most": int(self.counts.max()),
        }

    @functools.cached_property
    def lists(self) -> Codes:
        """Codes by rank, shape ``(groups, most)``; rows are filled up with their last code."""
        lists = np.empty((len(self.mask), int(self.counts.max())), dtype=np.int64)
        for row, offered in zip(lists, self.mask, strict=True):
            codes = np.flatnonzero(offered)
            row[: len(codes)], row[len(codes) :] = codes, codes[-1]
        return lists

    @functools.cached_property
    def _rank(self) -> Ranks:
        """Rank of the offered choice nearest to each one in their order, ``(groups, choices)``."""
        ranks = np.empty(self.mask.shape, dtype=np.int64)
        order = np.arange(self.mask.shape[1])
        for row, offered in zip(ranks, self.mask, strict=True):
            row[:] = np.abs(order[:, None] - np.flatnonzero(offered)).argmin(axis=1)
        return ranks

    def ranks(self, codes: npt.NDArray[np.integer]) -> Ranks:
        """Ranks of codes, shape ``(…, groups)``; of one that is not offered, the nearest one's."""
        found: Ranks = self._rank[np.arange(len(self.mask)), codes]
        return found

    def at(self, ranks: npt.NDArray[np.integer]) -> Codes:
        """Codes of ranks, shape ``(…, groups)``; those out of range are brought into it."""
        found: Codes = self.lists[
            np.arange(len(self.mask)), np.clip(ranks, 0, self.counts - 1).astype(np.int64)
        ]
        return found

    def nearest(self, codes: npt.NDArray[np.integer]) -> Codes:
        """``codes``, shape ``(…, groups)``, where they are offered; else those nearest to them."""
        return self.at(self.ranks(codes))

    def has(self, codes: npt.NDArray[np.integer]) -> bool:
        """Whether every group is offered its code, shape ``(groups,)``."""
        return bool(self.mask[np.arange(len(self.mask)), codes].all())

    def drawn(self, rng: np.random.Generator, *shape: int) -> Codes:
        """Random codes, each choice of a group equally likely, shape ``(*shape, groups)``."""
        return self.at(rng.integers(self.counts, size=(*shape, len(self.mask))))

    def of(self, table: Matrix) -> Matrix:
        """A table of shape ``(groups, choices)`` by rank, ``(groups, most)``, +∞ beyond."""
        found = np.take_along_axis(table, self.lists, axis=1).astype(np.float64)
        found[np.arange(found.shape[1]) >= self.counts[:, None]] = np.inf
        return found


SLACK = 1 + 1e-9
"""Costs that differ by a smaller factor are equal: rounding decides nothing."""


def undominated(costs: Matrix) -> Mask:
    """The choices that no other one dominates; of those that are alike the first stays.

    Args:
        costs: none negative, shape ``(figures, choices)``.

    Returns:
        Shape ``(choices,)``.
    """
    dominated: Mask = np.any(_dominates(costs, costs), axis=0)
    return ~dominated


def _dominates(costs: Matrix, of: Matrix) -> Mask:
    """Whether choice i of ``costs`` dominates choice j ``of`` another list, shape ``(i, j)``."""
    one, other = costs[:, :, None], of[:, None, :]
    no_worse = (one <= other * SLACK).all(axis=0)
    better = (one * SLACK < other).any(axis=0)
    first = np.arange(costs.shape[1])[:, None] < np.arange(of.shape[1])
    found: Mask = no_worse & (better | first)
    return found


def undominated_circuits(costs: list[Matrix], circuit: npt.NDArray[np.integer]) -> list[Mask]:
    """What stays where few circuits serve all groups: a choice may be no better than another's.

    A choice is dropped if another one of its own circuit dominates it, and a circuit if one other
    circuit has, for each choice of it at every group, one that is no worse.

    Args:
        costs: of each group, shape ``(figures, choices)``.
        circuit: which one each choice uses, shape ``(choices,)``.

    Returns:
        Of each group, shape ``(choices,)``.
    """
    masks = []
    circuits = int(circuit.max()) + 1
    covers = np.ones((circuits, circuits), dtype=bool)
    member = circuit[None, :] == np.arange(circuits)[:, None]
    for group in costs:
        dominates = _dominates(group, group)
        same = circuit[:, None] == circuit[None, :]
        own: Mask = np.any(dominates & same, axis=0)
        masks.append(~own)
        # Circuit m covers choice c where any choice of m dominates it.
        covered = (member[:, :, None] & dominates[None]).any(axis=1)
        covers &= np.stack([covered[:, members].all(axis=1) for members in member], axis=1)
    np.fill_diagonal(covers, False)
    dropped: Mask = np.any(covers, axis=0)
    return [mask & ~dropped[circuit] for mask in masks]
