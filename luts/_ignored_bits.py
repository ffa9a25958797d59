"""Which low bits of its operands a circuit never looks at."""

import functools

import numpy as np

from luts._multiplier import Multiplier, Table

_MAGNITUDES = 129
"""Magnitudes of signed codes, 0…128: what an unsigned circuit is fed through sign and magnitude."""


@functools.lru_cache(maxsize=1024)
def ignored_bits(multiplier: Multiplier) -> tuple[int, int]:
    """Low bits of each port that change no product, read from the truth table.

    For a port it is the largest t such that codes which differ in their t low bits alone have the
    same products with every other operand. So the circuit works as well on operands stored with
    ``8 − t`` bits. Of an unsigned circuit, used through sign and magnitude, they are bits of the
    magnitude, over the magnitudes in use; the sign is always looked at.

    Args:
        multiplier: the circuit.

    Returns:
        Bits of the first port and of the second, each 0…8; of an unsigned circuit 0…7.
    """
    if multiplier.signed:
        table, most = multiplier.truth_table, 8
    else:
        table, most = multiplier.truth_table[:_MAGNITUDES, :_MAGNITUDES], 7
    return _ignored_rows(table, most), _ignored_rows(table.T, most)


def _ignored_rows(table: Table, most: int) -> int:
    """Low bits of the row's number that its content does not depend on, at most ``most``."""
    rows = np.arange(len(table))
    ignored = 0
    while ignored < most:
        cut = rows >> (ignored + 1) << (ignored + 1)
        if not np.array_equal(table, table[cut]):
            break
        ignored += 1
    return ignored
