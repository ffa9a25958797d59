"""Error metrics of a truth table over uniformly distributed operands."""

import dataclasses

import numpy as np

from luts._multiplier import Multiplier


@dataclasses.dataclass(frozen=True)
class ErrorMetrics:
    """How far a multiplier's products lie from the exact ones, over all 65,536 operand pairs.

    Definitions as in EvoApproxLib's headers, error = approximate − exact.

    Attributes:
        mae: mean absolute error.
        mae_pct: `mae` as a percentage of 2^16.
        wce: worst-case (largest absolute) error.
        ep_pct: error probability, percentage of wrong products.
        mse: mean squared error.
        mre_pct: mean of |error| / |exact product| over the products that are not zero, in percent.
        bias: mean error.
    """

    mae: float
    mae_pct: float
    wce: int
    ep_pct: float
    mse: float
    mre_pct: float
    bias: float


def error_metrics(multiplier: Multiplier) -> ErrorMetrics:
    """Error metrics of ``multiplier`` over uniform operands."""
    values = multiplier.values
    exact = np.multiply.outer(values, values)
    error = multiplier.truth_table.astype(np.int64) - exact
    nonzero = exact != 0
    relative = np.abs(error[nonzero]) / np.abs(exact[nonzero])
    return ErrorMetrics(
        mae=float(np.abs(error).mean()),
        mae_pct=float(np.abs(error).mean() / 2**16 * 100),
        wce=int(np.abs(error).max()),
        ep_pct=float((error != 0).mean() * 100),
        mse=float((error**2).mean()),
        mre_pct=float(relative.mean() * 100),
        bias=float(error.mean()),
    )
