"""What a multiplier is: its truth table and its figures."""

import dataclasses
import functools
import hashlib
import math
import numbers
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from luts.errors import InputError

if TYPE_CHECKING:
    from luts.circuits._netlist import Netlist

N_CODES = 256
"""Codes of one 8-bit operand: its bits read as an unsigned number."""

MAX_ABS_PRODUCT = 2**16 - 1
"""Largest product magnitude that a circuit of 16 output bits has."""

FIGURES = ("power_mw", "area_um2", "delay_ns")
"""Fields of a `Multiplier` that say what its circuit costs, as they are ordered everywhere."""

MAX_SUM, MAX_K = 2**31 - 1, 65_536
"""Largest sum that 32 bits hold, and the most products that any sum may have."""

Table = npt.NDArray[np.int32]


def signed_values() -> npt.NDArray[np.int64]:
    """Operand value of each code, shape ``(256,)``: 0…127, then −128…−1."""
    return np.arange(N_CODES, dtype=np.uint8).view(np.int8).astype(np.int64)


def unsigned_values() -> npt.NDArray[np.int64]:
    """Operand value of each code of an unsigned circuit, shape ``(256,)``: 0…255."""
    return np.arange(N_CODES, dtype=np.int64)


FiguresFrom = Literal["given", "published", "estimated"]


@dataclasses.dataclass(frozen=True)
class FiguresError:
    """What estimated figures are uncertain by, in percent; 0 for one that was not estimated.

    Attributes:
        power_mw: of the power.
        area_um2: of the area.
        delay_ns: of the delay.
    """

    power_mw: float = 0.0
    area_um2: float = 0.0
    delay_ns: float = 0.0


@dataclasses.dataclass(frozen=True)
class VerilogModule:
    """A multiplier in Verilog.

    Attributes:
        text: the source; it needs no other file.
        name: the module's name.
        first: its port of the first operand.
        second: that of the second operand.
        product: its output.
        bits: width of the output; of a signed circuit it is a two's complement number.
    """

    text: str
    name: str
    first: str
    second: str
    product: str
    bits: int


@dataclasses.dataclass(frozen=True, eq=False)
class Multiplier:
    """One 8×8-bit multiplier circuit.

    Attributes:
        name: the circuit's name, kept as its library spells it.
        truth_table: every product, int32 of shape ``(256, 256)``, indexed
            ``truth_table[x_code, w_code]``. The first operand is the activation, the second the
            weight. A code is the operand's bits read as an unsigned number.
        power_mw: power in milliwatt.
        area_um2: area in square micrometre.
        delay_ns: delay of the critical path in nanosecond.
        source: where table and figures come from.
        signed: whether codes are two's complement numbers (0…127, −128…−1).
        aliases: other names of the same circuit.
        figures_from: whether the figures were ``"published"``, ``"given"`` by the user, or (some of
            them) ``"estimated"`` from the circuit's netlist.
        figures_error_pct: ± of the estimated ones; None where none is.
        verilog: its own source, where it was read from Verilog.
        netlist: the circuit that was read from a file, where it was one; arrays have theirs by
            their table (`luts.circuits.netlist_of`).

    Raises:
        InputError: the table has another shape or type, a product in use that 16 bits do not hold,
            or a figure that is not a positive number.
    """

    name: str
    truth_table: Table
    power_mw: float
    area_um2: float
    delay_ns: float
    source: str
    signed: bool = True
    aliases: tuple[str, ...] = ()
    figures_from: FiguresFrom = "given"
    figures_error_pct: FiguresError | None = None
    verilog: VerilogModule | None = None
    netlist: "Netlist | None" = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.name or self.name != self.name.strip():
            raise InputError(f"a multiplier needs a name without outer blanks, not {self.name!r}")
        table = _checked_table(self.name, self.truth_table, signed=self.signed)
        object.__setattr__(self, "truth_table", table)
        for field in FIGURES:
            value = getattr(self, field)
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not (number and math.isfinite(value) and value > 0):
                raise InputError(f"{self.name}: {field} must be a positive number, not {value!r}")

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of signedness and table (little-endian int32, row by row), in hexadecimal."""
        return table_sha256(self.truth_table, signed=self.signed)

    @functools.cached_property
    def is_commutative(self) -> bool:
        """Whether exchanging the operands changes no product."""
        return bool(np.array_equal(self.truth_table, self.truth_table.T))

    @functools.cached_property
    def signed_table(self) -> Table:
        """Products by signed codes, int32 of shape ``(256, 256)``: what a network multiplies with.

        A signed circuit's own table. An unsigned circuit works through sign and magnitude: the
        product of the magnitudes under the product of the signs, where 0 counts as positive and
        the magnitude of −128 is 128.
        """
        if self.signed:
            return self.truth_table
        values = signed_values()
        magnitude, sign = np.abs(values), np.where(values < 0, -1, 1)
        table = self.truth_table[np.ix_(magnitude, magnitude)] * np.multiply.outer(sign, sign)
        frozen: Table = table.astype(np.int32)
        frozen.setflags(write=False)
        return frozen

    @functools.cached_property
    def max_products(self) -> int:
        """The most products whose sum is sure to fit 32 bits, at most 65,536.

        Fewer than 65,536 only where a product in use passes 32,767.
        """
        worst = max(-int(self.signed_table.min()), int(self.signed_table.max()), 1)
        return min(MAX_K, MAX_SUM // worst)

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """Operand value of each code, shape ``(256,)``."""
        return signed_values() if self.signed else unsigned_values()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Multiplier):
            return NotImplemented
        return self.name == other.name and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash((self.name, self.sha256))


def table_sha256(table: npt.NDArray[np.integer[Any]], *, signed: bool) -> str:
    """`Multiplier.sha256` of a table, shape ``(256, 256)``."""
    digest = hashlib.sha256(b"mul8s" if signed else b"mul8u")
    digest.update(table.astype("<i4").tobytes())
    return digest.hexdigest()


def _checked_table(name: str, table: npt.ArrayLike, *, signed: bool) -> Table:
    array = np.asarray(table)
    if array.shape != (N_CODES, N_CODES):
        raise InputError(
            f"{name}: a truth table has shape (256, 256), one row per first-operand code; "
            f"this one has {array.shape}"
        )
    if array.dtype.kind not in "iu":
        raise InputError(f"{name}: a truth table holds integers, not {array.dtype}")
    # An unsigned circuit is used through sign and magnitude, so never beyond operand 128.
    used = array if signed else array[:129, :129]
    worst = max(abs(int(used.min())), abs(int(used.max())))
    if worst > MAX_ABS_PRODUCT:
        raise InputError(
            f"{name}: products of 8×8 bits lie within ±{MAX_ABS_PRODUCT:,}, what 16 bits hold; "
            f"this table has {worst:,}"
        )
    widest = np.iinfo(np.int32)
    if not widest.min <= int(array.min()) <= int(array.max()) <= widest.max:
        raise InputError(f"{name}: every product fits 32 bits; this table holds {array.max()}")
    frozen = np.array(array, dtype=np.int32, order="C")
    frozen.setflags(write=False)
    return frozen
