"""Which arrays are worth searching: those that no other one dominates.

A choice is a circuit and which of its ports gets the activation. It is dominated where another
choice has no more power (published, else estimated) and no larger expected squared error in any of
44 cases: 11 pairs of operand distributions, each with operands as they are and with operands
rounded to multiples of what the port ignores, each with the mean error counted and with it taken
away, since a bias correction takes it away for nothing. A circuit stays if one of its two orders is
not dominated.

The distributions: both operands uniform; and each of half-normal activations (σ = 20, 40), half of
them zero and the rest exponential (mean 20, as after a ReLU), normal (σ = 30) and Laplace (b = 15)
activations, with normal (σ = 30) and Laplace (b = 15) weights.
"""

import numpy as np
import numpy.typing as npt

from luts import families
from luts._multiplier import Table, signed_values
from luts.circuits._array import Cuts

Floats = npt.NDArray[np.float64]


def operand_pairs() -> list[tuple[Floats, Floats]]:
    """Probabilities by code of activation and weight, each of shape ``(256,)``: 11 pairs."""
    value = signed_values()
    positive = value >= 0
    normal, laplace = np.exp(-(value**2) / (2 * 30**2)), np.exp(-np.abs(value) / 15)
    exponential = _normed(np.where(positive, np.exp(-value / 20), 0.0))
    activations = [
        np.where(positive, np.exp(-(value**2) / (2 * 40**2)), 0.0),
        np.where(positive, np.exp(-(value**2) / (2 * 20**2)), 0.0),
        exponential / 2 + (value == 0) / 2,
        normal,
        laplace,
    ]
    uniform = np.ones(256)
    pairs = [(uniform, uniform), *((a, w) for a in activations for w in (normal, laplace))]
    return [(_normed(a), _normed(w)) for a, w in pairs]


def _normed(weights: Floats) -> Floats:
    normed: Floats = weights / weights.sum()
    return normed


def rounded_codes(ignored_bits: int) -> npt.NDArray[np.int64]:
    """Each code rounded to the nearest multiple of ``2^ignored_bits``, half to even, saturating."""
    step = 1 << ignored_bits
    nearest = np.round(signed_values() / step).astype(np.int64) * step
    codes: npt.NDArray[np.int64] = np.minimum(nearest, 128 - step) & 255
    return codes


def expected_errors(cuts: Cuts) -> Floats:
    """Expected squared errors of both operand orders, shape ``(2, 44)``."""
    table = families.broken_array(
        break_a=cuts.break_a, break_b=cuts.break_b, break_diagonal=cuts.break_diagonal
    )
    kept = cuts.canonical
    rounded = table[np.ix_(rounded_codes(kept.break_a), rounded_codes(kept.break_b))]
    orders = ((table, rounded), (table.T, rounded.T))
    return np.array([np.concatenate([_errors(fed) for fed in order]) for order in orders])


def _errors(table: Table) -> Floats:
    error = (table - families.exact()).astype(np.float64)
    pairs = operand_pairs()
    squared = np.array([a @ error**2 @ w for a, w in pairs])
    mean = np.array([a @ error @ w for a, w in pairs])
    return np.concatenate([squared, squared - mean**2])


def undominated(power_mw: dict[Cuts, float]) -> set[Cuts]:
    """The circuits of which at least one operand order is not dominated.

    Args:
        power_mw: power of every circuit.
    """
    choices = [(cuts, errors) for cuts in power_mw for errors in expected_errors(cuts)]
    costs = np.array([[power_mw[cuts], *errors] for cuts, errors in choices])
    slack = 1e-9 * (np.abs(costs) + 1e-6)
    kept = set()
    for (cuts, _), cost, slight in zip(choices, costs, slack, strict=True):
        no_worse = (costs <= cost + slight).all(axis=1)
        better = (costs < cost - slight).any(axis=1)
        if not (no_worse & better).any():
            kept.add(cuts)
    return kept
