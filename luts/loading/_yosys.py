"""Evaluate a module's gates, as Yosys writes them, for all operands at once."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from luts.circuits import ONE, ZERO, Builder, Netlist
from luts.errors import InputError
from luts.loading._layout import Int64

Bits = npt.NDArray[np.bool_]

# Yosys manual, "Gate-level cells": inputs A, B, S; output Y.
_GATES: dict[str, Callable[..., Bits]] = {
    "$_BUF_": lambda a: a,
    "$_NOT_": lambda a: ~a,
    "$_AND_": lambda a, b: a & b,
    "$_NAND_": lambda a, b: ~(a & b),
    "$_OR_": lambda a, b: a | b,
    "$_NOR_": lambda a, b: ~(a | b),
    "$_XOR_": lambda a, b: a ^ b,
    "$_XNOR_": lambda a, b: ~(a ^ b),
    "$_ANDNOT_": lambda a, b: a & ~b,
    "$_ORNOT_": lambda a, b: a | ~b,
    "$_MUX_": lambda a, b, s: (s & b) | (~s & a),
}


_KINDS = {"$_AND_": "AND", "$_NAND_": "NAND", "$_OR_": "OR", "$_NOR_": "NOR"} | {
    "$_XOR_": "XOR",
    "$_XNOR_": "XNOR",
}
_PLACED = {*_GATES, "$fa"}


TOP = "luts_top"
PORTS = ("first", "second", "product")
"""Name and ports of the module around a circuit, in ``top.v``."""


def script(*, adders: bool = False) -> str:
    """A Yosys script that reads ``circuit.v`` and ``top.v`` and writes the gates as JSON.

    Args:
        adders: gather gates into half and full adders (``$fa``).
    """
    return (
        "read_verilog -defer -sv -I library circuit.v top.v\n"
        f"hierarchy -check -libdir library -top {TOP}\nsynth -flatten -noabc -top {TOP}\n"
        # Full adders first: half adders are found inside of them.
        + ("extract_fa -fa\nopt_clean\nextract_fa -ha\nopt_clean\n" if adders else "")
        + "write_json netlist.json\n"
    )


def netlist(text: str, module: str, ports: tuple[str, str, str], *, shown: str) -> Netlist:
    """The netlist that Yosys wrote, constants folded.

    Args:
        text: what Yosys wrote.
        module: name of the top module.
        ports: first operand, second operand, product.
        shown: the file's name for messages.

    Raises:
        InputError: there are cells with a memory, loops, or undefined outputs.
    """
    top: dict[str, Any] = json.loads(text)["modules"][module]
    builder = Builder((8, 8))
    known: dict[int | str, int] = {"0": ZERO, "1": ONE}
    for port, net_of in ((ports[0], builder.first), (ports[1], builder.second)):
        known |= {net: net_of(i) for i, net in enumerate(top["ports"][port]["bits"])}
    waiting = list(top["cells"].values())
    while waiting:
        ready = [cell for cell in waiting if all(net in known for net in _inputs(cell))]
        if not ready:
            raise InputError(_not_combinational(shown, waiting))
        for cell in ready:
            _place(builder, cell, known, shown)
        waiting = [cell for cell in waiting if _output(cell) not in known]
    product = top["ports"][ports[2]]["bits"]
    if any(net not in known for net in product):
        raise InputError(f"{shown}: a bit of its output is undefined")
    return builder.build(module, [known[net] for net in product])


def _inputs(cell: dict[str, Any]) -> list[int | str]:
    connections = cell["connections"]
    return [connections[port][0] for port in "ABCS" if port in connections]


def _output(cell: dict[str, Any]) -> int | str:
    """The net of its output; none of those that are known for a cell that is no gate."""
    return cell["connections"].get("Y", [""])[0]  # type: ignore[no-any-return]


def _not_combinational(shown: str, cells: list[dict[str, Any]]) -> str:
    kinds = sorted({cell["type"] for cell in cells if cell["type"] not in _PLACED})
    why = f"cells {', '.join(kinds[:5])}" if kinds else "its gates form a loop"
    return (
        f"{shown} is not combinational ({why}), and a multiplier is; give each output a value for "
        f"all inputs, without clock or latch"
    )


def _place(builder: Builder, cell: dict[str, Any], known: dict[int | str, int], shown: str) -> None:
    kind, nets = cell["type"], [known[net] for net in _inputs(cell)]
    if kind not in _PLACED:
        raise InputError(_not_combinational(shown, [cell]))
    output = cell["connections"]["Y"][0]
    if kind == "$fa":
        # Yosys manual, "$fa": Y is the sum, X the carry.
        known[output], known[cell["connections"]["X"][0]] = builder.add(nets)
    elif kind in _KINDS:
        known[output] = builder.gate(_KINDS[kind], *nets)
    elif kind in ("$_BUF_", "$_NOT_"):
        known[output] = nets[0] if kind == "$_BUF_" else builder.inv(nets[0])
    elif kind in ("$_ANDNOT_", "$_ORNOT_"):
        gate = kind.removeprefix("$_").removesuffix("NOT_")
        known[output] = builder.gate(gate, nets[0], builder.inv(nets[1]))
    else:
        known[output] = builder.mux(*nets)


def products(netlist: str, module: str, ports: tuple[str, str, str], *, shown: str) -> Int64:
    """Output patterns, int64 of shape ``(256, 256)``.

    Args:
        netlist: what Yosys wrote.
        module: name of the top module.
        ports: first operand, second operand, product.
        shown: the file's name for messages.

    Raises:
        InputError: there are cells with a memory, loops, or undefined outputs.
    """
    top: dict[str, Any] = json.loads(netlist)["modules"][module]
    pairs = np.arange(65_536)
    zeros = np.zeros(65_536, dtype=np.bool_)
    known: dict[int | str, Bits] = {"0": zeros, "1": ~zeros}
    for port, operand in ((ports[0], pairs >> 8), (ports[1], pairs & 255)):
        for i, net in enumerate(top["ports"][port]["bits"]):
            known[net] = (operand >> i) & 1 == 1
    waiting = list(top["cells"].values())
    while waiting:
        ready = [cell for cell in waiting if _ready(cell, known)]
        if not ready:
            raise InputError(_not_combinational(shown, waiting))
        for cell in ready:
            inputs = [cell["connections"][p][0] for p in "ABS" if p in cell["connections"]]
            known[cell["connections"]["Y"][0]] = _GATES[cell["type"]](*(known[i] for i in inputs))
        waiting = [cell for cell in waiting if _output(cell) not in known]
    total = np.zeros(65_536, dtype=np.int64)
    for i, net in enumerate(top["ports"][ports[2]]["bits"]):
        if net not in known:
            raise InputError(f"{shown}: bit {i} of its output is undefined")
        total |= known[net].astype(np.int64) << i
    return total.reshape(256, 256)


def _ready(cell: dict[str, Any], known: dict[int | str, Bits]) -> bool:
    connections = cell["connections"]
    inputs = [connections[port][0] for port in "ABS" if port in connections]
    return cell["type"] in _GATES and all(net in known for net in inputs)
