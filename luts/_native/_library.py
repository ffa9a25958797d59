"""Loading the compiled library."""

import ctypes
import functools
import importlib.machinery
import warnings
from pathlib import Path

from luts._native._structures import Lookup, MaxPool, ProductJob


class MissingKernelsWarning(RuntimeWarning):
    """The compiled kernels are not there; everything works, more slowly."""


@functools.cache
def kernels_or_none() -> ctypes.CDLL | None:
    """The compiled library, or None; the first call that finds none says so."""
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_kernels{suffix}")
        if path.exists():
            return _declared(ctypes.CDLL(str(path)))
    warnings.warn(
        "luts was installed without its compiled kernels, so products take the slow path; "
        "to build them, have a C compiler (gcc or clang) and install the package again",
        MissingKernelsWarning,
        stacklevel=3,
    )
    return None


def kernels() -> ctypes.CDLL:
    """The compiled library, which must be there."""
    library = kernels_or_none()
    assert library is not None
    return library


def isa() -> str:
    """Instruction set: amx, avx512, avx2, neon, portable; or none without compiled kernels."""
    library = kernels_or_none()
    return "none" if library is None else str(library.axdse_isa().decode())


def max_depth() -> int:
    """Longest staircase of cut bits that the kernels correct by counting; 0 if they cannot."""
    library = kernels_or_none()
    return 0 if library is None else int(library.axdse_max_depth())


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.axdse_isa.restype = ctypes.c_char_p
    for name in ("max_depth", "job_bytes", "lookup_bytes", "max_pool_bytes"):
        getattr(library, f"axdse_{name}").restype = ctypes.c_int64
    library.axdse_product.argtypes = [ctypes.POINTER(ProductJob)]
    library.axdse_lookup.argtypes = [ctypes.POINTER(Lookup)]
    library.axdse_max_pool.argtypes = [ctypes.POINTER(MaxPool)]
    library.axdse_quantise.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int64,
        ctypes.c_double,
        ctypes.c_void_p,
        ctypes.c_int64,
    ]
    library.axdse_pad.argtypes = [
        ctypes.c_void_p,
        *[ctypes.c_int64] * 6,
        ctypes.c_double,
        ctypes.c_void_p,
        ctypes.c_int64,
    ]
    library.axdse_dequantise.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_double, ctypes.c_void_p, ctypes.c_int64),
        *(ctypes.c_double, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64),
    ]
    library.axdse_dequantise.restype = ctypes.c_int64
    pointer = ctypes.c_void_p
    library.axdse_quantise_rows.argtypes = [
        *(pointer, ctypes.c_int64, ctypes.c_int64, pointer, pointer)
    ]
    size = ctypes.POINTER(ctypes.c_int64)
    library.axdse_packed_size.argtypes = [ctypes.POINTER(ProductJob), size, size]
    library.axdse_pack_layer.argtypes = [
        *(ctypes.POINTER(ProductJob), pointer, size, pointer, pointer, pointer)
    ]
    library.axdse_largest_of_rows.argtypes = [pointer, ctypes.c_int64, ctypes.c_int64, pointer]
    for name in ("quantise_rows", "largest_of_rows", "packed_size", "pack_layer"):
        getattr(library, f"axdse_{name}").restype = None
    for name in ("product", "lookup", "quantise", "pad", "max_pool"):
        getattr(library, f"axdse_{name}").restype = None
    assert library.axdse_job_bytes() == ctypes.sizeof(ProductJob)
    assert library.axdse_lookup_bytes() == ctypes.sizeof(Lookup)
    assert library.axdse_max_pool_bytes() == ctypes.sizeof(MaxPool)
    return library
