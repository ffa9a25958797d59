"""Scales that suit the circuit at work: a range that is right for 8 bits is wrong for 4.

For every site, the factors of its activation scale and of its weight scales that make the expected
squared error of its outputs least, in closed form over the histogram of activation codes, the codes
of the weights and the truth table. With activations ``c`` and weights ``v`` in units of the
calibrated scales, and factors a and b, a product's error is ::

    a·b·T[q(c/a), m(q(v/b))] − c·v

with q the rounding to codes and m the map of weight codes, if they are tuned. Choosing the range of
a uniform quantiser by the least squared error is known for narrow operands (Banner, Nahshan,
Soudry, NeurIPS 2019, arXiv 1810.05723); here the circuit's own errors are part of it.
"""

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
import torch

from luts import Arithmetic
from models.emulation._code_classes import CodeClasses, Rows
from models.emulation._expected import (
    CODES,
    VALUES,
    Vector,
    best_weight_map,
    error_moments,
    rescaled_codes,
    rescaled_shares,
)
from models.emulation._layers import EmulatedSite, EmulatedWeightSite

FACTORS = 2.0 ** (np.array([0, *(k for k in range(-8, 7) if k)]) / 6)
"""Of a scale, 1 first, so that of equally good ones it stays: 0.40 to 2."""

Matrix = npt.NDArray[np.float64]
CodeCounts = tuple[Matrix, Vector]
"""How often each code occurs in each channel, and the channels' scales: see `code_counts`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rescaling:
    """Factors of a site's scales, and the error expected with them.

    Attributes:
        x_factors: one per operand that is an activation.
        weight_factors: shape ``(out,)``; empty where both operands are activations.
        error: expected squared error of an output, in units of the calibrated activation scales
            squared.
    """

    x_factors: Vector
    weight_factors: Vector
    error: float

    @property
    def is_change(self) -> bool:
        """Whether any factor is not 1."""
        return bool((self.x_factors != 1).any() or (self.weight_factors != 1).any())

    def apply_(self, layer: EmulatedSite) -> None:
        """Represent the layer's operands by these scales until it is assigned anew."""
        layer.rescale_(torch.from_numpy(self.x_factors).to(layer.x_scale))
        if isinstance(layer, EmulatedWeightSite):
            layer.rescale_weights_(torch.from_numpy(self.weight_factors).to(layer.weight_factor))


def moved_shares(shares: Vector, factors: Vector = FACTORS) -> tuple[Matrix, Matrix]:
    """Shares of codes, and shares times value in units of the calibrated scale, by factor."""
    return (
        np.stack([rescaled_shares(shares, f) for f in factors]),
        np.stack([rescaled_shares(shares * VALUES, f) for f in factors]),
    )


def best_scales(
    layer: EmulatedSite,
    arithmetic: Arithmetic,
    shares: tuple[Vector, ...],
    *,
    fan_in: int,
    weights: bool,
    corrected: bool,
    tunes: bool,
    counted: CodeCounts | None = None,
) -> Rescaling:
    """The scales of least expected squared error at a site.

    Args:
        layer: the site's layer.
        arithmetic: the multiplier, operand order and rounding to judge.
        shares: how frequent each code of the operands is under the calibrated scales.
        fan_in: products summed into one output.
        weights: the weights' scales too, not the activations' alone.
        corrected: the mean of every channel is removed afterwards.
        tunes: weight codes are replaced afterwards by those of least squared error.
        counted: `code_counts` of the layer, where they are known already.
    """
    if isinstance(layer, EmulatedWeightSite):
        among = FACTORS if weights else FACTORS[:1]
        counted = code_counts(layer) if counted is None else counted
        return _of_weights(
            counted, arithmetic, shares[0], among=among, corrected=corrected, tunes=tunes
        )
    return _of_products(arithmetic, shares, fan_in)


def _of_products(arithmetic: Arithmetic, shares: tuple[Vector, ...], fan_in: int) -> Rescaling:
    table = arithmetic.table.astype(np.float64)
    (x_codes, x_values), (y_codes, y_values) = moved_shares(shares[0]), moved_shares(shares[1])
    scale = FACTORS[:, None] * FACTORS[None]
    values = (shares[0] @ VALUES) * (shares[1] @ VALUES)
    squares = (shares[0] @ VALUES**2) * (shares[1] @ VALUES**2)
    mean = scale * (x_codes @ table @ y_codes.T) - values
    squared = (
        scale**2 * (x_codes @ table**2 @ y_codes.T)
        - 2 * scale * (x_values @ table @ y_values.T)
        + squares
    )
    error = fan_in * np.maximum(squared - mean**2, 0) + (fan_in * mean) ** 2
    row, column = np.unravel_index(int(_least(error.ravel())), error.shape)
    return Rescaling(
        np.array([FACTORS[row], FACTORS[column]]), np.empty(0), float(error[row, column])
    )


