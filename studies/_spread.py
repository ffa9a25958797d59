"""How far a mean over seeds can be trusted."""

from collections.abc import Iterable

import numpy as np
from scipy import stats


def half_width(values: Iterable[float]) -> float:
    """Half the 95 % confidence interval of a mean (Student's t); not known of a single value."""
    known = np.asarray([value for value in values if not np.isnan(value)], dtype=np.float64)
    if len(known) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(known) - 1) * stats.sem(known))
