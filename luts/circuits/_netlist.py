"""Netlists of half adders, full adders and gates, and what they compute.

A net is a number: 0 and 1 are the constants, then come the bits of the first operand, those of the
second, and the outputs of the cells. Cells stand in an order in which every input is known.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from luts._multiplier import Table
from luts.errors import InputError

Words = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]

ZERO, ONE, FIRST_INPUT = 0, 1, 2

FUNCTIONS: dict[str, tuple[Callable[..., Words], ...]] = {
    "INV": (lambda a: ~a,),
    "AND": (lambda a, b: a & b,),
    "NAND": (lambda a, b: ~(a & b),),
    "OR": (lambda a, b: a | b,),
    "NOR": (lambda a, b: ~(a | b),),
    "XOR": (lambda a, b: a ^ b,),
    "XNOR": (lambda a, b: ~(a ^ b),),
    "MUX": (lambda a, b, s: (s & b) | (~s & a),),
    "HA": (lambda a, b: a ^ b, lambda a, b: a & b),
    "FA": (lambda a, b, c: a ^ b ^ c, lambda a, b, c: (a & b) | (c & (a ^ b))),
}
"""What each output of a cell is of its inputs; an adder's are its sum and its carry."""

KINDS = tuple(FUNCTIONS)


@dataclasses.dataclass(frozen=True)
class NetlistCell:
    """One cell.

    Attributes:
        kind: a key of `FUNCTIONS`.
        inputs: the nets it reads.
        outputs: the nets it drives; a half or full adder has two, sum and carry.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Netlist:
    """A combinational circuit of two operands.

    Attributes:
        name: what it is called.
        widths: bits of the first and of the second operand.
        cells: in an order in which every input is known.
        product: nets of the product, lowest bit first.
    """

    name: str
    widths: tuple[int, int]
    cells: tuple[NetlistCell, ...]
    product: tuple[int, ...]

    @property
    def n_nets(self) -> int:
        """Number of nets, constants and inputs included."""
        return max((max(cell.outputs) for cell in self.cells), default=self.first_free - 1) + 1

    @property
    def first_free(self) -> int:
        """The first net that is neither a constant nor an input."""
        return FIRST_INPUT + sum(self.widths)

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many cells there are of each kind that occurs."""
        kinds = [cell.kind for cell in self.cells]
        return {kind: kinds.count(kind) for kind in KINDS if kind in kinds}

    def with_exchanged_inputs(self) -> "Netlist":
        """The same circuit, its second operand named first."""
        n_first, n_second = self.widths
        number = list(range(self.n_nets))
        for bit in range(n_first):
            number[FIRST_INPUT + bit] = FIRST_INPUT + n_second + bit
        for bit in range(n_second):
            number[FIRST_INPUT + n_first + bit] = FIRST_INPUT + bit
        cells = tuple(
            dataclasses.replace(cell, inputs=tuple(number[net] for net in cell.inputs))
            for cell in self.cells
        )
        product = tuple(number[net] for net in self.product)
        return Netlist(self.name, (n_second, n_first), cells, product)

    def values(self, first: Int64, second: Int64) -> Words:
        """Every net for every operand pair, 64 pairs to a word: shape ``(nets, words)``.

        Args:
            first: bit patterns of the first operand, shape ``(pairs,)``.
            second: those of the second operand.
        """
        nets = np.zeros((self.n_nets, -(-len(first) // 64)), dtype=np.uint64)
        nets[ONE] = ~nets[ONE]
        n_first = self.widths[0]
        for bit in range(sum(self.widths)):
            operand, at = (first, bit) if bit < n_first else (second, bit - n_first)
            nets[FIRST_INPUT + bit] = pack((operand >> at) & 1)
        for cell in self.cells:
            inputs = [nets[net] for net in cell.inputs]
            for output, function in zip(cell.outputs, FUNCTIONS[cell.kind], strict=True):
                nets[output] = function(*inputs)
        return nets

    def products(self, first: Int64, second: Int64) -> Int64:
        """Bit patterns of the products of operand pairs, shape ``(pairs,)``."""
        nets = self.values(first, second)
        total = np.zeros(len(first), dtype=np.int64)
        for bit, net in enumerate(self.product):
            total |= unpack(nets[net], len(first)) << bit
        return total

    def table(self, *, signed: bool = True) -> Table:
        """The truth table, int32 of shape ``(256, 256)``, by codes.

        Raises:
            InputError: an operand has not 8 bits.
        """
        check_8x8(self)
        pairs = np.arange(65_536)
        products = self.products(pairs >> 8, pairs & 255)
        if signed:
            sign = 1 << (len(self.product) - 1)
            products = (products ^ sign) - sign
        table: Table = products.astype(np.int32).reshape(256, 256)
        return table


def check_8x8(netlist: Netlist) -> None:
    """Refuse a circuit of other widths.

    Raises:
        InputError: an operand has not 8 bits.
    """
    if netlist.widths != (8, 8):
        wide = "×".join(map(str, netlist.widths))
        raise InputError(f"{netlist.name}: a multiplier here is 8×8 bits, not {wide}")


def pack(bits: Int64) -> Words:
    """Bits (0 or 1) of shape ``(n,)`` as words of 64, the last one filled with zeros."""
    padded = np.zeros(-(-len(bits) // 64) * 64, dtype=np.uint8)
    padded[: len(bits)] = bits
    return np.packbits(padded, bitorder="little").view(np.uint64)


def unpack(words: Words, n: int) -> Int64:
    """The first ``n`` bits of ``words`` as numbers."""
    return np.unpackbits(words.view(np.uint8), count=n, bitorder="little").astype(np.int64)


class Builder:
    """Collects cells and folds constants as a mapper does.

    A half adder with a constant input vanishes into a wire and an inverter, a full adder becomes a
    half adder or a pair of gates; cells that nothing reads are dropped at the end.

    Args:
        widths: bits of the first and of the second operand.
    """

    def __init__(self, widths: tuple[int, int]) -> None:
        self.widths = widths
        self.cells: list[NetlistCell] = []
        self._next = FIRST_INPUT + sum(widths)
        self._inverse: dict[int, int] = {ZERO: ONE, ONE: ZERO}

    def first(self, bit: int) -> int:
        """Net of a bit of the first operand."""
        return FIRST_INPUT + bit

    def second(self, bit: int) -> int:
        """Net of a bit of the second operand."""
        return FIRST_INPUT + self.widths[0] + bit

    def inv(self, net: int) -> int:
        """The inverse of ``net``, one inverter per net at most."""
        if net not in self._inverse:
            made = self._cell("INV", net)[0]
            self._inverse |= {net: made, made: net}
        return self._inverse[net]

    def gate(self, kind: str, a: int, b: int) -> int:
        """The output of a gate of two inputs, folded where one is a constant or both are equal."""
        base = {"NAND": "AND", "NOR": "OR", "XNOR": "XOR"}.get(kind, kind)
        folded = _folded(base, *sorted((a, b)))
        if folded is None:
            return self._cell(kind, a, b)[0]
        net, inverted = folded
        return self.inv(net) if inverted != (base != kind) else net

    def mux(self, a: int, b: int, s: int) -> int:
        """``b`` where ``s`` is 1, else ``a``."""
        if s in (ZERO, ONE) or a == b:
            return b if s == ONE else a
        if a <= ONE:
            return self.gate("AND", b, s) if a == ZERO else self.gate("OR", b, self.inv(s))
        if b <= ONE:
            return self.gate("OR", a, s) if b == ONE else self.gate("AND", a, self.inv(s))
        return self._cell("MUX", a, b, s)[0]

    def half_adder(self, a: int, b: int) -> tuple[int, int]:
        """Sum and carry of two bits."""
        if a == b or min(a, b) <= ONE:
            return self.gate("XOR", a, b), self.gate("AND", a, b)
        sum_, carry = self._cell("HA", a, b)
        return sum_, carry

    def full_adder(self, a: int, b: int, c: int) -> tuple[int, int]:
        """Sum and carry of three bits."""
        constant, x, y = sorted((a, b, c))
        if constant == ZERO:
            return self.half_adder(x, y)
        if constant == ONE:
            return self.gate("XNOR", x, y), self.gate("OR", x, y)
        for same, other in ((constant, y), (y, constant)):
            if x == same:
                return other, same
        sum_, carry = self._cell("FA", a, b, c)
        return sum_, carry

    def add(self, nets: Sequence[int]) -> tuple[int, int]:
        """Sum and carry of up to three bits."""
        padded = (*nets, ZERO, ZERO, ZERO)
        return self.full_adder(*padded[:3])

    def build(self, name: str, product: Sequence[int]) -> Netlist:
        """The netlist with everything that ``product`` needs, nets numbered anew."""
        needed: set[int] = set(product)
        kept: list[NetlistCell] = []
        for cell in reversed(_merged(self.cells, product)):
            used = [net in needed for net in cell.outputs]
            if not any(used):
                continue
            for part in reversed(self._without_idle_outputs(cell, used)):
                needed.update(part.inputs)
                kept.append(part)
        number = {net: net for net in range(FIRST_INPUT + sum(self.widths))}
        cells = []
        for cell in reversed(kept):
            for net in cell.outputs:
                number[net] = len(number)
            inputs = tuple(number[net] for net in cell.inputs)
            cells.append(NetlistCell(cell.kind, inputs, tuple(number[net] for net in cell.outputs)))
        return Netlist(name, self.widths, tuple(cells), tuple(number[net] for net in product))

    def _cell(self, kind: str, *inputs: int) -> tuple[int, ...]:
        outputs = tuple(range(self._next, self._next + len(FUNCTIONS[kind])))
        self._next += len(outputs)
        self.cells.append(NetlistCell(kind, inputs, outputs))
        return outputs

    def _without_idle_outputs(self, cell: NetlistCell, used: list[bool]) -> list[NetlistCell]:
        if cell.kind == "HA" and not all(used):
            return [
                NetlistCell("XOR" if used[0] else "AND", cell.inputs, (cell.outputs[not used[0]],))
            ]
        if cell.kind == "FA" and not used[1]:
            between = self._next
            self._next += 1
            a, b, c = cell.inputs
            first = NetlistCell("XOR", (a, b), (between,))
            return [first, NetlistCell("XOR", (between, c), (cell.outputs[0],))]
        return [cell]


_TWINS = {"AND": "NAND", "OR": "NOR", "XOR": "XNOR"}
_TWINS |= {inverting: plain for plain, inverting in _TWINS.items()}


def _merged(cells: Sequence[NetlistCell], product: Sequence[int]) -> list[NetlistCell]:
    """``cells`` with a gate and the inverter that alone reads it made one: AND and INV a NAND."""
    readers = collections.Counter(net for cell in cells for net in cell.inputs)
    readers.update(product)
    inverter = {cell.inputs[0]: cell for cell in cells if cell.kind == "INV"}
    merged, gone = [], set()
    for cell in cells:
        follower = inverter.get(cell.outputs[0])
        if follower and cell.kind in _TWINS and readers[cell.outputs[0]] == 1:
            merged.append(NetlistCell(_TWINS[cell.kind], cell.inputs, follower.outputs))
            gone.add(follower.outputs)
        elif cell.outputs not in gone:
            merged.append(cell)
    return merged


def _folded(kind: str, a: int, b: int) -> tuple[int, bool] | None:
    """``kind(a, b)`` as (net, whether it is inverted), or None; ``a`` is the smaller net."""
    if a == b:
        return (ZERO, False) if kind == "XOR" else (a, False)
    if a > ONE:
        return None
    if kind == "XOR":
        return b, a == ONE
    absorbing = ZERO if kind == "AND" else ONE
    return (absorbing, False) if a == absorbing else (b, False)
