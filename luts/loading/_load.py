"""Read any supported file into a `Multiplier`."""

import dataclasses
import functools
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np

from luts._catalog import catalog
from luts._multiplier import (
    FiguresError,
    Multiplier,
    Table,
    VerilogModule,
    signed_values,
    table_sha256,
)
from luts.circuits import (
    FigureEstimate,
    Netlist,
    array_netlist,
    cuts_of_table,
    estimate,
)
from luts.errors import InputError
from luts.loading import _arrays, _binary, _c, _csv, _header, _verilog
from luts.loading._layout import Int64, Layout, RawTable, Request
from luts.loading._promise import check_name, check_table

READERS: dict[str, Callable[[Request], RawTable]] = {
    ".c": _c.read,
    ".h": _header.read,
    ".cuh": _header.read,
    ".hpp": _header.read,
    ".npy": _arrays.read_npy,
    ".npz": _arrays.read_npz,
    ".csv": _csv.read,
    ".txt": _csv.read,
    ".dat": _csv.read,
    ".bin": _binary.read,
    ".raw": _binary.read,
    ".v": _verilog.read,
    ".sv": _verilog.read,
}
"""Reader of each file name extension."""

VERILOG = (".v", ".sv")
TEXT = (".c", ".h", ".cuh", ".hpp", ".csv", ".txt", ".dat", ".v", ".sv")

MAX_BYTES = 64 * 2**20
"""Largest file that can be a multiplier's; EvoApproxLib's largest has 40 kB, a table 0.5 MB."""

FIGURES = {"power_mw": ("PDK45_PWR", "mW"), "area_um2": ("PDK45_AREA", "um2")} | {
    "delay_ns": ("PDK45_DELAY", "ns")
}
"""Keyword, and its name and unit in EvoApproxLib's comment block."""


class MismatchWarning(UserWarning):
    """A file's name promises a known circuit and its table is another."""


@dataclasses.dataclass(frozen=True, eq=False)
class Imported:
    """What a file says: a table, and the figures it gives.

    Attributes:
        name: the name given, else the file's without its extension.
        table: int64 of shape ``(256, 256)``, ``[first_code, second_code]``.
        signed: whether codes are two's complement numbers.
        figures: ``power_mw``, ``area_um2`` and ``delay_ns`` as far as the file gives them.
        source: where it comes from.
        netlist: gives the circuit's netlist, or None where it cannot; absent for a mere table.
        verilog: the circuit in Verilog, where the file is that.
    """

    name: str
    table: Int64
    signed: bool
    figures: dict[str, float]
    source: str
    netlist: Callable[[], Netlist | None] | None = None
    verilog: VerilogModule | None = None

    def estimate(self) -> FigureEstimate | None:
        """Figures estimated from the netlist, or None where the file gives none.

        A circuit in Verilog has a netlist where it is a flat one of known adders and gates, or
        where Yosys is installed.
        """
        netlist = self.circuit
        if netlist is None or not netlist.cells:
            return None
        return estimate(netlist, is_array=self._is_array(netlist))

    @functools.cached_property
    def circuit(self) -> Netlist | None:
        """The netlist that `netlist` gives, made once."""
        return self.netlist() if self.netlist else None

    def _is_array(self, netlist: Netlist) -> bool:
        """Whether the circuit is a member of the family cell for cell, not in its table alone."""
        table = Multiplier(self.name, cast(Table, self.table), 1, 1, 1, "", signed=self.signed)
        cuts = cuts_of_table(table.sha256)
        return cuts is not None and array_netlist(cuts).counts == netlist.counts

    def multiplier(self, **figures: float) -> Multiplier:
        """The multiplier with `figures`: those given here, then the file's, then estimates.

        Raises:
            InputError: a figure is not given, not in the file and cannot be estimated, or the table
                is not a multiplier's.
        """
        known = self.figures | figures
        missing = [figure for figure in FIGURES if figure not in known]
        estimated = self.estimate() if missing else None
        if estimated:
            known |= {figure: getattr(estimated, figure) for figure in missing}
        # Made first: that the table is wrong matters more than that a figure is missing.
        multiplier = Multiplier(
            name=self.name,
            truth_table=cast(Table, self.table),  # it checks the range, then narrows to int32
            power_mw=known.get("power_mw", 1.0),
            area_um2=known.get("area_um2", 1.0),
            delay_ns=known.get("delay_ns", 1.0),
            source=self.source,
            signed=self.signed,
            figures_from="estimated" if estimated else "given" if figures else "published",
            figures_error_pct=_error_of(estimated, missing),
            verilog=self.verilog,
            netlist=self.circuit,
        )
        if missing and not estimated:
            given = ", ".join(f"{figure}=…" for figure in missing)
            raise InputError(
                f"the file of {self.name} does not give {' and '.join(missing)}; "
                f"give {given} with it{_hint(multiplier, missing)}"
            )
        return multiplier


