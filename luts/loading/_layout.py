"""What a file does not say about itself, and what a reader finds in it."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from luts._multiplier import VerilogModule
from luts.circuits import Netlist
from luts.errors import InputError

Int64 = npt.NDArray[np.int64]

IndexOrder = Literal["codes", "values"]


@dataclasses.dataclass(frozen=True)
class Layout:
    """How to read what a file does not say itself.

    Attributes:
        symbol: which C function, Verilog module or array, where the file holds several.
        index_order: what a signed table's row and column numbers mean: ``"codes"`` (operand bits
            read as unsigned: 0…127, −128…−1) or ``"values"`` (−128…127 in order). None: whichever
            of the two puts the products near the exact ones; an error where neither does. Circuits
            (C, Verilog) and CSV rows name their operands, so it does not concern them.
        product_offset: what was added to every product, and is taken off: 32,768 where that makes
            signed ones unsigned.
        swap_operands: the file's second operand is the first one of `Multiplier`: the activation.
            The first operand of a file is the first parameter of a C function, the first input in a
            Verilog module's port list, the row of a table, the first column of CSV rows.
        parameters: values of a Verilog module's parameters; else their defaults.
        ties: Verilog inputs that are held constant, and at which value.
        time_limit_s: processor seconds for each step of compiling and running a circuit.
        trust: take what its name, its widths or its table say to be no 8×8 multiplier for one; the
            multiplier's source keeps the word.

    Raises:
        InputError: an unknown index order, an offset of more than 16 bits, or a time limit that is
            not positive.
    """

    symbol: str | None = None
    index_order: IndexOrder | None = None
    product_offset: int = 0
    swap_operands: bool = False
    parameters: Mapping[str, int] = dataclasses.field(default_factory=dict)
    ties: Mapping[str, int] = dataclasses.field(default_factory=dict)
    time_limit_s: float = 20.0
    trust: bool = False

    def __post_init__(self) -> None:
        if self.index_order not in (None, "codes", "values"):
            raise InputError(f"index_order is 'codes' or 'values', not {self.index_order!r}")
        if abs(self.product_offset) >= 2**16:
            raise InputError(f"product_offset is a number of 16 bits, not {self.product_offset}")
        for name, value in (*self.parameters.items(), *self.ties.items()):
            if not re.fullmatch(r"[A-Za-z_]\w{0,99}", name) or not 0 <= value < 2**31:
                raise InputError(f"names in Verilog have values from 0 to 2^31, not {name}={value}")
        if not 0 < self.time_limit_s < 1e6:
            raise InputError(f"time_limit_s is a positive number, not {self.time_limit_s!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class RawTable:
    """Every product as a file gives it.

    Attributes:
        products: int64 of shape ``(256, 256)``, ``[first operand, second operand]``.
        by_code: whether the indices are known to be codes.
        bits: width of the two's complement patterns in which products are stored, or None where
            they are numbers.
        note: what a reader should know about it; goes into the multiplier's source.
        netlist: gives the circuit's netlist, or None where it cannot; absent for a mere table.
        verilog: the circuit in Verilog, where the file is that.
    """

    products: Int64
    by_code: bool
    bits: int | None = None
    note: str = ""
    netlist: Callable[[], Netlist | None] | None = None
    verilog: VerilogModule | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What a reader is asked for.

    Attributes:
        path: the file.
        layout: how to read it.
        decide: says whether the circuit is signed, given the name by which the file calls it and
            whether the file declares both operands signed.
    """

    path: Path
    layout: Layout
    decide: Callable[[str, bool], bool]

    def is_signed(self, symbol: str, *, declared: bool = False) -> bool:
        """Whether the circuit is signed.

        Args:
            symbol: what the file calls it; empty where it gives no name.
            declared: the types of both operands say so. Unsigned types say nothing: EvoApproxLib
                declares some signed circuits with them.
        """
        return self.decide(symbol, declared)

    @property
    def shown(self) -> str:
        """The file's name for a message."""
        return self.path.name

    def text(self) -> str:
        """The file's contents; undecodable bytes become replacement characters."""
        return self.path.read_bytes().decode("utf-8", errors="replace")

    def choose(self, kind: str, candidates: list[str], hint: str) -> str:
        """The one symbol to read out of ``candidates``.

        Raises:
            InputError: there is none or there are several, or `Layout.symbol` is not among them.
        """
        wanted, listed = self.layout.symbol, ", ".join(candidates[:10])
        if wanted is not None:
            if wanted not in candidates:
                have = f"it has {listed}" if candidates else "it has none"
                raise InputError(f"{self.shown} has no {kind} named {wanted!r}; {have}")
            return wanted
        if not candidates:
            raise InputError(f"{self.shown} has no {kind}; {hint}")
        if len(candidates) > 1:
            raise InputError(
                f"{self.shown} has {len(candidates)} candidates for its {kind}: {listed}; "
                f"choose one with layout=luts.Layout(symbol={candidates[0]!r})"
            )
        return candidates[0]


# What is not closed ends with the line or the text, so that no text is looked through twice.
_COMMENT = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|(\"(?:\\.|[^\"\\\n])*(?:\"|\n|\Z))", re.DOTALL)


def without_comments(text: str) -> str:
    """C or Verilog source without its comments."""
    return _COMMENT.sub(lambda match: match.group(1) or " ", text)


def words_before(text: str, end: int) -> list[str]:
    """The words that stand right before ``end``, with nothing but blanks between."""
    start = end
    while start and (text[start - 1].isalnum() or text[start - 1] in "_ \t\r\n\f\v"):
        start -= 1
    return text[start:end].split()
