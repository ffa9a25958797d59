"""What was found in a network: its sites, and its products that are none."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

SiteKind = Literal["linear", "conv", "matmul", "qk", "av", "router"]

OF_ACTIVATIONS: tuple[SiteKind, ...] = ("matmul", "qk", "av")
"""Kinds of sites at which both operands are activations."""

WHOLE = 0.995
"""Coverage below which a user is warned."""

_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class Site:
    """One place where a multiplier can be chosen.

    Attributes:
        name: the module's qualified name; for attention products the attention module's name with
            ``.qk`` or ``.av`` added, and for products that are called as functions the caller's
            with the function and its number (``.matmul_0``).
        kind: ``linear``, ``conv``, ``matmul`` (of two activations), ``qk`` (q·kᵀ), ``av`` (attn·v)
            or ``router``.
        macs: multiply-accumulates for one input; for an expert's layer, as if every item went to
            it.
        fan_in: products summed into one output.
        weights: weights held, 0 for products of two activations.
        expert_layer: qualified name of the expert layer it belongs to, or None.
        expert: index of the expert in that layer, or None.
        inputs: activations read for one input, counted as ``macs`` are; 0 where nobody counted.
        second_inputs: those of ``inputs`` that are second operands: k in q·kᵀ, v in attn·v.
    """

    name: str
    kind: SiteKind
    macs: int
    fan_in: int
    weights: int = 0
    expert_layer: str | None = None
    expert: int | None = None
    inputs: int = 0
    second_inputs: int = 0


@dataclasses.dataclass(frozen=True)
class Uncovered:
    """Products of one module that are no site: they stay in float.

    Attributes:
        name: the module's qualified name, empty for the network itself.
        module: the module's class.
        macs: multiply-accumulates for one input; of an expert, as if every item went to it.
        expert_layer: qualified name of the expert layer it belongs to, or None.
        expert: index of the expert in that layer, or None.
    """

    name: str
    module: str
    macs: int
    expert_layer: str | None = None
    expert: int | None = None

    def __str__(self) -> str:
        return f"{self.name or 'the network itself'} ({self.module})"


class Sites(tuple[Site, ...]):
    """The sites of a network, and what it multiplies beside them.

    Attributes:
        uncovered: products that are no site, the most first.
        unreached: qualified names of layers that no input reached, and which are no site therefore.
        foreign: operators of other libraries, whose products nobody counted.
        coverage: part of the multiply-accumulates that sites do, of those that ran on the inputs at
            hand; what expert layers do beside their experts (`models.expert_work`) left out.
    """

    uncovered: tuple[Uncovered, ...]
    unreached: tuple[str, ...]
    foreign: tuple[str, ...]
    coverage: float

    def __new__(
        cls,
        sites: Iterable[Site] = (),
        *,
        uncovered: Iterable[Uncovered] = (),
        unreached: Iterable[str] = (),
        foreign: Iterable[str] = (),
        coverage: float = 1.0,
    ) -> "Sites":
        """Sites with what else is known; alone, they are taken to be all."""
        made = super().__new__(cls, sites)
        made.uncovered = tuple(uncovered)
        made.unreached = tuple(unreached)
        made.foreign = tuple(foreign)
        made.coverage = coverage
        return made

    def __str__(self) -> str:
        rows = [f"{site.name}  {site.kind}  {site.macs:,} MACs" for site in self]
        return "\n".join([*rows, *self.notes()])

    def notes(self) -> list[str]:
        """What a reader should know of the products that are no site, one line each."""
        lines = [f"{self.coverage:.1%} of the multiply-accumulates are sites'"]
        if self.uncovered:
            lines[0] += f"; the rest is no site, in float, and charged as exact: {self.pieces()}"
        if self.unreached:
            lines.append(f"no input reached {listed(self.unreached)}")
        if self.foreign:
            lines.append(f"products of these operators are not counted: {listed(self.foreign)}")
        return lines

    def pieces(self) -> str:
        """The largest pieces that are no site, with their share of all multiply-accumulates."""
        left = sum(piece.macs for piece in self.uncovered)
        shares = [(1 - self.coverage) * piece.macs / left for piece in self.uncovered]
        pieces = zip(self.uncovered, shares, strict=True)
        return listed([f"{piece} {share:.1%}" for piece, share in pieces])


def listed(names: Iterable[str]) -> str:
    """The first few of ``names``, and how many there are beside them."""
    names = list(names)
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
