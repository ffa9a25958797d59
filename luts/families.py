"""Multipliers given by a formula instead of a file.

Every function returns a truth table, int32 of shape ``(256, 256)``, indexed
``[first_code, second_code]``; a `luts.Multiplier` takes it with figures of your own, for none of
these formulas has a power or an area of its own.

The formulas of unsigned operands (`drum`, `mitchell`, `roba`) serve signed ones through sign and
magnitude, as their papers do: the product of the magnitudes under the product of the signs, where
the magnitude of −128 is 128. ``signed=False`` gives the unsigned circuit itself, operands 0…255.
"""

import numpy as np
import numpy.typing as npt

from luts._multiplier import Table, signed_values, unsigned_values
from luts.errors import InputError

Int64 = npt.NDArray[np.int64]

_BIT_WEIGHTS = (1, 2, 4, 8, 16, 32, 64, -128)


def exact(*, signed: bool = True) -> Table:
    """Products of an exact 8-bit multiplier.

    Args:
        signed: whether operands are two's complement.
    """
    values = signed_values() if signed else unsigned_values()
    return np.multiply.outer(values, values).astype(np.int32)


def broken_array(
    *, break_a: int = 0, break_b: int = 0, break_diagonal: int = 0, signed: bool = True
) -> Table:
    """Products of a broken-array multiplier.

    The array sums the partial products ``s_i s_j a_i b_j`` with ``s = 1, 2, …, 64, −128`` (128 if
    unsigned); this one keeps those with ``i ≥ break_a``, ``j ≥ break_b`` and ``i + j ≥
    break_diagonal``.

    Args:
        break_a: lowest bit of the first operand that is kept, 0…8.
        break_b: lowest bit of the second operand that is kept, 0…8.
        break_diagonal: lowest column of the array that is kept, 0…15.
        signed: whether operands are two's complement.

    Raises:
        InputError: a break lies outside its range.

    Source: Mahdiani, Ahmadi, Fakhraie, Lucas, "Bio-inspired imprecise computational blocks for
    efficient VLSI implementation of soft-computing applications", IEEE TCAS-I 57(4), 2010,
    doi:10.1109/TCSI.2009.2027626.
    """
    _check_range("break_a", break_a, 0, 8)
    _check_range("break_b", break_b, 0, 8)
    _check_range("break_diagonal", break_diagonal, 0, 15)
    codes = np.arange(256)
    bits = (codes[:, None] >> np.arange(8)) & 1
    weighted = bits * (np.array(_BIT_WEIGHTS) if signed else 1 << np.arange(8))
    i, j = np.arange(8)[:, None], np.arange(8)[None, :]
    kept = (i >= break_a) & (j >= break_b) & (i + j >= break_diagonal)
    table: Table = (weighted @ kept.astype(np.int64) @ weighted.T).astype(np.int32)
    return table


def truncated(*, columns: int, correction: int = 0, signed: bool = True) -> Table:
    """Products of a truncated multiplier: an array without its low columns, and a constant.

    A correction other than 0 is added to every product, that of zeros too.

    Args:
        columns: how many columns ``i + j`` are left out, 0…15.
        correction: constant added at the columns that are kept: a multiple of ``2^columns``.
        signed: whether operands are two's complement.

    Raises:
        InputError: ``columns`` lies outside its range, or ``correction`` would need a column that
            is left out.

    Source: Schulte, Swartzlander, "Truncated multiplication with correction constant", VLSI Signal
    Processing VI, 1993, doi:10.1109/VLSISP.1993.404467.
    """
    _check_range("columns", columns, 0, 15)
    if correction % 2**columns:
        raise InputError(
            f"correction is a multiple of 2^{columns} = {2**columns}, not {correction}"
        )
    _check_range("correction", correction, -(2**15), 2**15)
    return broken_array(break_diagonal=columns, signed=signed) + np.int32(correction)


def drum(*, k: int, signed: bool = True) -> Table:
    """Products of DRUM-k: each operand cut to k bits from its leading one, the lowest of them set.

    Args:
        k: width of the exact multiplier inside, 2…8.
        signed: whether operands are two's complement (sign and magnitude).

    Raises:
        InputError: ``k`` lies outside its range.

    Source: Hashemi, Bahar, Reda, "DRUM: a dynamic range unbiased multiplier for approximate
    applications", ICCAD 2015, doi:10.1109/ICCAD.2015.7372600.
    """
    _check_range("k", k, 2, 8)
    values = unsigned_values()
    dropped = np.maximum(_leading_one(values) - k + 1, 0)
    # The lowest kept bit is set where bits are dropped: their expected value, so no bias.
    reduced = ((values >> dropped) | (dropped > 0)) << dropped
    return _by_magnitude(np.multiply.outer(reduced, reduced), signed=signed)


def mitchell(*, signed: bool = True) -> Table:
    """Products of Mitchell's logarithmic multiplier: ``log2(2^k (1 + f)) ≈ k + f``, both ways.

    Args:
        signed: whether operands are two's complement (sign and magnitude).

    Source: Mitchell, "Computer multiplication and division using binary logarithms", IRE
    Transactions on Electronic Computers EC-11(4), 1962, doi:10.1109/TEC.1962.5219391.
    """
    values = unsigned_values()
    power = 1 << _leading_one(values)
    fraction = values - power
    scale = np.multiply.outer(power, power)
    # (f_a + f_b) · 2^(k_a + k_b), without leaving the integers.
    mantissas = np.multiply.outer(fraction, power) + np.multiply.outer(power, fraction)
    products = np.where(mantissas < scale, scale + mantissas, 2 * mantissas)
    nonzero = np.multiply.outer(values, values) != 0
    return _by_magnitude(np.where(nonzero, products, 0), signed=signed)


def roba(*, signed: bool = True) -> Table:
    """Products of RoBA: ``a_r b + a b_r − a_r b_r``, where ``_r`` rounds to a power of two.

    An operand in the middle of two powers goes to the larger one, but 3 goes to 2.

    Args:
        signed: whether operands are two's complement (sign and magnitude, the paper's S-RoBA).

    Source: Zendegani, Kamal, Bahadori, Afzali-Kusha, Pedram, "RoBA multiplier: a rounding-based
    approximate multiplier for high-speed yet energy-efficient digital signal processing", IEEE
    TVLSI 25(2), 2017, doi:10.1109/TVLSI.2016.2587696.
    """
    values = unsigned_values()
    below = 1 << _leading_one(values)
    rounded = np.where(2 * values >= 3 * below, 2 * below, below)
    rounded[[0, 3]] = 0, 2
    crossed = np.multiply.outer(rounded, values) + np.multiply.outer(values, rounded)
    return _by_magnitude(crossed - np.multiply.outer(rounded, rounded), signed=signed)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} lies in {low}…{high}, not {value}")


def _leading_one(values: Int64) -> Int64:
    """Position of each value's highest set bit; 0 for 0."""
    positions: Int64 = (np.frexp(np.maximum(values, 1))[1] - 1).astype(np.int64)
    return positions


def _by_magnitude(products: Int64, *, signed: bool) -> Table:
    """A table by codes out of products of magnitudes 0…255."""
    if not signed:
        return products.astype(np.int32)
    values = signed_values()
    magnitude, sign = np.abs(values), np.sign(values)
    chosen = products[np.ix_(magnitude, magnitude)]
    table: Table = (chosen * np.multiply.outer(sign, sign)).astype(np.int32)
    return table
