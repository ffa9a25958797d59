"""Tables as C arrays: ``const int16_t lut[256][256] = {{…}, …};``."""

import re

import numpy as np

from luts.errors import InputError
from luts.loading._layout import RawTable, Request, without_comments, words_before

_ARRAY = re.compile(r"\b([A-Za-z_]\w*)\s*(?:\[[^\]\[{};=]*\]\s*)+=\s*(?=\{)")
# No octal numbers: 017 is as likely to be meant as 17.
_INTEGER = re.compile(r"\s*(-?)\s*(0[xX][0-9a-fA-F]{1,8}|0|[1-9][0-9]{0,9})[uUlL]{0,3}\s*")
_SIXTEEN_BITS = {"int16_t", "uint16_t", "short"}


def read(request: Request) -> RawTable:
    """The array of a header file.

    Args:
        request: the file; the array is `Layout.symbol`, or the only one there is.

    Raises:
        InputError: there is not exactly one array of 256 rows of 256 integers (or of 65,536
            integers).
    """
    text = without_comments(request.text())
    arrays = {match.group(1): match for match in _ARRAY.finditer(text)}
    hint = "a table looks like `const int16_t lut[256][256] = {{0, …}, …};`"
    symbol = request.choose("array", list(arrays), hint)
    request.is_signed(symbol)
    match = arrays[symbol]
    rows = _rows(_braced(text, match.end(), request.shown), request.shown)
    bits = 16 if _SIXTEEN_BITS & set(words_before(text, match.start())) else None
    return RawTable(rows, by_code=False, bits=bits)


def _braced(text: str, start: int, shown: str) -> str:
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return text[start + 1 : match.start()]
    raise InputError(f"{shown}: the array does not end; the file is truncated")


def _rows(body: str, shown: str) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    nested = "{" in body
    rows = re.findall(r"\{([^{}]*)\}", body) if nested else [body]
    if nested and re.sub(r"\{[^{}]*\}|[,\s]", "", body):
        raise InputError(f"{shown}: a table is an array of rows of integers, nested no deeper")
    expected = 256 if nested else 65_536
    if nested and len(rows) != 256:
        raise InputError(f"{shown}: a table has 256 rows, this one has {len(rows)}")
    products = []
    for number, row in enumerate(rows):
        numbers = [_integer(token, number, shown) for token in row.rstrip().rstrip(",").split(",")]
        if len(numbers) != expected:
            what = f"row {number}" if nested else "the array"
            raise InputError(f"{shown}: {what} has {len(numbers)} numbers instead of {expected}")
        products.append(numbers)
    return np.array(products, dtype=np.int64).reshape(256, 256)


def _integer(token: str, row: int, shown: str) -> int:
    match = _INTEGER.fullmatch(token)
    if match is None:
        raise InputError(
            f"{shown}: row {row} holds {token.strip()[:20]!r}, which is not an integer"
        )
    return int(match.group(1) + match.group(2), 0)
