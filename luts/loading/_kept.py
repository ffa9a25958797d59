"""A multiplier as bytes that say everything about it, for a run's folder."""

import dataclasses
import io
import json
import zipfile
from typing import Any

import numpy as np

from luts._multiplier import FiguresError, Multiplier, VerilogModule
from luts.circuits import Netlist, NetlistCell
from luts.errors import InputError
from luts.loading._arrays import BROKEN
from luts.text import one_line

MAX_BYTES = 2**24
"""Of one array of such a file; tables take 2^18, netlists and sources less than that."""


def kept_bytes(multiplier: Multiplier) -> bytes:
    """A ``.npz`` archive with the array ``table`` and everything else as JSON in ``about``."""
    fields = {
        field.name: getattr(multiplier, field.name)
        for field in dataclasses.fields(Multiplier)
        if field.name != "truth_table"
    }
    about = json.dumps(fields, default=dataclasses.asdict).encode()
    file = io.BytesIO()
    np.savez_compressed(file, table=multiplier.truth_table, about=np.frombuffer(about, np.uint8))
    return file.getvalue()


def from_kept(content: bytes, shown: str) -> Multiplier:
    """The multiplier that `kept_bytes` wrote.

    Args:
        content: the bytes.
        shown: the file's name for a message.

    Raises:
        InputError: they are not such a file.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if max(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError("an array is too large")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            table, about = arrays["table"], json.loads(arrays["about"].tobytes())
        return Multiplier(truth_table=table, **_values(about))
    except InputError:
        raise
    except (*BROKEN, OSError, TypeError, AttributeError) as error:
        told = one_line(error)
        raise InputError(f"{shown} is not a multiplier that a search has kept: {told}") from error


def _values(about: dict[str, Any]) -> dict[str, Any]:
    values = {**about, "aliases": tuple(about["aliases"])}
    if about["figures_error_pct"] is not None:
        values["figures_error_pct"] = FiguresError(**about["figures_error_pct"])
    if about["verilog"] is not None:
        values["verilog"] = VerilogModule(**about["verilog"])
    if about["netlist"] is not None:
        values["netlist"] = _netlist(about["netlist"])
    if not isinstance(values["name"], str) or not isinstance(values["signed"], bool):
        raise ValueError("its name or signedness is missing")
    return values


def _netlist(fields: dict[str, Any]) -> Netlist:
    cells = tuple(
        NetlistCell(cell["kind"], tuple(cell["inputs"]), tuple(cell["outputs"]))
        for cell in fields["cells"]
    )
    return Netlist(fields["name"], tuple(fields["widths"]), cells, tuple(fields["product"]))
