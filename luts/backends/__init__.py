"""Ways to compute with a multiplier; one module each, all exact.

A backend is a module-level object with the interface of `Backend`. `luts.select` asks them in order
and takes the first that can.
"""

from luts.backends._base import Backend, MatrixBackend
from luts.backends._float32 import FLOAT32
from luts.backends._int8 import INT8
from luts.backends._lookup import LOOKUP
from luts.backends._native import NATIVE
from luts.backends._reference import REFERENCE
from luts.backends._triton import TRITON

BACKENDS: tuple[Backend, ...] = (NATIVE, INT8, FLOAT32, LOOKUP, TRITON, REFERENCE)
"""Every backend, the preferred first."""

__all__ = [
    "BACKENDS",
    "FLOAT32",
    "INT8",
    "LOOKUP",
    "NATIVE",
    "REFERENCE",
    "TRITON",
    "Backend",
    "MatrixBackend",
]
