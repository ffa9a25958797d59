"""How a product's change with its operands is estimated when a network is fine-tuned.

Straight-through takes the exact product's slopes, ``∂T/∂x = w`` and ``∂T/∂w = x``. The others take
the truth table's own: differences of a moving average over codes. Meng, Burleson, De Micheli,
"Gradient approximation of approximate multipliers for high-accuracy deep neural network
retraining", DATE 2025, and its extension, arXiv 2509.10519 (there: LUT-2D and LUT-1D). One
departure: near the ends of the range, where a whole window does not fit, the slope is that of the
nearest whole window; theirs is the range of the row over its length, whose sign is lost.
"""

import dataclasses
import functools
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
import torch

from luts import Arithmetic
from luts.errors import InputError, suggest

GradientKind = Literal["straight-through", "slope-x", "slope-w", "slope-1d", "slope-2d"]
GRADIENTS: tuple[str, ...] = get_args(GradientKind)

HALF_WINDOW = 32
"""The default of the DATE paper's own script."""

MAX_TERMS = 16
_RELATIVE_TOLERANCE = 1e-6
_CODES = 256

Matrix = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Gradient:
    """How backward estimates a multiplier's slopes.

    Attributes:
        kind: ``straight-through``; ``slope-x`` (the table's slope along the activation, averaged
            over activations: one number per weight code); ``slope-w`` (along the weight, one
            number per activation code); ``slope-1d`` (both of these); ``slope-2d`` (both, a number
            for each pair of codes). In attention the second operand stands for the weight.
        half_window: codes on either side that the moving average takes in.

    Raises:
        InputError: an unknown kind, or a window that does not fit 256 codes.
    """

    kind: GradientKind = "straight-through"
    half_window: int = HALF_WINDOW

    def __post_init__(self) -> None:
        if self.kind not in GRADIENTS:
            known = suggest(str(self.kind), list(GRADIENTS))
            raise InputError(f"unknown gradient {self.kind!r}: {known}")
        if not 0 <= self.half_window <= 126:
            raise InputError(f"half_window lies in 0…126, not {self.half_window}")


@dataclasses.dataclass(frozen=True, eq=False)
class SlopeTerms:
    """A slope as ``Σ_r u_r[x]·v_r[w]``, by codes.

    Attributes:
        u: float32 of shape ``(terms, 256)``, or None for a single factor 1.
        v: likewise, of the second operand.
    """

    u: torch.Tensor | None
    v: torch.Tensor | None

    @property
    def count(self) -> int:
        """Number of terms."""
        factors = self.v if self.u is None else self.u
        assert factors is not None
        return len(factors)

    def to(self, device: torch.device) -> "SlopeTerms":
        """On a device."""
        u = None if self.u is None else self.u.to(device)
        return SlopeTerms(u, None if self.v is None else self.v.to(device))


@dataclasses.dataclass(frozen=True, eq=False)
class Slopes:
    """Slopes along both operands; None where straight-through is meant."""

    along_x: SlopeTerms | None = None
    along_w: SlopeTerms | None = None


STRAIGHT = Slopes()


def slopes_of(
    arithmetic: Arithmetic,
    gradient: Gradient,
    weight_map: torch.Tensor | None,
    device: torch.device,
) -> Slopes:
    """The slopes of a site's products.

    Args:
        arithmetic: the multiplier and operand order.
        gradient: how slopes are estimated.
        weight_map: code that stands for each weight code, int8 of shape ``(256,)``; None for
            itself. Slopes are then along the weight that is meant, not the one that stands for it.
        device: where the slopes are used.
    """
    if gradient.kind == "straight-through":
        return STRAIGHT
    mapped = None if weight_map is None else weight_map.cpu().numpy().tobytes()
    return _slopes(arithmetic, gradient, mapped, str(device))


@functools.lru_cache(maxsize=128)
def _slopes(arithmetic: Arithmetic, gradient: Gradient, mapped: bytes | None, at: str) -> Slopes:
    table = arithmetic.table.astype(np.float64)
    if mapped is not None:
        table = table[:, np.frombuffer(mapped, np.uint8)]
    along_x, along_w = slope_tables(table, gradient.half_window)
    device, kind = torch.device(at), gradient.kind
    if kind == "slope-2d":
        return Slopes(_terms(along_x).to(device), _terms(along_w).to(device))
    by_w = SlopeTerms(None, _float(along_x.mean(axis=0, keepdims=True)))
    by_x = SlopeTerms(_float(along_w.mean(axis=1, keepdims=True).T), None)
    return Slopes(
        by_w.to(device) if kind in ("slope-x", "slope-1d") else None,
        by_x.to(device) if kind in ("slope-w", "slope-1d") else None,
    )


def slope_tables(table: Matrix, half_window: int) -> tuple[Matrix, Matrix]:
    """``∂T/∂x`` and ``∂T/∂w`` of every pair of codes, float64 of shape ``(256, 256)``.

    Args:
        table: products by signed codes, ``[x_code, w_code]``.
        half_window: codes on either side of a code that its moving average takes in.
    """
    # From code order (0…127, −128…−1) to the order of values and back.
    rising = np.roll(table, _CODES // 2, axis=(0, 1))
    difference = _difference_matrix(half_window)
    along_x, along_w = difference @ rising, rising @ difference.T
    half = -(_CODES // 2)
    return np.roll(along_x, half, axis=(0, 1)), np.roll(along_w, half, axis=(0, 1))


def _difference_matrix(half_window: int) -> Matrix:
    """``(S(i+1) − S(i−1)) / 2`` of the moving average S, DATE 2025 Eq. 3 and 4."""
    matrix = np.zeros((_CODES, _CODES))
    weight = 1 / (2 * (2 * half_window + 1))
    for row in range(_CODES):
        at = min(max(row, half_window + 1), _CODES - 2 - half_window)
        matrix[row, at + 1 - half_window : at + half_window + 2] += weight
        matrix[row, at - 1 - half_window : at + half_window] -= weight
    return matrix


def _terms(slope: Matrix) -> SlopeTerms:
    """As few terms as give ``slope``; a smoothed table has few, a broken-array one at most 5."""
    u, strengths, v = np.linalg.svd(slope)
    count = int((strengths > _RELATIVE_TOLERANCE * max(strengths[0], 1e-300)).sum())
    count = min(max(count, 1), MAX_TERMS)
    return SlopeTerms(_float((u[:, :count] * strengths[:count]).T), _float(v[:count]))


def _float(values: Matrix) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
