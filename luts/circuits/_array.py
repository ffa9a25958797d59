"""Broken-array multipliers as netlists, and the names of the family.

A member keeps the partial products ``a_i b_j`` of the 8×8 signed array with ``i ≥ break_a``, ``j ≥
break_b`` and ``i + j ≥ break_diagonal`` (`luts.families.broken_array`). Its name is
``array:a3b5d0``. Several cuts can leave the same partial products; the name has the largest
``break_a`` and ``break_b`` that do, and ``break_diagonal`` 0 where the diagonal cuts nothing more.

The netlist is a carry-save array after Baugh and Wooley, "A two's complement parallel array
multiplication algorithm", IEEE Transactions on Computers C-22(12), 1973,
doi:10.1109/T-C.1973.223648, in the form in which EvoApproxLib publishes its signed circuits: a row
of adders per bit of the first operand, then a ripple-carry adder. It is built here because
`ariths-gen` 1.1.4 has unsigned broken arrays with two cuts only.
"""

import dataclasses
import re
from collections.abc import Iterator

from luts.circuits._netlist import ZERO, Builder, Netlist
from luts.errors import InputError

PREFIX = "array:"

_NAME = re.compile(r"array:a(\d{1,3})b(\d{1,3})d(\d{1,3})")


@dataclasses.dataclass(frozen=True, order=True)
class Cuts:
    """The three cuts of a broken-array multiplier.

    Attributes:
        break_a: lowest bit of the first operand that is kept, 0…7.
        break_b: lowest bit of the second operand that is kept, 0…7.
        break_diagonal: lowest column ``i + j`` that is kept, 0…14.

    Raises:
        InputError: a cut lies outside its range, so that nothing would be left.
    """

    break_a: int = 0
    break_b: int = 0
    break_diagonal: int = 0

    def __post_init__(self) -> None:
        for field, highest in (("break_a", 7), ("break_b", 7), ("break_diagonal", 14)):
            value = getattr(self, field)
            if not 0 <= value <= highest:
                raise InputError(
                    f"{field} of an 8×8 array lies in 0…{highest}, not {value}: above that no "
                    f"partial product is left; give a cut of {highest} or less"
                )

    @property
    def canonical(self) -> "Cuts":
        """The cuts that name this circuit."""
        a = max(self.break_a, self.break_diagonal - 7)
        b = max(self.break_b, self.break_diagonal - 7)
        return Cuts(a, b, self.break_diagonal if self.break_diagonal > a + b else 0)

    @property
    def cuts_inside(self) -> bool:
        """Whether the circuit is more than an exact one of operands with fewer bits."""
        return self.canonical.break_diagonal > 0

    @property
    def name(self) -> str:
        """The one name of this circuit, ``array:a3b5d0``."""
        cuts = self.canonical
        return f"{PREFIX}a{cuts.break_a}b{cuts.break_b}d{cuts.break_diagonal}"

    def keeps(self, i: int, j: int) -> bool:
        """Whether the partial product ``a_i b_j`` is kept."""
        return i >= self.break_a and j >= self.break_b and i + j >= self.break_diagonal

    @property
    def products(self) -> frozenset[tuple[int, int]]:
        """The partial products ``(i, j)`` that are kept."""
        return frozenset((i, j) for i in range(8) for j in range(8) if self.keeps(i, j))


def cuts_of(name: str) -> Cuts | None:
    """The cuts in ``name``, or None where it is not a name of this family.

    Raises:
        InputError: it begins with ``array:`` and names no circuit; the nearest one is named.
    """
    if not name.startswith(PREFIX):
        return None
    match = _NAME.fullmatch(name)
    numbers = tuple(int(number) for number in match.groups()) if match else ()
    try:
        return Cuts(*numbers) if numbers else _refuse(name)
    except InputError as error:
        raise InputError(f"{name}: {error}; the nearest circuit is {nearest(name)}") from None


def nearest(name: str) -> str:
    """The name in this family that is nearest to ``name``: its numbers, brought into range."""
    found = [
        re.search(rf"{letter}\D*?(\d+)", name.removeprefix(PREFIX), re.IGNORECASE)
        for letter in "abd"
    ]
    limits = (7, 7, 14)
    numbers = [
        min(int(m.group(1)), limit) if m else 0 for m, limit in zip(found, limits, strict=True)
    ]
    return Cuts(*numbers).name


def _refuse(name: str) -> Cuts:
    raise InputError(
        "an array is named by its three cuts, array:a3b5d0 (break_a, break_b, break_diagonal)"
    )


def all_cuts() -> Iterator[Cuts]:
    """Every circuit of the family once, in canonical form: 204 of them."""
    every = (Cuts(a, b, d) for a in range(8) for b in range(8) for d in range(15))
    return (cuts for cuts in every if cuts == cuts.canonical)


def array_netlist(cuts: Cuts) -> Netlist:
    """The circuit with these cuts, constants folded.

    In two's complement ``−x = ~x·1 − 1``: a partial product of one sign bit is inverted, and what
    that leaves over is one constant, ``2^(7+break_a) + 2^(7+break_b) − 2^15``.
    """
    kept = cuts.canonical
    builder = Builder((8, 8))
    constant = ((1 << (7 + kept.break_a)) + (1 << (7 + kept.break_b)) - (1 << 15)) % (1 << 16)
    sums, carries = [ZERO] * 9, [ZERO] * 9
    product: list[int] = []
    for i in range(8):
        row = [_inputs(builder, kept, constant, (i, j), (sums, carries)) for j in range(8)]
        added = [builder.add([net for net in nets if net != ZERO]) for nets in row]
        sums = [sum_ for sum_, _ in added] + [ZERO]
        carries = [carry for _, carry in added] + [ZERO]
        product.append(sums[0])
    ripple = ZERO
    for j in range(8):
        inputs = (sums[j + 1] if j < 7 else constant >> 15, ripple, carries[j])
        sum_, ripple = builder.add([net for net in inputs if net != ZERO])
        product.append(sum_)
    return builder.build(cuts.name, product)


def _inputs(
    builder: Builder, cuts: Cuts, constant: int, at: tuple[int, int], above: tuple[list[int], ...]
) -> tuple[int, ...]:
    """Bits that meet in row i, column i + j: from the row above, and one partial product."""
    i, j = at
    sums, carries = above
    # Only the highest adder of a row has no sum above it: it takes the constant's bit.
    over = sums[j + 1] if j < 7 else (constant >> (i + 7)) & 1
    if not cuts.keeps(i, j):
        return over, carries[j]
    partial = builder.gate("AND", builder.first(i), builder.second(j))
    return over, carries[j], builder.inv(partial) if (i == 7) != (j == 7) else partial
