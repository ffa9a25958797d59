"""`expected_error` of every site under hundreds of choices at once.

What one choice at one site takes is products of the site's histogram with the truth table. Here
each table meets the histograms of all sites together, weight codes are tuned among those alone that
the circuit tells apart, and sites of equal histograms are done once.
"""

import dataclasses
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from luts import Arithmetic
from models.emulation._code_classes import CodeClasses, Rows
from models.emulation._emulate import EmulatedNetwork
from models.emulation._expected import CODES, VALUES, Histograms, Vector
from models.emulation._layers import EmulatedWeightSite
from models.emulation._rescale import FACTORS, code_counts, moved_shares

Matrix = npt.NDArray[np.float64]

TIE = 5e-7
"""Errors of a product that differ by less are ties: the code that is meant is then kept."""


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorTable:
    """Expected squared errors of sites' outputs.

    Attributes:
        sites: names; those that no histogram is known of are left out.
        errors: as `expected_error`, float64 of shape ``(sites, arithmetics)``.
        signals: the same of a circuit whose every product is 0, shape ``(sites,)``: the square of
            the outputs themselves, in the same units.
    """

    sites: tuple[str, ...]
    errors: Matrix
    signals: Vector

    @property
    def relative(self) -> Matrix:
        """Errors in parts of the output's own square, comparable from site to site."""
        ratio: Matrix = self.errors / np.maximum(self.signals, 1e-300)[:, None]
        return ratio


def expected_errors(
    emulated: EmulatedNetwork,
    histograms: Histograms,
    arithmetics: Sequence[Arithmetic],
    *,
    corrected: Collection[str] = (),
    tune: str | None = None,
    rescale: str = "none",
) -> ErrorTable:
    """Expected squared error of every site's outputs under each of ``arithmetics``.

    Args:
        emulated: the network with the codes that are meant; it is left as it is.
        histograms: from `code_histograms`.
        arithmetics: what is judged.
        corrected: names of the sites whose channel means are removed afterwards.
        tune: criterion by which weight codes will be replaced, or None if they will not be.
        rescale: whose scales will be chosen for the circuit: ``none``, ``activations`` or
            ``both``; weights are taken to keep theirs even then.
    """
    known = [site for site in emulated.sites if site.name in histograms]
    factors = FACTORS if rescale != "none" else FACTORS[:1]
    activations = _Activations.of([histograms[site.name][0] for site in known], factors)
    judges: list[_Weights | _Products] = []
    for site in known:
        layer = emulated.layer(site.name)
        if isinstance(layer, EmulatedWeightSite):
            judges.append(_Weights.of(layer, keeps_mean=site.name not in corrected))
        else:
            judges.append(_Products.of(histograms[site.name][1], factors, site.fan_in))
    nothing = np.zeros((CODES, CODES))
    tables = [*(a.table.astype(np.float64) for a in arithmetics), nothing]
    errors = np.stack([_errors(table, activations, judges, tune) for table in tables], axis=1)
    return ErrorTable(tuple(site.name for site in known), errors[:, :-1], errors[:, -1])


