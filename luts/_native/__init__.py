"""The compiled kernels: loaded at first use, never built then."""

from luts._native._dequantise import native_dequantised
from luts._native._library import MissingKernelsWarning, isa, kernels_or_none, max_depth
from luts._native._lookup import native_lookup, native_pad, scalar_loop
from luts._native._pack import native_largest_of_rows, native_quantise_rows
from luts._native._pool import native_max_pool
from luts._native._product import (
    Packed,
    native_batched,
    native_emit,
    native_layer,
    native_pack,
    native_quantise,
)

__all__ = [
    "MissingKernelsWarning",
    "Packed",
    "isa",
    "kernels_or_none",
    "max_depth",
    "native_batched",
    "native_dequantised",
    "native_emit",
    "native_largest_of_rows",
    "native_layer",
    "native_lookup",
    "native_max_pool",
    "native_pack",
    "native_pad",
    "native_quantise",
    "native_quantise_rows",
    "scalar_loop",
]
