"""A circuit as the native kernels compute it: few int8 products, less a staircase of bits.

A broken-array multiplier keeps the partial products ``(i, j)`` with ``i ≥ break_a``,
``j ≥ break_b`` and ``i + j ≥ break_diagonal`` (`luts.families.broken_array`). So its product is

    ``trunc(x, break_a)·trunc(w, break_b) − Σ 2^(i+j)·x_i·w_j`` over the corner that is cut,

one int8 product and a few products of single bits. With ``depth = break_diagonal − break_a −
break_b`` the corner has ``depth·(depth + 1)/2`` cells. Products of single bits are AND and a count
of ones, 512 at a time, which is cheaper than one int8 product for each row of the corner.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from luts import families
from luts._arithmetic import Arithmetic
from luts._factorisation import Factorisation
from luts._multiplier import Table


@dataclasses.dataclass(frozen=True, eq=False)
class CircuitTerms:
    """``T[x, w] = Σ_t u_t(x)·v_t(w) − Σ_{p+q<depth} 2^(p+q+first_plane+second_plane)·x_p·w_q``.

    Attributes:
        factors: the ``u_t`` and ``v_t``.
        depth: rows of the corner; 0 for none.
        first_plane: lowest bit of the first operand in the corner; ``x_p`` is bit
            ``first_plane + p``.
        second_plane: the same of the second operand.
    """

    factors: Factorisation
    depth: int = 0
    first_plane: int = 0
    second_plane: int = 0

    @property
    def count(self) -> int:
        """Number of int8 products."""
        return self.factors.terms

    @functools.cached_property
    def u_offset(self) -> npt.NDArray[np.uint8]:
        """``u_t + 128`` by code, shape ``(terms, 256)``."""
        return np.ascontiguousarray((self.factors.u.astype(np.int16) + 128).astype(np.uint8))

    @functools.cached_property
    def v_bytes(self) -> npt.NDArray[np.uint8]:
        """``v_t`` by code, its bits, shape ``(terms, 256)``."""
        return np.ascontiguousarray(self.factors.v).view(np.uint8)

    @functools.cached_property
    def masks(self) -> tuple[npt.NDArray[np.uint8] | None, npt.NDArray[np.uint8] | None]:
        """The masks of the ``u_t`` and of the ``v_t``, where they are masks."""
        u, v = self.factors.u_masks, self.factors.v_masks
        return (
            None if u is None else np.array(u, dtype=np.uint8),
            None if v is None else np.array(v, dtype=np.uint8),
        )


def breaks_of(table: Table) -> tuple[int, int, int] | None:
    """``(break_a, break_b, break_diagonal)`` of a broken-array table, or None for another one."""
    kept = np.array([[table[1 << i, 1 << j] != 0 for j in range(8)] for i in range(8)])
    if not kept.any():
        return None
    break_a, break_b = int(kept.any(axis=1).argmax()), int(kept.any(axis=0).argmax())
    diagonal = min(int(i + j) for i, j in np.argwhere(kept))
    expected = families.broken_array(break_a=break_a, break_b=break_b, break_diagonal=diagonal)
    return (break_a, break_b, diagonal) if np.array_equal(expected, table) else None


_STAIRCASES: dict[tuple[str, bool, bool], CircuitTerms | None] = {}


def terms_of(arithmetic: Arithmetic, *, max_depth: int) -> CircuitTerms | None:
    """The cheapest known form of a circuit, or None for a table without factors.

    Args:
        arithmetic: the multiplier and operand order.
        max_depth: deepest corner that bits may be counted for; 0 for int8 products only.
    """
    key = arithmetic.key
    if key not in _STAIRCASES:
        # The kernels count bits of the codes as they are, not of rounded ones.
        _STAIRCASES[key] = None if arithmetic.rounds else _staircase(arithmetic.table)
    staircase = _STAIRCASES[key]
    if staircase is not None and 0 < staircase.depth <= max_depth:
        return staircase
    return _plain(arithmetic)


_PLAIN: dict[tuple[str, bool, bool], CircuitTerms | None] = {}


def _plain(arithmetic: Arithmetic) -> CircuitTerms | None:
    key = arithmetic.key
    if key not in _PLAIN:
        factors = arithmetic.factorisation
        _PLAIN[key] = None if factors is None else CircuitTerms(factors)
    return _PLAIN[key]


def _staircase(table: Table) -> CircuitTerms | None:
    breaks = breaks_of(table)
    if breaks is None:
        return None
    break_a, break_b, diagonal = breaks
    depth = diagonal - break_a - break_b
    # The sign bits (i or j = 7) count negatively, and the kernels' weight is an int8.
    if depth <= 0 or max(break_a, break_b) + depth > 7 or break_a + break_b > 4:
        return None
    values = np.arange(256, dtype=np.uint8)
    factors = Factorisation(
        u=(values & (256 - (1 << break_a))).view(np.int8)[None],
        v=(values & (256 - (1 << break_b))).view(np.int8)[None],
    )
    return CircuitTerms(factors, depth, break_a, break_b)
