"""Ways to compute a matrix product with a multiplier; one module each, all exact.

A backend is a module-level object with the interface of `Backend`. `choose` asks them in order and
takes the first that can.
"""

from luts.backends._base import Backend
from luts.backends._float32 import FLOAT32
from luts.backends._int8 import INT8
from luts.backends._reference import REFERENCE

BACKENDS: tuple[Backend, ...] = (INT8, FLOAT32, REFERENCE)
"""Every backend, the preferred first."""

__all__ = ["BACKENDS", "FLOAT32", "INT8", "REFERENCE", "Backend"]
