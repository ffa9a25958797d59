"""Truth tables as short exact sums of products of one-operand functions.

``T[x, w] = Σ_r u_r[x] · v_r[w]`` with every ``u_r`` and ``v_r`` in int8 turns a sum of table
look-ups into a few integer matrix products. The factors are found from the table itself and
multiplied out again over all 65,536 entries before they are used.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from luts._multiplier import N_CODES, Table

Int64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, eq=False)
class Factorisation:
    """An exact sum of products equal to a truth table.

    Attributes:
        u: functions of the first operand, int8 of shape ``(terms, 256)``, by code.
        v: functions of the second operand, int8 of shape ``(terms, 256)``, by code.
    """

    u: npt.NDArray[np.int8]
    v: npt.NDArray[np.int8]

    @property
    def terms(self) -> int:
        """Number of products summed."""
        return len(self.u)

    @functools.cached_property
    def u_masks(self) -> tuple[int, ...] | None:
        """Bit masks ``m_r`` with ``u_r[x] = x & m_r``, or None where some ``u_r`` is not a mask."""
        return _masks(self.u)

    @functools.cached_property
    def v_masks(self) -> tuple[int, ...] | None:
        """Bit masks ``m_r`` with ``v_r[w] = w & m_r``, or None where some ``v_r`` is not a mask."""
        return _masks(self.v)

    @functools.cached_property
    def max_abs_sum(self) -> int:
        """Bound on ``Σ_r |u_r v_r|`` for one pair of operands."""
        u, v = np.abs(self.u.astype(np.int64)), np.abs(self.v.astype(np.int64))
        return int((u.max(axis=1) * v.max(axis=1)).sum())

    def table(self) -> Table:
        """The products multiplied out, int32 of shape ``(256, 256)``."""
        return (self.u.T.astype(np.int32) @ self.v.astype(np.int32)).astype(np.int32)


def factorise(table: Table) -> Factorisation | None:
    """The shortest factorisation of ``table`` that is known how to find, verified, or None.

    Two forms are sought: tables that are bilinear in the operands' bits (every broken-array
    circuit), and tables of one product (every circuit that only changes its operands, like DRUM).

    Args:
        table: int32 of shape ``(256, 256)`` by signed codes.
    """
    candidates = [f for f in (_separable(table), _bilinear(table)) if f is not None]
    candidates = [f for f in candidates if np.array_equal(f.table(), table)]
    return min(candidates, key=lambda f: f.terms, default=None)


def _masks(factors: npt.NDArray[np.int8]) -> tuple[int, ...] | None:
    codes = np.arange(N_CODES, dtype=np.uint8)
    masks = []
    for factor in factors:
        as_bits = factor.view(np.uint8)
        mask = int(np.bitwise_or.reduce(as_bits))
        if not np.array_equal(as_bits, codes & np.uint8(mask)):
            return None
        masks.append(mask)
    return tuple(masks)


def _separable(table: Table) -> Factorisation | None:
    """``T = u ⊗ v``: every row is a multiple of one primitive row."""
    rows = np.flatnonzero(table.any(axis=1))
    if not len(rows):
        return None
    primitive = table[rows[0]].astype(np.int64)
    primitive = primitive // np.gcd.reduce(primitive)
    at = int(np.argmax(np.abs(primitive)))
    u, remainder = np.divmod(table[:, at].astype(np.int64), primitive[at])
    if remainder.any():
        return None
    return _collect([_balanced(u, primitive)])


def _bilinear(table: Table) -> Factorisation | None:
    """``T[x, w] = Σ_ij C_ij x_i w_j`` over the operands' bits, rows or columns of ``C`` grouped."""
    powers = 1 << np.arange(8)
    coefficients = table[np.ix_(powers, powers)].astype(np.int64)
    by_rows = _collect(_grouped(coefficients))
    by_columns = _collect([(v, u) for u, v in _grouped(coefficients.T)])
    candidates = [f for f in (by_rows, by_columns) if f is not None]
    return min(candidates, key=lambda f: f.terms, default=None)


def _grouped(coefficients: Int64) -> list[tuple[Int64, Int64]]:
    """Rows of ``C`` that are multiples of each other become one term."""
    bits = (np.arange(N_CODES)[:, None] >> np.arange(8)) & 1
    terms: dict[tuple[int, ...], Int64] = {}
    for i, row in enumerate(coefficients):
        content = int(np.gcd.reduce(row))
        if content == 0:
            continue
        if row[np.flatnonzero(row)[0]] < 0:
            content = -content
        primitive = tuple(int(c) for c in row // content)
        terms[primitive] = terms.get(primitive, np.zeros(N_CODES, np.int64)) + content * bits[:, i]
    return [_balanced(u, bits @ np.array(p)) for p, u in terms.items()]


def _balanced(u: Int64, v: Int64) -> tuple[Int64, Int64]:
    """Move a common divisor of ``u`` over to ``v`` so that both fit int8, as masks if they can."""
    content = int(np.gcd.reduce(u)) or 1
    candidates = []
    for divisor in range(1, min(content, 255) + 1):
        if content % divisor:
            continue
        for sign in (1, -1):
            pair = (u // divisor * sign, v * divisor * sign)
            if all(_fits_int8(side) for side in pair):
                masked = sum(_masks(side.astype(np.int8)[None]) is not None for side in pair)
                candidates.append((masked, pair))
    return max(candidates, key=lambda c: c[0], default=(0, (u, v)))[1]


def _fits_int8(values: Int64) -> bool:
    return bool(values.min() >= -128 and values.max() <= 127)


def _collect(pairs: list[tuple[Int64, Int64]]) -> Factorisation | None:
    if not pairs or not all(_fits_int8(u) and _fits_int8(v) for u, v in pairs):
        return None
    return Factorisation(
        u=np.stack([u for u, _ in pairs]).astype(np.int8),
        v=np.stack([v for _, v in pairs]).astype(np.int8),
    )
