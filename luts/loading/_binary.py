"""Tables as raw integers, row by row, little-endian."""

import numpy as np

from luts.errors import InputError
from luts.loading._layout import RawTable, Request


def read(request: Request) -> RawTable:
    """65,536 integers of 16 or 32 bits; the file's size says which.

    Args:
        request: the file.

    Raises:
        InputError: the file has another size.
    """
    request.is_signed("")
    data = request.path.read_bytes()
    if len(data) not in (2 * 65_536, 4 * 65_536):
        raise InputError(
            f"{request.shown}: a raw table has 131,072 bytes (16-bit) or 262,144 bytes (32-bit); "
            f"this file has {len(data):,}"
        )
    kind = "<i2" if len(data) == 2 * 65_536 else "<i4"
    products = np.frombuffer(data, dtype=kind).astype(np.int64).reshape(256, 256)
    return RawTable(products, by_code=False, bits=16 if kind == "<i2" else None)
