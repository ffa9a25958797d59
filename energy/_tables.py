"""Tables of figures in CSV files: units in the headers, a source in every row.

Two kinds, told apart by their header: ``multiplier,power_mw,area_um2,delay_ns,source`` and
``operation,bits,energy_pj,source``.
"""

import csv
import dataclasses
import io
import math
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path

from luts.errors import InputError, suggest

PUBLISHED_OPERATIONS = "tables/operations_45nm.csv"

MULTIPLIER_COLUMNS = {"power_mw": "milliwatt", "area_um2": "square micrometre", "delay_ns": "ns"}
OPERATION_COLUMNS = {"bits": "bit", "energy_pj": "picojoule"}
_KINDS: dict[str, dict[str, str]] = {
    "multiplier": MULTIPLIER_COLUMNS,
    "operation": OPERATION_COLUMNS,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        kind: ``multiplier`` or ``operation``.
        name: of the multiplier or operation.
        numbers: value of each column with a unit, by its header.
        source: where the figures come from.
    """

    kind: str
    name: str
    numbers: Mapping[str, float]
    source: str


def published_operations() -> list[Row]:
    """Rows of the shipped table of 45 nm energies."""
    text = resources.files("energy").joinpath(PUBLISHED_OPERATIONS).read_text(encoding="utf-8")
    return parse(text, PUBLISHED_OPERATIONS, known_multipliers=())


def read(path: Path, *, known_multipliers: Iterable[str]) -> list[Row]:
    """Rows of a user's table.

    Raises:
        InputError: the file cannot be read, or has faults; all of them, each with its line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the figures {path}: {error}") from error
    try:
        return parse(text, str(path), known_multipliers=known_multipliers)
    except csv.Error as error:
        raise InputError(f"{path} is no table in CSV: {error}") from error


def parse(text: str, where: str, *, known_multipliers: Iterable[str]) -> list[Row]:
    """Rows of a table in CSV text.

    Args:
        text: the table.
        where: what to call it in messages.
        known_multipliers: names that a table of multipliers may give figures for.

    Raises:
        InputError: the table has faults; all of them, each with its line.
    """
    reader = csv.DictReader(io.StringIO(text), restkey="", restval="", skipinitialspace=True)
    header = [" ".join((column or "").split()) for column in reader.fieldnames or []]
    reader.fieldnames = header
    kind = next((k for k in _KINDS if k in header), None)
    if kind is None:
        raise InputError(
            f"{where}: line 1: a table of figures has a column 'multiplier' or 'operation', "
            f"not only {', '.join(header) or 'nothing'}"
        )
    faults = [(1, fault) for fault in _header_faults(kind, header)]
    known = list(known_multipliers)
    rows: list[Row] = []
    for record in reader:
        row, in_row = _row(kind, record, known)
        faults += [(reader.line_num, fault) for fault in in_row]
        if any(row.name == earlier.name for earlier in rows):
            faults.append((reader.line_num, f"{row.name} has figures already, further up"))
        rows.append(row)
    if not rows:
        faults.append((1, "no figures below the header"))
    if faults:
        listed = "; ".join(f"line {line}: {fault}" for line, fault in faults)
        raise InputError(f"{where}: {listed}")
    return rows


def _header_faults(kind: str, header: list[str]) -> list[str]:
    needed = [kind, *_KINDS[kind], "source"]
    faults = []
    for column in header:
        if column in needed:
            continue
        meant = [name for name in needed if name.split("_")[0] == column.split("_")[0]]
        if meant:
            faults.append(f"column {column!r} needs its unit in its name: {meant[0]}")
        else:
            faults.append(f"unknown column {column!r}, columns are {', '.join(needed)}")
    named = {column.split("_")[0] for column in header}
    faults += [f"no column {c!r}" for c in needed if c.split("_")[0] not in named]
    faults += [f"column {c!r} occurs twice" for c in needed if header.count(c) > 1]
    return faults


def _row(kind: str, record: dict[str, str], known: list[str]) -> tuple[Row, list[str]]:
    faults = []
    if record.pop("", None):
        faults.append("more values than columns")
    name = " ".join((record.get(kind) or "").split())
    if not name:
        faults.append(f"no value for {kind}")
    elif kind == "multiplier" and name not in known:
        faults.append(f"unknown multiplier {name!r}, {suggest(name, known)}")
    numbers = {}
    for column in _KINDS[kind]:
        if column in record:
            check = _whole if column == "bits" else _positive
            try:
                numbers[column] = check(record[column].strip())
            except ValueError as fault:
                faults.append(f"{column} {fault}")
    source = (record.get("source") or "").strip()
    if "source" in record and not source:
        faults.append("no source: say where the figures come from")
    return Row(kind, name, numbers, source), faults


def _positive(text: str, convert: Callable[[str], float] = float) -> float:
    if not text:
        raise ValueError("has no value")
    try:
        value = convert(text)
    except ValueError:
        raise ValueError(f"is a positive number, not {text!r}") from None
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"is a positive number, not {text}")
    return value


def _whole(text: str) -> float:
    return _positive(text, int)