def _of_weights(
    counted: CodeCounts,
    arithmetic: Arithmetic,
    shares: Vector,
    *,
    among: Vector,
    corrected: bool,
    tunes: bool,
) -> Rescaling:
    counts, scale = counted
    mean, variance = _moments(arithmetic, shares, among, tunes=tunes)
    error = np.tensordot(counts, variance, axes=(1, 2))
    if not corrected:
        error = error + np.tensordot(counts, mean, axes=(1, 2)) ** 2
    error = error * (scale**2)[:, None, None]
    best = _least(error)  # of `among`, by channel and activation factor
    total = np.take_along_axis(error, best[:, :, None], axis=2)[:, :, 0].mean(axis=0)
    row = int(_least(total))
    return Rescaling(FACTORS[[row]], among[best[:, row]], float(total[row]))


def code_counts(layer: EmulatedWeightSite) -> CodeCounts:
    """How often each code occurs in each channel, shape ``(out, 256)``, and scales ``(out,)``."""
    codes, scale = layer.calibrated_codes()
    rows = codes.flatten(1).cpu().contiguous().view(torch.uint8).numpy().astype(np.int64)
    at = rows + CODES * np.arange(len(rows))[:, None]
    counts = np.bincount(at.ravel(), minlength=CODES * len(rows)).reshape(-1, CODES)
    return counts.astype(np.float64), scale.double().cpu().numpy()


def _moments(
    arithmetic: Arithmetic, shares: Vector, among: Vector, *, tunes: bool
) -> tuple[Matrix, Matrix]:
    """Mean and variance of a product's error, ``[activation factor, weight factor, code]``."""
    table = arithmetic.table.astype(np.float64)
    x_codes, x_values = moved_shares(shares)
    product, squared, cross = x_codes @ table, x_codes @ table**2, x_values @ table
    told_apart = _told_apart(arithmetic)
    mean, square = [], []
    for a, p, s, c in zip(FACTORS, product, squared, cross, strict=True):
        used = np.arange(CODES)
        if tunes:
            # In rows numpy finds minima fast.
            error = a**2 * s[told_apart] - 2 * a * VALUES[:, None] * c[told_apart]
            used = told_apart[error.argmin(axis=1)]
        codes = np.stack([used[rescaled_codes(b)] for b in among])
        scale = a * among[:, None]
        mean.append(scale * p[codes] - (shares @ VALUES) * VALUES)
        square.append(
            scale**2 * s[codes] - 2 * scale * VALUES * c[codes] + (shares @ VALUES**2) * VALUES**2
        )
    means = np.stack(mean)
    return means, np.maximum(np.stack(square) - means**2, 0)


@functools.lru_cache(maxsize=512)
def _told_apart(arithmetic: Arithmetic) -> Rows:
    return CodeClasses.of_table(arithmetic.table).codes


def _least(errors: Matrix) -> npt.NDArray[np.intp]:
    """Where along the last axis the least error is; the first of those equal but for rounding."""
    least: npt.NDArray[np.intp] = (errors <= errors.min(-1, keepdims=True) * (1 + 1e-9)).argmax(-1)
    return least


def expected_error(
    layer: EmulatedSite,
    arithmetic: Arithmetic,
    shares: tuple[Vector, ...],
    *,
    fan_in: int,
    corrected: bool,
    tune: str | None = None,
    rescale: str = "none",
) -> float:
    """Expected squared error of a site's outputs under ``arithmetic``.

    Args:
        layer: the site's layer.
        arithmetic: the multiplier and operand order to judge.
        shares: how frequent each code of the operands is.
        fan_in: products summed into one output.
        corrected: the mean of every channel is removed afterwards.
        tune: criterion by which weight codes would be replaced, or None to leave them.
        rescale: whose scales would be chosen for the circuit: ``none``, ``activations`` or
            ``both``; codes are then replaced by the squared error.
    """
    if rescale != "none":
        return best_scales(
            layer,
            arithmetic,
            shares,
            fan_in=fan_in,
            weights=rescale == "both",
            corrected=corrected,
            tunes=tune is not None,
        ).error
    if not isinstance(layer, EmulatedWeightSite):
        return error_moments(arithmetic, shares[0]).product_error(shares[1], fan_in)
    mapped = None if tune is None else best_weight_map(arithmetic, shares[0], criterion=tune)
    codes, scale = layer.meant_codes()
    return error_moments(arithmetic, shares[0], mapped).layer_error(
        codes, scale, corrected=corrected
    )
