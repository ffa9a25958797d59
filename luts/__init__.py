"""Multipliers: what they are, what they cost, and how to multiply with them fast."""

from luts import families
from luts._arithmetic import Arithmetic
from luts._catalog import Catalog, UnknownMultiplierError, catalog, evoapprox_catalog
from luts._error_metrics import ErrorMetrics, error_metrics
from luts._evoapprox import EXACT
from luts._factorisation import Factorisation, factorise
from luts._matmul import Selection, matmul, matmul_reference, select
from luts._multiplier import Multiplier
from luts.errors import InputError

__all__ = [
    "EXACT",
    "Arithmetic",
    "Catalog",
    "ErrorMetrics",
    "Factorisation",
    "InputError",
    "Multiplier",
    "Selection",
    "UnknownMultiplierError",
    "catalog",
    "error_metrics",
    "evoapprox_catalog",
    "factorise",
    "families",
    "matmul",
    "matmul_reference",
    "select",
]