def _exchanged(give: Callable[[], Netlist | None] | None) -> Callable[[], Netlist | None] | None:
    if give is None:
        return None

    def exchanged() -> Netlist | None:
        netlist = give()
        return None if netlist is None else netlist.with_exchanged_inputs()

    return exchanged


def _error_of(estimated: FigureEstimate | None, figures: list[str]) -> FiguresError | None:
    if estimated is None:
        return None
    return FiguresError(**{figure: getattr(estimated.error, figure) for figure in figures})


def _hint(multiplier: Multiplier, missing: list[str]) -> str:
    published = catalog.recognise(multiplier)
    if published is None:
        return ""
    figures = ", ".join(f"{figure}={getattr(published.known, figure)}" for figure in missing)
    how = published.known.figures_from
    return f" (its table is that of {published}, {how} with {figures})"


def load(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    signed: bool | None = None,
    power_mw: float | None = None,
    area_um2: float | None = None,
    delay_ns: float | None = None,
    source: str | None = None,
    layout: Layout | None = None,
) -> Multiplier:
    """Read a multiplier from a file; `luts.catalog.add` then makes its name known.

    ====================  ======================================================================
    ``.c``                one function of two integers, EvoApproxLib's files as they are; compiled
                          and run over all operands in a process of its own that writes no file and,
                          where the system offers it, has no network
    ``.v .sv``            a combinational module with two 8-bit inputs and an output; needs
                          ``iverilog`` or ``yosys`` on the PATH, unless it is a flat netlist of
                          known cells (EvoApproxLib's ``*_pdk45.v``, `luts.rtl`)
    ``.h .cuh .hpp``      a table as a C array, as AdaPT and TransAxx have them
    ``.npy .npz``         an array of 256 × 256 integers
    ``.csv .txt .dat``    256 rows of 256 products, or 65,536 rows ``a,b,product``
    ``.bin .raw``         65,536 little-endian 16-bit or 32-bit integers, row by row
    ====================  ======================================================================

    Args:
        path: the file; its extension says the format.
        name: the multiplier's name; else the file's without its extension.
        signed: whether operands are two's complement; else ``mul8s_`` or ``mul8u_`` in the name
            (or in the file's, or in that of the function, module or array) says it, or types that
            are signed (``int8_t`` in C, ``signed`` in Verilog).
        power_mw: power in milliwatt; else from a comment block ``PDK45_PWR = 0.3 mW``, else
            estimated from a Verilog file's netlist (which takes ``yosys`` unless it is flat).
        area_um2: area in square micrometre; else from ``PDK45_AREA = 558.9 um2``, else estimated.
        delay_ns: delay in nanosecond; else from ``PDK45_DELAY = 1.36 ns``, else estimated.
        source: where table and figures come from; else the file's name.
        layout: how to read what the file does not say.

    Returns:
        The multiplier. It is not added to the catalogue.

    Warns:
        MismatchWarning: the name is that of a known circuit which has another table.

    Raises:
        InputError: the file is not there, is not a multiplier of a supported format, or leaves open
            something that only the caller can say.
    """
    imported = read(path, name=name, signed=signed, source=source, layout=layout)
    given = {"power_mw": power_mw, "area_um2": area_um2, "delay_ns": delay_ns}
    multiplier = imported.multiplier(**{k: v for k, v in given.items() if v is not None})
    complaint = catalog.broken_promise(multiplier)
    if complaint:
        warnings.warn(complaint, MismatchWarning, stacklevel=2)
    return multiplier


def read(
    path: str | os.PathLike[str],
    *,
    name: str | None = None,
    signed: bool | None = None,
    source: str | None = None,
    layout: Layout | None = None,
) -> Imported:
    """Read a file as `load` does, and leave open what figures it lacks.

    Args:
        path: the file.
        name: as for `load`.
        signed: as for `load`.
        source: as for `load`.
        layout: as for `load`.

    Raises:
        InputError: as `load`, but for missing figures.
    """
    file, layout = _checked(Path(path)), layout or Layout()
    if (layout.parameters or layout.ties) and file.suffix.lower() not in VERILOG:
        raise InputError(
            f"{file.name} is no Verilog: parameters and inputs to hold constant say nothing of it"
        )
    chosen: list[bool] = []

    def decide(symbol: str, declared: bool) -> bool:
        for said in () if layout.trust else (name or "", file.stem, symbol):
            check_name(said, file.name)
        chosen.append(_signedness(signed, name, file, symbol, declared=declared))
        return chosen[-1]

    try:
        raw = READERS[file.suffix.lower()](Request(file, layout, decide))
        text = file.read_bytes().decode("utf-8", "replace") if file.suffix.lower() in TEXT else ""
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror or error}") from error
    table = _by_code(raw, chosen[-1], layout, file.name)
    if not layout.trust:
        check_table(table, table_sha256(table, signed=chosen[-1]), file.name, signed=chosen[-1])
    library = "EvoApproxLib, " if "EvoApproxLib" in text else ""
    notes = "".join(f", {note}" for note in (raw.note, "trusted" * layout.trust) if note)
    return Imported(
        name=name if name is not None else file.stem.strip(),
        table=table.T if layout.swap_operands else table,
        signed=chosen[-1],
        figures=_figures(text),
        netlist=_exchanged(raw.netlist) if layout.swap_operands else raw.netlist,
        verilog=_in_order(raw.verilog, layout),
        source=(source or f"{library}file {file.name}") + notes,
    )


