"""The public names of `luts`, in one module that is imported when the first is used."""

from luts import families
from luts._arithmetic import Arithmetic, rounded_codes
from luts._catalog import Catalog, Recognition, UnknownMultiplierError, catalog, evoapprox_catalog
from luts._error_metrics import ErrorMetrics, error_metrics
from luts._evoapprox import EXACT
from luts._factorisation import Factorisation, factorise
from luts._geometry import Geometry
from luts._ignored_bits import ignored_bits
from luts._matmul import matmul, matmul_reference
from luts._multiplier import FIGURES, MAX_K, Multiplier
from luts._native import MissingKernelsWarning, isa, scalar_loop
from luts._pool import max_pool
from luts._quantise import MAX_CODE, Dequantised, largest_magnitudes, quantise
from luts._select import Selection, check_sum, select
from luts._selftest import check_machine
from luts._task import Emitted, Epilogue, Scaling, Task
from luts.errors import InputError
from luts.loading import Imported, Layout, MismatchWarning, load

__all__ = [
    "EXACT",
    "FIGURES",
    "MAX_CODE",
    "MAX_K",
    "Arithmetic",
    "Catalog",
    "Dequantised",
    "Emitted",
    "Epilogue",
    "ErrorMetrics",
    "Factorisation",
    "Geometry",
    "Imported",
    "InputError",
    "Layout",
    "MismatchWarning",
    "MissingKernelsWarning",
    "Multiplier",
    "Recognition",
    "Scaling",
    "Selection",
    "Task",
    "UnknownMultiplierError",
    "catalog",
    "check_machine",
    "check_sum",
    "error_metrics",
    "evoapprox_catalog",
    "factorise",
    "families",
    "ignored_bits",
    "isa",
    "largest_magnitudes",
    "load",
    "matmul",
    "matmul_reference",
    "max_pool",
    "quantise",
    "rounded_codes",
    "scalar_loop",
    "select",
]
