"""Circuits as Verilog, by either tool."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import luts
from luts.loading import _verilog, _yosys
from tests.luts.loading.files import FIGURES, refused, write

needs_iverilog = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="no iverilog on the PATH: Verilog is not simulated here"
)
needs_yosys = pytest.mark.skipif(
    not shutil.which("yosys"), reason="no yosys on the PATH: Verilog is not synthesised here"
)

ANSI = """
module mul8s_v(input signed [7:0] a, b, output signed [15:0] o);
  assign o = (a & 8'shF8) * b; // module x(input [7:0] A, B, output O);
endmodule
"""
OLD = """
module HALF(input A, input B, output YS, output YC);
  assign YS = A ^ B; assign YC = A & B;
endmodule
module mul8s_v ( A, B, O );
  input [7:0] B;
  input [7:0] A;
  output [15:0] O;
  wire s, c;
  HALF h(.A(A[0]), .B(1'b0), .YS(s), .YC(c));
  assign O = {{8{A[7]}}, A[7:3], 3'b000} * {{8{B[7]}}, B};
endmodule
"""


def run_verilog(tool: str, path: Path, monkeypatch) -> luts.Multiplier:
    real = shutil.which
    hidden = {"iverilog": "yosys", "yosys": "iverilog"}[tool]
    monkeypatch.setattr("shutil.which", lambda name: None if name == hidden else real(name))
    return luts.load(path, **FIGURES)


tools = pytest.mark.parametrize(
    "tool",
    [pytest.param("iverilog", marks=needs_iverilog), pytest.param("yosys", marks=needs_yosys)],
)


@tools
@pytest.mark.parametrize("source", [ANSI, OLD], ids=["ansi", "old"])
def test_verilog_with_its_first_port_first(tmp_path, monkeypatch, tool, source):
    multiplier = run_verilog(tool, write(tmp_path, "mul8s_v.v", source), monkeypatch)
    assert str(luts.catalog.recognise(multiplier)) == "mul8s_1KTY (v2022 mul8s_1KXF)"


@tools
def test_unsigned_verilog(tmp_path, monkeypatch, tool):
    source = (
        "module mul8u_v(input [7:0] A, input [7:0] B, output [15:0] O); assign O = A*B; endmodule"
    )
    path = write(tmp_path, "$(touch hacked) mul8u_v.v", source)
    multiplier = run_verilog(tool, path, monkeypatch)
    np.testing.assert_array_equal(multiplier.truth_table, luts.families.exact(signed=False))
    assert not list(Path.cwd().glob("*hacked*"))


@tools
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("assign o = a * ;", "syntax error|ERROR"),
        ("HAX1 u(.A(a[0]));", "HAX1|ended"),
        ("reg [15:0] r; always @(posedge a[0]) r <= b; assign o = r;", "combinational"),
        ("assign o[7:0] = a;", "undefined|combinational"),
    ],
)
def test_bad_verilog_is_one_clear_error(tmp_path, monkeypatch, tool, body, message):
    source = f"module mul8s_v(input [7:0] a, b, output [15:0] o); {body} endmodule"
    with pytest.raises(luts.InputError, match=message):
        run_verilog(tool, write(tmp_path, "mul8s_v.v", source), monkeypatch)


@needs_iverilog
def test_verilog_that_simulates_forever_is_ended(tmp_path):
    body = "reg r; initial forever r = ~r;"
    source = f"module mul8s_v(input [7:0] a, b, output [15:0] o); {body} endmodule"
    refused(
        write(tmp_path, "mul8s_v.v", source),
        "within 1 s",
        layout=luts.Layout(time_limit_s=1),
    )


def test_without_a_simulator_the_error_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(write(tmp_path, "mul8s_v.v", ANSI), "iverilog or yosys")


def test_verilog_without_a_multiplier_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/nowhere/{name}")
    refused(write(tmp_path, "mul8s_v.v", "module m; endmodule"), "no module with two 8-bit inputs")


def test_yosys_gates_are_evaluated_for_all_operands():
    # A one-gate netlist as Yosys writes it: o = a[0] & b[0], the other bits constant.
    bits = {"a": list(range(2, 10)), "b": list(range(10, 18)), "o": [18, "0", "1"]}
    cell = {"type": "$_AND_", "connections": {"A": [2], "B": [10], "Y": [18]}}
    netlist = {"ports": {k: {"bits": v} for k, v in bits.items()}, "cells": {"u": cell}}
    text = json.dumps({"modules": {"m": netlist}})
    table = _yosys.products(text, "m", ("a", "b", "o"), shown="m.v")
    np.testing.assert_array_equal(
        table, 4 + np.bitwise_and.outer(np.arange(256), np.arange(256)) % 2
    )


@tools
def test_signed_ports_are_enough(tmp_path, monkeypatch, tool):
    multiplier = run_verilog(
        tool, write(tmp_path, "v.v", ANSI.replace("mul8s_v", "v")), monkeypatch
    )
    assert multiplier.signed


TRUSTED = luts.Layout(trust=True)

LATCH = """
module mul8s_v(input signed [7:0] a, b, output reg signed [15:0] o);
  always @* if (b != 5) o = a * b;
endmodule
"""
STALE = """
module mul8s_v(input signed [7:0] a, b, output reg signed [15:0] o);
  always @(a) o = a * b;
endmodule
"""


@needs_iverilog
@pytest.mark.parametrize("source", [LATCH, STALE], ids=["latch", "sensitivity"])
def test_a_simulation_that_remembers_is_refused(tmp_path, monkeypatch, source):
    real = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "yosys" else real(name))
    refused(write(tmp_path, "mul8s_v.v", source), "depends on those before")


@needs_yosys
def test_a_latch_is_refused_by_yosys_alone(tmp_path, monkeypatch):
    path = write(tmp_path, "mul8s_v.v", LATCH)
    with pytest.raises(luts.InputError, match=r"not combinational \(cells \$_DLATCH_"):
        run_verilog("yosys", path, monkeypatch)


@needs_yosys
@needs_iverilog
def test_what_yosys_makes_of_it_is_the_circuit_that_was_simulated(tmp_path, monkeypatch):
    path = write(tmp_path, "mul8s_v.v", ANSI)
    simulate = _verilog._simulate
    monkeypatch.setattr(_verilog, "_simulate", lambda *given: simulate(*given) ^ 8)
    with pytest.raises(luts.InputError, match="65,536 of 65,536 products differ between its"):
        luts.load(path)


def test_gates_in_a_loop_or_with_a_memory_are_named():
    bits = {"a": list(range(2, 10)), "b": list(range(10, 18)), "o": [18]}
    for kind, ports, why in (
        ("$_AND_", {"A": [2], "B": [18], "Y": [18]}, "its gates form a loop"),
        ("$_DLATCH_P_", {"D": [2], "E": [10], "Q": [18]}, r"cells \$_DLATCH_P_"),
    ):
        ready = {"type": "$_AND_", "connections": {"A": [2], "B": [10], "Y": [19]}}
        cells = {"u": {"type": kind, "connections": ports}, "v": ready}
        netlist = {"ports": {k: {"bits": v} for k, v in bits.items()}, "cells": cells}
        text = json.dumps({"modules": {"m": netlist}})
        for read in (_yosys.products, _yosys.netlist):
            with pytest.raises(luts.InputError, match=rf"not combinational \({why}\)"):
                read(text, "m", ("a", "b", "o"), shown="m.v")


TRUSTED = luts.Layout(trust=True)

PDK45 = """
// PDK45_PWR = 0.052 mW
module mul8s_tiny ( A, B, O );
  input [7:0] A;
  input [7:0] B;
  output [15:0] O;
  wire s, c;
  HAX1 U1 (.A((A[7] & B[6])), .B((A[6] & B[7])), .YS(s), .YC(c));
  assign O = {1'b0,c,s,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0,1'b0};
endmodule
"""


def tiny() -> np.ndarray:
    code = np.arange(256)
    first = np.bitwise_and.outer(code >> 7, (code >> 6) & 1)
    second = np.bitwise_and.outer((code >> 6) & 1, code >> 7)
    return (first + second) << 13


def test_netlists_of_known_cells_need_no_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    imported = luts.loading.read(write(tmp_path, "mul8s_tiny.v", PDK45), layout=TRUSTED)
    np.testing.assert_array_equal(imported.table, tiny())
    multiplier = imported.multiplier(area_um2=30.0)
    # The file's power and the user's area win; only the delay is estimated.
    assert (multiplier.power_mw, multiplier.area_um2) == (0.052, 30.0)
    assert multiplier.figures_from == "estimated"
    error = multiplier.figures_error_pct
    assert (error.power_mw, error.area_um2) == (0, 0) and error.delay_ns > 0


def test_a_cell_that_the_file_defines_itself_is_not_taken_for_a_known_one(tmp_path, monkeypatch):
    text = PDK45 + "module HAX1(input A, B, output YS, YC); assign YS = A; assign YC = B; endmodule"
    with monkeypatch.context() as alone:
        alone.setenv("PATH", str(tmp_path))
        refused(write(tmp_path, "mul8s_tiny.v", text), "iverilog or yosys")


@needs_yosys
def test_a_circuit_without_figures_is_estimated_from_what_yosys_makes_of_it(tmp_path):
    multiplier = luts.load(write(tmp_path, "mul8s_v.v", ANSI))
    published = luts.catalog["mul8s_1KTY"]
    assert multiplier.figures_from == "estimated"
    # Another structure than the published array's, so that no more than the order is expected.
    assert 0.5 < multiplier.power_mw / published.power_mw < 2
    assert 0.5 < multiplier.area_um2 / published.area_um2 < 2
    assert multiplier.figures_error_pct.power_mw > 10
    given = luts.load(tmp_path / "mul8s_v.v", **FIGURES)
    assert (given.figures_from, given.figures_error_pct) == ("given", None)


def test_without_yosys_missing_figures_are_asked_for(tmp_path, monkeypatch):
    if not shutil.which("iverilog"):
        pytest.skip("no iverilog on the PATH: Verilog is not simulated here")
    real = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "yosys" else real(name))
    with pytest.raises(luts.InputError, match="does not give power_mw and area_um2 and delay_ns"):
        luts.load(write(tmp_path, "mul8s_v.v", ANSI))


def test_a_file_with_all_its_figures_is_published(tmp_path):
    block = "// PDK45_AREA = 30 um2\n// PDK45_DELAY = 0.2 ns\n"
    multiplier = luts.load(write(tmp_path, "mul8s_tiny.v", block + PDK45), layout=TRUSTED)
    assert multiplier.figures_from == "published" and multiplier.figures_error_pct is None


@needs_yosys
@pytest.mark.parametrize("operator", ["*", "+", "&", "^", "~^", "|"])
def test_a_netlist_of_yosys_computes_what_the_module_does(tmp_path, operator):
    source = (
        f"module mul8u_v(input [7:0] a, b, output [15:0] o); assign o = a[7] ? a {operator} b "
        ": b & ~a; endmodule"
    )
    imported = luts.loading.read(write(tmp_path, "mul8u_v.v", source), layout=TRUSTED)
    netlist = imported.netlist()
    pairs = np.arange(65_536)
    table = netlist.products(pairs >> 8, pairs & 255).reshape(256, 256)
    np.testing.assert_array_equal(table, imported.table)
