"""Tables as text: 256 rows of 256 products, or rows ``a,b,product``."""

import re

import numpy as np

from luts.errors import InputError
from luts.loading._layout import Int64, RawTable, Request

NumberedRow = tuple[int, list[str]]
"""Line number and cells."""

# Fifteen digits keep any number within int64.
_INTEGER = re.compile(r"([-+]?[0-9]{1,15})(?:\.0*)?")
_SCIENTIFIC = re.compile(r"[-+]?[0-9](?:\.[0-9]{1,25})?[eE][-+]?[0-9]{1,2}")
_HEXADECIMAL = re.compile(r"[-+]?0[xX][0-9a-fA-F]{1,8}")


def read(request: Request) -> RawTable:
    """A matrix, or one row per product; commas, semicolons or blanks between, ``#`` comments.

    A matrix may have a header row and an index column, as pandas writes them; they name the
    operands. Operands in rows ``a,b,product`` are values (−128…127) where one is negative, else
    codes (0…255). A first row of words is a header.

    Args:
        request: the file.

    Raises:
        InputError: a row is missing, double or of another length, or a cell is not an integer.
    """
    signed = request.is_signed("")
    rows = _after_words(_split(request.text()))
    if not rows:
        raise InputError(f"{request.shown} has no rows")
    columns = len(rows[-1][1])
    if columns == 3:
        return RawTable(_from_triples(rows, request.shown, signed=signed), by_code=True)
    if columns == 256:
        cells = _checked(rows, 256, 256, request.shown)
        return RawTable(np.array(cells, dtype=np.int64), by_code=False)
    if columns == 257:
        return RawTable(_from_labelled(rows, request.shown, signed=signed), by_code=True)
    raise InputError(
        f"{request.shown}: a table has 256 rows of 256 products or 65,536 rows a,b,product; "
        f"line {rows[-1][0]} has {columns} columns"
    )


def _split(text: str) -> list[NumberedRow]:
    lines = [line.partition("#")[0].strip(" \r\n") for line in text.splitlines()]
    between = next((c for c in ",;\t" if any(c in line for line in lines)), None)
    rows = ((number, line) for number, line in enumerate(lines, start=1) if line and line.strip())
    return [(number, [cell.strip(' "') for cell in line.split(between)]) for number, line in rows]


def _after_words(rows: list[NumberedRow]) -> list[NumberedRow]:
    """Without the lines of words that a program wrote before the table."""
    if not rows:
        return rows
    columns = len(rows[-1][1])
    first = next((i for i, (_, cells) in enumerate(rows) if len(cells) == columns), 0)
    # A header of a labelled matrix may lack the cell above its labels.
    first -= bool(columns == 257 and first and len(rows[first - 1][1]) == 256)
    is_words = all(not _is_number(cells[0]) for _, cells in rows[:first])
    return rows[first:] if is_words else rows


def _is_number(cell: str) -> bool:
    return any(form.fullmatch(cell) for form in (_INTEGER, _HEXADECIMAL, _SCIENTIFIC))


def _integer(cell: str, line: int, shown: str) -> int:
    match = _INTEGER.fullmatch(cell)
    if match is not None:
        return int(match.group(1))
    if _HEXADECIMAL.fullmatch(cell):
        return int(cell, 16)
    if _SCIENTIFIC.fullmatch(cell) and float(cell).is_integer() and abs(float(cell)) < 1e15:
        return int(float(cell))
    raise InputError(f"{shown}: line {line} holds {cell[:20]!r}, which is not an integer")


def _checked(rows: list[NumberedRow], n_rows: int, n_columns: int, shown: str) -> list[list[int]]:
    for line, cells in rows:
        if len(cells) != n_columns:
            raise InputError(f"{shown}: line {line} has {len(cells)} columns, not {n_columns}")
    if len(rows) != n_rows:
        raise InputError(f"{shown}: the table has {len(rows):,} rows instead of {n_rows:,}")
    return [[_integer(cell, line, shown) for cell in cells] for line, cells in rows]


def _from_labelled(rows: list[NumberedRow], shown: str, *, signed: bool) -> Int64:
    (line, header), *body = rows
    if len(header) == 256:
        header = ["", *header]
    body_cells = _checked(body, 256, 257, shown)
    second = _codes([_integer(cell, line, shown) for cell in header[1:]], shown, signed=signed)
    first = _codes([cells[0] for cells in body_cells], shown, signed=signed)
    if sorted(first) != list(range(256)) or sorted(second) != list(range(256)):
        raise InputError(f"{shown}: the first row and column name each of the 256 operands once")
    table = np.zeros((256, 256), dtype=np.int64)
    table[np.ix_(first, second)] = [cells[1:] for cells in body_cells]
    return table


def _from_triples(rows: list[NumberedRow], shown: str, *, signed: bool) -> Int64:
    if not any(map(_is_number, rows[0][1])):
        rows = rows[1:]
    for line, cells in rows:
        if len(cells) != 3:
            raise InputError(f"{shown}: line {line} has {len(cells)} columns, not a,b,product")
    numbers = [[_integer(cell, line, shown) for cell in cells] for line, cells in rows]
    operands = [number for row in numbers for number in row[:2]]
    codes = _codes(operands, shown, signed=signed)
    seen = np.zeros((256, 256), dtype=np.int64)
    np.add.at(seen, (codes[::2], codes[1::2]), 1)
    for count, word in ((0, "is missing"), (2, "is there twice or more")):
        wrong = np.argwhere(seen == 0 if count == 0 else seen > 1)
        if len(wrong):
            a, b = wrong[0]
            raise InputError(
                f"{shown}: a table has one row for each of 65,536 pairs of operands; the row of "
                f"codes {a},{b} {word} ({len(wrong):,} such pairs)"
            )
    table = np.zeros((256, 256), dtype=np.int64)
    table[codes[::2], codes[1::2]] = [row[2] for row in numbers]
    return table


def _codes(operands: list[int], shown: str, *, signed: bool) -> list[int]:
    lowest, highest = min(operands), max(operands)
    values = signed and lowest < 0
    low, high = (-128, 127) if values else (0, 255)
    if lowest < low or highest > high:
        odd = lowest if lowest < low else highest
        raise InputError(f"{shown}: operands lie in {low}…{high}, not {odd}")
    return [operand % 256 for operand in operands]
