"""The figures that the energy model multiplies with, each with its source."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import luts
from energy import _tables
from luts.circuits import Member, Netlist, members, netlist_of
from luts.errors import InputError, suggest
from models import Choice

Convention = Literal["equal-clock", "power-delay"]

CONVENTIONS: dict[str, str] = {
    "equal-clock": "energy of a product proportional to power: every circuit runs at one clock",
    "power-delay": "energy of a product proportional to power × delay: each at its own speed",
}
"""How a multiplier's figures become energy, by name."""

MULTIPLICATION = "int_mult_8b"
ACCUMULATION = "int_add_32b"
FLOAT_MULTIPLICATION = "float_mult_32b"
FLOAT_ADDITION = "float_add_32b"

OPERAND_BITS = 8
"""Bits of an operand that a circuit looks at whole."""


@dataclasses.dataclass(frozen=True)
class MultiplierFigures:
    """What one multiplier costs.

    Attributes:
        power_mw: power in milliwatt.
        area_um2: area in square micrometre.
        delay_ns: delay of the critical path in nanosecond.
        source: where the figures come from.
        first_bits: bits of the operand at its first port that it does not ignore.
        second_bits: the same of its second port.
        known: the multiplier that they are figures of, where it is known.

    Raises:
        InputError: a port with fewer than 0 or more than 8 bits.
    """

    power_mw: float
    area_um2: float
    delay_ns: float
    source: str
    first_bits: int = OPERAND_BITS
    second_bits: int = OPERAND_BITS
    known: luts.Multiplier | Member | None = dataclasses.field(
        default=None, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        for bits in (self.first_bits, self.second_bits):
            if not 0 <= bits <= OPERAND_BITS:
                raise InputError(f"a port looks at 0 to {OPERAND_BITS} bits, not {bits}")

    @classmethod
    def of(cls, multiplier: luts.Multiplier | Member) -> "MultiplierFigures":
        """Figures of a multiplier as it has them; its table says which bits it ignores."""
        if isinstance(multiplier, Member):
            first, second = multiplier.ignored_bits
        else:
            first, second = luts.ignored_bits(multiplier)
        return cls(
            power_mw=multiplier.power_mw,
            area_um2=multiplier.area_um2,
            delay_ns=multiplier.delay_ns,
            source=multiplier.source,
            first_bits=OPERAND_BITS - first,
            second_bits=OPERAND_BITS - second,
            known=multiplier,
        )

    @property
    def netlist(self) -> Netlist | None:
        """The circuit, where it is known."""
        return None if self.known is None else netlist_of(self.known)

    @property
    def signed(self) -> bool:
        """Whether the circuit takes signed codes, and not magnitudes."""
        return not isinstance(self.known, luts.Multiplier) or self.known.signed


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
            multiplier), ``int_add_32b`` (an accumulation), ``float_mult_32b`` and
            ``float_add_32b`` (the same in float32), and the memories.
        convention: how power and delay become energy, one of `CONVENTIONS`.
        exact: the multiplier that ratios refer to.
        weight_memory: operation that reads weights.
        activation_memory: operation that reads and writes activations.
        batch_size: inputs that share one read of the weights.

    Raises:
        InputError: an unknown convention, multiplier or memory, no energy for one of the four
            operations, or a batch below 1.
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
        arithmetic = (MULTIPLICATION, ACCUMULATION, FLOAT_MULTIPLICATION, FLOAT_ADDITION)
        for name in (*arithmetic, self.weight_memory, self.activation_memory):
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

    def operand_bits(self, choice: Choice) -> tuple[int, int]:
        """Bits that ``choice`` looks at, of an activation and of a weight.

        In attention products they are those of q or attn, and of k or v.
        """
        ports = self.multiplier(choice.multiplier)
        if choice.swapped:
            return ports.second_bits, ports.first_bits
        return ports.first_bits, ports.second_bits

    @property
    def accumulation_pj(self) -> float:
        """Energy of adding one product to its sum, in picojoule."""
        return self.operation(ACCUMULATION).energy_pj

    @property
    def float_product_pj(self) -> float:
        """Energy of one product in float32, in picojoule."""
        return self.operation(FLOAT_MULTIPLICATION).energy_pj

    @property
    def float_accumulation_pj(self) -> float:
        """Energy of adding one float32 product to its sum, in picojoule."""
        return self.operation(FLOAT_ADDITION).energy_pj

    def at_full_width(self) -> "Figures":
        """The same, but of circuits that look at all eight bits of both operands."""
        whole = {
            name: dataclasses.replace(one, first_bits=OPERAND_BITS, second_bits=OPERAND_BITS)
            for name, one in self.multipliers.items()
        }
        return dataclasses.replace(self, multipliers=whole)

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
        multipliers={
            name: MultiplierFigures.of(known) for name, known in (arrays | dict(catalog)).items()
        },
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
        others: names beside the catalogue's that it may name; as their tables are not known, they
            are taken to look at all eight bits of both operands, unless ``base`` says otherwise.

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
            multipliers[name] = _figures_of_row(row, multipliers.get(name), catalog.get(name))
        else:
            operations[row.name] = _operation(row)
    return dataclasses.replace(base, multipliers=multipliers, operations=operations)


def _figures_of_row(
    row: _tables.Row, known: MultiplierFigures | None, multiplier: luts.Multiplier | None
) -> MultiplierFigures:
    """Figures of a row, of the circuit that is known under its name."""
    if known is None and multiplier is not None:
        known = MultiplierFigures.of(multiplier)
    return MultiplierFigures(
        power_mw=row.numbers["power_mw"],
        area_um2=row.numbers["area_um2"],
        delay_ns=row.numbers["delay_ns"],
        source=row.source,
        first_bits=OPERAND_BITS if known is None else known.first_bits,
        second_bits=OPERAND_BITS if known is None else known.second_bits,
        known=None if known is None else known.known,
    )


def _operation(row: _tables.Row) -> Operation:
    return Operation(int(row.numbers["bits"]), row.numbers["energy_pj"], row.source)


def _byte_pj(access: Operation) -> float:
    return access.energy_pj * 8 / access.bits