@dataclasses.dataclass(frozen=True, eq=False)
class _Activations:
    """Different histograms under every factor of their scale, one row each.

    Attributes:
        row: of each site's histogram under the calibrated scale; its other factors follow.
        factors: rows of each.
        factor: shape ``(rows, 1)``.
        codes: shares of codes, shape ``(rows, 256)``.
        values: shares times value in units of the calibrated scale, likewise.
        mean: of the value, shape ``(rows, 1)``.
        square: of the value, shape ``(rows, 1)``.
    """

    row: Rows
    factors: int
    factor: Matrix
    codes: Matrix
    values: Matrix
    mean: Matrix
    square: Matrix

    @classmethod
    def of(cls, shares: Sequence[Vector], factors: Vector) -> "_Activations":
        unique, row = np.unique(np.stack(shares), axis=0, return_inverse=True)
        moved = [moved_shares(one, factors) for one in unique]
        return cls(
            row=row.reshape(-1) * len(factors),
            factors=len(factors),
            factor=np.tile(factors, len(unique))[:, None],
            codes=np.concatenate([codes for codes, _ in moved]),
            values=np.concatenate([values for _, values in moved]),
            mean=np.repeat(unique @ VALUES, len(factors))[:, None],
            square=np.repeat(unique @ VALUES**2, len(factors))[:, None],
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Moments:
    """Of a table's products ``P`` over the activations ``x``, by row and code, ``(rows, 256)``.

    Attributes:
        product: ``E[P]`` in units of the calibrated scale.
        squared: ``E[P²]``.
        cross: ``E[P·x]``.
        of: the activations.
    """

    product: Matrix
    squared: Matrix
    cross: Matrix
    of: _Activations

    @classmethod
    def under(cls, table: Matrix, activations: _Activations) -> "_Moments":
        factor = activations.factor
        return cls(
            factor * (activations.codes @ table),
            factor**2 * (activations.codes @ table**2),
            factor * (activations.values @ table),
            activations,
        )

    def at(self, codes: npt.NDArray[np.intp]) -> tuple[Matrix, Matrix]:
        """Mean and square of the error of every code that is meant, if ``codes`` stand for them."""
        product, squared, cross = (
            np.take_along_axis(one, codes, axis=1)
            for one in (self.product, self.squared, self.cross)
        )
        mean = product - self.of.mean * VALUES
        square = squared - 2 * cross * VALUES + self.of.square * VALUES**2
        return mean, np.maximum(square, 0)

    def best_codes(self, classes: CodeClasses, criterion: str) -> Rows:
        """`best_weight_map` of every row, shape ``(rows, 256)``: a code itself where it ties.

        Whatever the criterion, the error is linear in the value that is meant, but for a term that
        all codes have in common.
        """
        product, squared, cross = (
            np.ascontiguousarray(one[:, classes.codes])
            for one in (self.product, self.squared, self.cross)
        )
        level, slope = squared, cross
        if criterion != "squared":
            level, slope = product**2, product * self.of.mean
        if criterion == "centred":
            level, slope = squared - level, cross - slope
        chosen = np.tile(np.arange(CODES), (len(level), 1))
        row, error = np.arange(len(level)), np.empty_like(level)
        for code in np.flatnonzero(classes.of >= 0):
            # One code at a time stays in the cache, and numpy finds minima fast in rows alone.
            np.multiply(slope, -2 * VALUES[code], out=error)
            np.add(error, level, out=error)
            best = error.argmin(axis=1)
            differs = error[:, classes.of[code]] > error[row, best] + TIE
            chosen[differs, code] = classes.codes[best[differs]]
        return chosen


@dataclasses.dataclass(frozen=True, eq=False)
class _Weights:
    """How a layer's output adds up the errors of its products.

    Attributes:
        counts: by channel and code, in units of the channel's scale, shape ``(channels, 256)``; of
            no channel if channel means are removed afterwards.
        total: squares of the scales times counts, mean over channels, shape ``(256,)``.
    """

    counts: Matrix
    total: Vector

    @classmethod
    def of(cls, layer: EmulatedWeightSite, *, keeps_mean: bool) -> "_Weights":
        counts, scale = code_counts(layer)
        total = (counts * (scale**2)[:, None]).mean(axis=0)
        return cls(counts * scale[:, None] if keeps_mean else counts[:0], total)

    def error(self, mean: Matrix, squared: Matrix) -> float:
        """Least expected squared error of the output among rows of ``(rows, 256)`` moments."""
        error = np.maximum(squared - mean**2, 0) @ self.total
        if len(self.counts):
            error = error + ((mean @ self.counts.T) ** 2).mean(axis=1)
        return float(error.min())


@dataclasses.dataclass(frozen=True, eq=False)
class _Products:
    """The same of products of two activations.

    Attributes:
        codes: shares of the second operand's codes times the factor of its scale, a column for
            each factor, shape ``(256, factors)``.
        squares: those times the factor squared.
        values: shares times value, times the factor.
        mean: of its value.
        square: of its value.
        fan_in: products summed into one output.
    """

    codes: Matrix
    squares: Matrix
    values: Matrix
    mean: float
    square: float
    fan_in: int

    @classmethod
    def of(cls, shares: Vector, factors: Vector, fan_in: int) -> "_Products":
        codes, values = moved_shares(shares, factors)
        factor = factors[:, None]
        return cls(
            (factor * codes).T,
            (factor**2 * codes).T,
            (factor * values).T,
            float(shares @ VALUES),
            float(shares @ VALUES**2),
            fan_in,
        )

    def error(self, moments: _Moments, rows: slice) -> float:
        """As `ErrorMoments.product_error`, under the best of all scales."""
        product, squared, cross = (
            one[rows] for one in (moments.product, moments.squared, moments.cross)
        )
        mean = product @ self.codes - moments.of.mean[rows] * self.mean
        square = squared @ self.squares - 2 * cross @ self.values
        square += moments.of.square[rows] * self.square
        variance = np.maximum(square - mean**2, 0)
        return float((self.fan_in * variance + (self.fan_in * mean) ** 2).min())


def _errors(
    table: Matrix,
    activations: _Activations,
    judges: Sequence[_Weights | _Products],
    tune: str | None,
) -> Vector:
    """Of one table, shape ``(sites,)``."""
    moments = _Moments.under(table, activations)
    used = np.tile(np.arange(CODES), (len(moments.product), 1))
    if tune is not None and any(isinstance(judge, _Weights) for judge in judges):
        used = moments.best_codes(CodeClasses.of_table(table), tune)
    mean, squared = moments.at(used)
    errors = np.empty(len(judges))
    for site, (judge, first) in enumerate(zip(judges, activations.row, strict=True)):
        rows = slice(first, first + activations.factors)
        if isinstance(judge, _Weights):
            errors[site] = judge.error(mean[rows], squared[rows])
        else:
            errors[site] = judge.error(moments, rows)
    return errors
