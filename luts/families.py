"""Multipliers given by a formula instead of a file.

Every function returns a truth table, int32 of shape ``(256, 256)``, indexed
``[first_code, second_code]``.
"""

import numpy as np

from luts._multiplier import Table, signed_values
from luts.errors import InputError

_BIT_WEIGHTS = (1, 2, 4, 8, 16, 32, 64, -128)


def exact() -> Table:
    """Products of an exact signed 8-bit multiplier."""
    values = signed_values()
    return np.multiply.outer(values, values).astype(np.int32)


def broken_array(*, break_a: int = 0, break_b: int = 0, break_diagonal: int = 0) -> Table:
    """Products of a signed broken-array multiplier.

    The array sums the partial products ``s_i s_j a_i b_j`` with ``s = 1, 2, …, 64, −128``; this one
    keeps those with ``i ≥ break_a``, ``j ≥ break_b`` and ``i + j ≥ break_diagonal``.

    Args:
        break_a: lowest bit of the first operand that is kept, 0…8.
        break_b: lowest bit of the second operand that is kept, 0…8.
        break_diagonal: lowest column of the array that is kept, 0…15.

    Raises:
        InputError: a break lies outside its range.

    Source: Mahdiani, Ahmadi, Fakhraie, Lucas, "Bio-inspired imprecise computational blocks for
    efficient VLSI implementation of soft-computing applications", IEEE TCAS-I 57(4), 2010.
    """
    for name, value, top in (
        ("break_a", break_a, 8),
        ("break_b", break_b, 8),
        ("break_diagonal", break_diagonal, 15),
    ):
        if not 0 <= value <= top:
            raise InputError(f"{name} lies in 0…{top}, not {value}")
    codes = np.arange(256)
    bits = (codes[:, None] >> np.arange(8)) & 1
    weighted = bits * np.array(_BIT_WEIGHTS)
    i, j = np.arange(8)[:, None], np.arange(8)[None, :]
    kept = (i >= break_a) & (j >= break_b) & (i + j >= break_diagonal)
    table: Table = (weighted @ kept.astype(np.int64) @ weighted.T).astype(np.int32)
    return table
