"""The compiled kernels: found, never built, at first use."""

from luts._native._library import MissingKernelsWarning, isa, kernels, kernels_or_none, max_depth
from luts._native._structures import Job, Lookup

__all__ = ["Job", "Lookup", "MissingKernelsWarning", "isa", "kernels", "kernels_or_none", "max_depth"]
