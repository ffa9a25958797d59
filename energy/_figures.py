"""The figures that the energy model multiplies with, each with its source."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import luts
from energy import _tables
from luts.circuits import Member, members
from luts.errors import InputError, suggest

Convention = Literal["equal-clock", "power-delay"]

CONVENTIONS: dict[str, str] = {
    "equal-clock": "energy of a product proportional to power: every circuit runs at one clock",
    "power-delay": "energy of a product proportional to power × delay: each at its own speed",
}
"""How a multiplier's figures become energy, by name."""

MULTIPLICATION = "int_mult_8b"
ACCUMULATION = "int_add_32b"


@dataclasses.dataclass(frozen=True)
class MultiplierFigures:
    """What one multiplier costs.

    Attributes:
        power_mw: power in milliwatt.
        area_um2: area in square micrometre.
        delay_ns: delay of the critical path in nanosecond.
        source: where the figures come from.
    """

    power_mw: float
    area_um2: float
    delay_ns: float
    source: str


@dataclasses.dataclass(frozen=True)
class Operation:
    """Energy of one operation or memory access.

    Attributes:
        bits: width of the operation in bit.
        energy_pj: energy in picojoule.
        source: where the figure comes from.
    """

    bits: int
    energy_pj: float
    source: str


@dataclasses.dataclass(frozen=True)
class Figures:
    """Everything numeric that the energy model needs besides sites and routing.

    EvoApproxLib publishes power without clock or activity, so only ratios of it carry over to
    another set-up. A product of the exact multiplier is therefore charged the operation
    ``int_mult_8b`` and every other multiplier its ratio to the exact one times that.

    Attributes:
        multipliers: figures by multiplier name.
        operations: energies by operation name: ``int_mult_8b`` (a product of the exact
            multiplier), ``int_add_32b`` (an accumulation) and the memories.
        convention: how power and delay become energy, one of `CONVENTIONS`.
        exact: the multiplier that ratios refer to.
        weight_memory: operation that reads weights.
        activation_memory: operation that reads and writes activations.
        batch_size: inputs that share one read of the weights.

    Raises:
        InputError: an unknown convention, multiplier or memory, or a batch below 1.
    """

    multipliers: Mapping[str, MultiplierFigures]
    operations: Mapping[str, Operation]
    convention: Convention = "equal-clock"
    exact: str = luts.EXACT
    weight_memory: str = "dram"
    activation_memory: str = "sram_32kb"
    batch_size: int = 1

    def __post_init__(self) -> None:
        if self.convention not in CONVENTIONS:
            known = suggest(self.convention, [*CONVENTIONS])
            raise InputError(f"unknown convention {self.convention!r}; {known}")
        if self.batch_size < 1:
            raise InputError(f"weights serve at least 1 input per read, not {self.batch_size}")
        self.multiplier(self.exact)
        for name in (MULTIPLICATION, ACCUMULATION, self.weight_memory, self.activation_memory):
            self.operation(name)

    def multiplier(self, name: str) -> MultiplierFigures:
        """Figures of the multiplier ``name``.

        Raises:
            InputError: there are none.
        """
        if name not in self.multipliers:
            raise InputError(
                f"no power figures for multiplier {name!r}; {suggest(name, [*self.multipliers])}"
            )
        return self.multipliers[name]

    def operation(self, name: str) -> Operation:
        """Energy of the operation ``name``.

        Raises:
            InputError: there is none.
        """
        if name not in self.operations:
            raise InputError(
                f"no energy for operation {name!r}; {suggest(name, [*self.operations])}"
            )
        return self.operations[name]

    def relative(self, name: str) -> float:
        """Energy of one product by ``name``, as a fraction of the exact multiplier's.

        Raises:
            InputError: no figures for that multiplier.
        """
        mine, exact = self.multiplier(name), self.multiplier(self.exact)
        if self.convention == "equal-clock":
            return mine.power_mw / exact.power_mw
        return (mine.power_mw * mine.delay_ns) / (exact.power_mw * exact.delay_ns)

    def product_pj(self, name: str) -> float:
        """Energy of one product by ``name`` in picojoule."""
        return self.relative(name) * self.operation(MULTIPLICATION).energy_pj

    @property
    def accumulation_pj(self) -> float:
        """Energy of adding one product to its sum, in picojoule."""
        return self.operation(ACCUMULATION).energy_pj

    @property
    def weight_byte_pj(self) -> float:
        """Energy of reading one weight of 8 bit, in picojoule."""
        return _byte_pj(self.operation(self.weight_memory))

    @property
    def activation_byte_pj(self) -> float:
        """Energy of reading or writing one activation of 8 bit, in picojoule."""
        return _byte_pj(self.operation(self.activation_memory))


def published_figures(
    catalog: luts.Catalog = luts.catalog, *, convention: Convention = "equal-clock"
) -> Figures:
    """The catalogue's power, area and delay, with Horowitz's 45 nm energies (ISSCC 2014).

    The array multipliers that are not published have estimated figures (`luts.circuits`).

    Args:
        catalog: multipliers and their figures.
        convention: how power and delay become energy.
    """
    arrays: dict[str, luts.Multiplier | Member] = {
        name: catalog[member.known_as] if member.known_as in catalog else member
        for name, member in members().items()
    }
    return Figures(
        multipliers={name: _multiplier(m) for name, m in (arrays | dict(catalog)).items()},
        operations={row.name: _operation(row) for row in _tables.published_operations()},
        convention=convention,
    )


def read_figures(
    path: Path,
    base: Figures | None = None,
    *,
    catalog: luts.Catalog = luts.catalog,
    others: Iterable[str] = (),
) -> Figures:
    """``base`` with the figures of a CSV file in place of its own.

    The file has the header ``multiplier,power_mw,area_um2,delay_ns,source`` or
    ``operation,bits,energy_pj,source``; operations that are new can serve as memories.

    Args:
        path: the file.
        base: figures for what the file does not name; by default the published ones.
        catalog: multipliers that the file may name.
        others: names beside the catalogue's that it may name.

    Raises:
        InputError: the file has faults; all of them together, each with its line.
    """
    base = published_figures(catalog) if base is None else base
    others = tuple(others)
    known = [
        *catalog,
        *members(),
        *(alias for m in catalog.values() for alias in m.aliases),
        *others,
    ]
    rows = _tables.read(path, known_multipliers=known)
    multipliers, operations = dict(base.multipliers), dict(base.operations)
    for row in rows:
        if row.kind == "multiplier":
            name = row.name if row.name in others else catalog[row.name].name
            multipliers[name] = MultiplierFigures(**row.numbers, source=row.source)
        else:
            operations[row.name] = _operation(row)
    return dataclasses.replace(base, multipliers=multipliers, operations=operations)


def _multiplier(known: "luts.Multiplier | Member") -> MultiplierFigures:
    return MultiplierFigures(known.power_mw, known.area_um2, known.delay_ns, known.source)


def _operation(row: _tables.Row) -> Operation:
    return Operation(int(row.numbers["bits"]), row.numbers["energy_pj"], row.source)


def _byte_pj(access: Operation) -> float:
    return access.energy_pj * 8 / access.bits
