"""Tables as NumPy arrays; nothing in the files is ever unpickled."""

import lzma
import struct
import tokenize
import zipfile
import zlib

import numpy as np
import numpy.typing as npt

from luts.errors import InputError
from luts.loading._layout import RawTable, Request
from luts.text import one_line

BROKEN = (
    *(ValueError, EOFError, LookupError, OverflowError, NotImplementedError, RecursionError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)
"""What NumPy raises for files that are not what their names say."""

MAX_ARRAY_BYTES = 2**24
"""Largest array that is unpacked only to look at its shape."""


def read_npy(request: Request) -> RawTable:
    """One array of 256 × 256 (or 65,536) integers.

    Args:
        request: the file.

    Raises:
        InputError: it is not such an array.
    """
    request.is_signed("")
    try:
        # Mapped, so that a header that promises a huge array allocates nothing.
        array = np.lib.format.open_memmap(request.path, mode="r")
    except BROKEN as error:
        raise InputError(
            f"{request.shown} is not a whole .npy array of numbers: {one_line(error)}"
        ) from error
    end = array.offset + array.nbytes
    if request.path.stat().st_size != end:
        raise InputError(f"{request.shown} goes on after its array, which ends at byte {end:,}")
    return _raw(array, request.shown)


def read_npz(request: Request) -> RawTable:
    """One array out of an archive.

    Args:
        request: the file; the array is `Layout.symbol`, or the only one there is.

    Raises:
        InputError: there is no such array.
    """
    try:
        with zipfile.ZipFile(request.path) as archive:
            sizes = {i.filename.removesuffix(".npy"): i.file_size for i in archive.infolist()}
        symbol = request.choose("array", list(sizes), "an .npz holds a table of 256 × 256 integers")
        if sizes[symbol] > MAX_ARRAY_BYTES:
            raise InputError(
                f"{request.shown}: a table has 65,536 integers; {symbol!r} takes {sizes[symbol]:,} "
                "bytes"
            )
        request.is_signed(symbol)
        with request.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            array = arrays[symbol]
    except InputError:
        raise
    except BROKEN as error:
        told = one_line(error)
        raise InputError(f"{request.shown} is not a whole .npz archive: {told}") from error
    return _raw(array, request.shown)


def _raw(array: npt.NDArray[np.generic], shown: str) -> RawTable:
    if array.shape not in ((256, 256), (65_536,)):
        raise InputError(f"{shown}: a table has shape (256, 256), this array has {array.shape}")
    if array.dtype.kind not in "iu":
        raise InputError(f"{shown}: a table holds integers, this array holds {array.dtype}")
    if array.dtype == np.uint64 and int(array.max()) >= 2**63:
        raise InputError(f"{shown}: a product of 8-bit operands is not {array.max()}")
    products = np.array(array, dtype=np.int64).reshape(256, 256)
    return RawTable(products, by_code=False, bits=16 if array.dtype.itemsize == 2 else None)