def _in_order(verilog: VerilogModule | None, layout: Layout) -> VerilogModule | None:
    """The module with its ports in the order of the table."""
    if verilog is None or not layout.swap_operands:
        return verilog
    return dataclasses.replace(verilog, first=verilog.second, second=verilog.first)


def _checked(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"there is no file {path}")
    if path.suffix.lower() not in READERS:
        raise InputError(
            f"{path.name} has the extension {path.suffix!r}; a multiplier is one of "
            f"{' '.join(READERS)}"
        )
    if not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(
            f"{path.name} is larger than {MAX_BYTES} bytes; it is not an 8×8 multiplier"
        )
    return path


def _signedness(
    signed: bool | None, name: str | None, file: Path, symbol: str, *, declared: bool
) -> bool:
    if signed is not None:
        return signed
    for said in (name or "", file.stem, symbol):
        match = re.search(r"(?:^|[^A-Za-z0-9])mul8([su])_", said)
        if match:
            return match.group(1) == "s"
    if declared:
        return True
    raise InputError(
        f"{file.name} does not say whether its operands are signed; give --signed or --unsigned "
        "(signed=True or False), or a name that begins with mul8s_ or mul8u_"
    )


def _figures(text: str) -> dict[str, float]:
    figures = {}
    for keyword, (label, unit) in FIGURES.items():
        match = re.search(rf"\b{label}\s*=\s*([0-9.]+(?:[eE][-+]?\d+)?)\s*{unit}\b", text)
        if match and match.group(1).count(".") < 2:
            figures[keyword] = float(match.group(1))
    return figures


def _by_code(raw: RawTable, signed: bool, layout: Layout, shown: str) -> Int64:
    """Products as numbers, indexed by code."""
    if layout.product_offset:
        products = _patterns(raw.products, raw.bits) - layout.product_offset
    else:
        products = _numbers(raw.products, raw.bits, signed=signed)
    if not signed and products.min() < 0:
        raise InputError(
            f"{shown}: products of an unsigned circuit are not negative, this has "
            f"{products.min()}; give signed=True if it is a signed one"
        )
    if raw.by_code or not signed:
        return products
    order = layout.index_order or _nearest_order(products, shown)
    return products if order == "codes" else np.roll(products, 128, axis=(0, 1))


def _patterns(products: Int64, bits: int | None) -> Int64:
    """Products as their bits say without a sign."""
    return products if bits is None or bits >= 64 else products & (2**bits - 1)


def _numbers(products: Int64, bits: int | None, *, signed: bool) -> Int64:
    if bits is None:
        # A signed 8×8 circuit has negative products, so these are patterns of 16 bits.
        is_pattern = signed and products.min() >= 0 and 2**15 <= products.max() < 2**16
        bits = 16 if is_pattern else None
    patterns = _patterns(products, bits)
    if bits is None or bits >= 64:
        return patterns
    wrapped: Int64 = np.where(
        signed & (patterns >= 2 ** (bits - 1)), patterns - 2**bits, patterns
    ).astype(np.int64)
    return wrapped


def _nearest_order(products: Int64, shown: str) -> str:
    order = _order_of(products)
    if order is None:
        if _order_of((products & 0xFFFF) - 2**15) is not None:
            raise InputError(
                f"{shown}: the products are shifted by 32,768; if that is how they were stored, "
                f"say so with --product-offset 32768 (layout=luts.Layout(product_offset=32768))"
            )
        raise InputError(
            f"{shown}: the products are near the exact ones neither by codes (0…127, −128…−1) nor "
            "by values (−128…127); give layout=luts.Layout(index_order='codes') or 'values'"
        )
    return order


def _order_of(products: Int64) -> str | None:
    """The order of rows and columns that puts the products near the exact ones."""
    by_code, in_order = signed_values(), np.arange(-128, 128)
    code_error = np.abs(products - np.multiply.outer(by_code, by_code)).mean()
    value_error = np.abs(products - np.multiply.outer(in_order, in_order)).mean()
    if 2 * min(code_error, value_error) > max(code_error, value_error):
        return None
    return "codes" if code_error < value_error else "values"
