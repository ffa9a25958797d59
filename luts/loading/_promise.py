"""Whether a circuit is an 8×8 multiplier: what its name says, and what its table does."""

import re

import numpy as np

from luts._multiplier import signed_values, unsigned_values
from luts.circuits import cuts_of_table
from luts.errors import InputError
from luts.loading._layout import Int64

MAX_DISTANCE = 0.5
"""Mean |product − exact product| over the mean |exact product|.

Of the published 8×8 circuits, mul8s_1KR3 has the largest, 0.492, and of unsigned ones at hand
mul8u_YX7, 0.195; an adder has 0.98, a constant at least 0.72.
"""

TRUST = "or say that it is meant with --trust (layout=luts.Layout(trust=True))"

# EvoApproxLib's names: mul16s_HF7, mul8x3u_0TB, mul7u_01L, add8se_8R9, sub12u_…; a mere mul2 may
# be somebody's second try.
_NAME = re.compile(
    r"(?:^|[^A-Za-z0-9])(mul|add|sub|div|mac)(\d{1,3})(?:x(\d{1,3}))?[su][a-z]?(?![A-Za-z0-9])"
)
_KINDS = {"mul": "multiplier", "add": "adder", "sub": "subtractor", "div": "divider", "mac": "MAC"}


def check_name(said: str, shown: str) -> None:
    """Refuse what calls itself something else than an 8×8 multiplier.

    Args:
        said: name of the file, or of the function, module or array in it.
        shown: the file's name for the message.

    Raises:
        InputError: it is an adder by its name, or a multiplier of other widths.
    """
    match = _NAME.search(said)
    if match is None:
        return
    kind, first, second = match.group(1), match.group(2), match.group(3) or match.group(2)
    if (kind, first, second) != ("mul", "8", "8"):
        widths = f"{first}×{second}" if kind == "mul" else f"{first}-bit"
        raise InputError(
            f"{shown} has a {widths} {_KINDS[kind]} by the name {said}; give a multiplier of 8×8 "
            f"bits, {TRUST}"
        )


def check_table(table: Int64, sha256: str, shown: str, *, signed: bool) -> None:
    """Refuse a table that is not near the products of its operands.

    Args:
        table: int64 of shape ``(256, 256)``, ``[first_code, second_code]``.
        sha256: as of `Multiplier`; the tables of array multipliers are known, however far.
        shown: the file's name for the message.
        signed: whether codes are two's complement.

    Raises:
        InputError: it does not look at the highest bit of an operand, or is far from a·b.
    """
    if cuts_of_table(sha256) is not None:
        return
    codes = np.arange(256)
    for word, mine in (("first", table), ("second", table.T)):
        width = 8
        while width and np.array_equal(mine, mine[codes ^ (1 << (width - 1))]):
            width -= 1
        if width < 8:
            raise InputError(
                f"{shown} looks at {width} bits of its {word} operand only, the highest of them "
                f"left out; give a multiplier of 8×8 bits, {TRUST}"
            )
    values = signed_values() if signed else unsigned_values()
    exact = np.multiply.outer(values, values)
    scale = float(np.abs(exact).mean())
    distance = float(np.abs(table - exact).mean()) / scale
    if distance > MAX_DISTANCE:
        raise InputError(
            f"{shown} is no multiplier: its products are {100 * distance:.0f} % away from those of "
            f"its operands, on average{_hint(table, exact, scale)}; give another file, {TRUST}"
        )


def _hint(table: Int64, exact: Int64, scale: float) -> str:
    """What the table is, where it is something well known."""
    half = np.roll(table, 128, axis=(0, 1))
    readings = {
        "its products are shifted by 32,768 (--product-offset 32768)": table - 32_768,
        "its rows and columns are in the other order (--index-order)": half,
    }
    near = [words for words, other in readings.items() if np.abs(other - exact).mean() < scale / 2]
    return f" ({near[0]})" if near else ""
