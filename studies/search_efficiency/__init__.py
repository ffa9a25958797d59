"""How many evaluations does each sampler need for the same front?"""

from studies.search_efficiency._cells import (
    EfficiencyStudy,
    Estimator,
    SearchCell,
    SearchedNetwork,
    run_cell,
    screened,
)
from studies.search_efficiency._report import curve

__all__ = [
    "EfficiencyStudy",
    "Estimator",
    "SearchCell",
    "SearchedNetwork",
    "curve",
    "run_cell",
    "screened",
]
