"""Verilog as people keep it: parameters, neighbours, clocks, configuration, test benches."""

import shutil

import numpy as np
import pytest

import luts
from luts import InputError, Layout
from luts.loading._modules import choose, circuit_of, constant, modules
from tests.luts.loading.files import FIGURES, refused, write

needs_iverilog = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="no iverilog on the PATH: Verilog is not simulated here"
)
needs_yosys = pytest.mark.skipif(
    not shutil.which("yosys"), reason="no yosys on the PATH: Verilog is not synthesised here"
)
tools = pytest.mark.parametrize(
    "tool",
    [pytest.param("iverilog", marks=needs_iverilog), pytest.param("yosys", marks=needs_yosys)],
)
EXACT = luts.families.exact(signed=False)

PORTS = {
    "module m(input signed [7:0] a, b, output signed [15:0] o); endmodule": "a b o 16 signed",
    "module m(a, b, o); input [7:0] b; input [7:0] a; output [15:0] o; endmodule": "a b o 16",
    "module m(input wire [7:0] a, input [7:0] b, output reg [31:0] o); endmodule": "a b o 32",
    "module m(input signed [7:0] a, input [7:0] b, output [15:0] o); endmodule": "a b o 16",
    "module m #(parameter N=8, M=N*2)(input [N-1:0] a,b, output [M-1:0] o); endmodule": "a b o 16",
    "module m(a,b,o); parameter N=8;input [N-1:0]a,b; output [(N<<1)-1:0]o; endmodule": "a b o 16",
    "module m(input clk, rst_n, input [7:0] a, b, output [15:0] o); endmodule": "a b o 16",
    "module m(input [7:0] a, b, input en, output [15:0] o); endmodule": None,
    "module m(input [8:0] a, b, output [15:0] o); endmodule": None,
    "module m(input [7:0] a, b, output [15:0] o, p); endmodule": None,
    "module m(input [`W:0] a, b, output [15:0] o); endmodule": None,
    "module m(input [07:00] a, b, output [015:0] o); endmodule": "a b o 16",
    "module m(input [7:0] a, b, output [99:0] o); endmodule": None,
    "module m(input [0:7] a, b, output [15:0] o); function [7:0] f; input [7:0] x; f = x;"
    " endfunction endmodule": "a b o 16",
    "module m; endmodule": None,
}


@pytest.mark.parametrize(("source", "expected"), PORTS.items())
def test_ports_and_widths(source, expected):
    (module,) = modules(source)
    found = circuit_of(module, Layout())
    words = expected
    if found is not None:
        words = f"{found.first} {found.second} {found.product} {found.bits}"
        words += " signed" * found.is_signed
    assert words == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("N-1", 7),
        ("(2*N)-1", 15),
        ("8'd9 + 4'hF", 24),
        ("N/3", 2),
        ("1 << 200", None),
        ("9**9**9", None),
        ("M", None),
        ("N-", None),
        ("__import__('os')", None),
        ("(" * 5000, None),
        ("1/0", None),
    ],
)
def test_constants(text, value):
    assert constant(text, {"N": 8}) == value


def test_a_constant_is_worked_out_whole_or_not_at_all():
    assert constant("1" + "+1" * 90, {}) == 91
    assert constant("1" + "+1" * 100, {}) is None
    assert [constant(text, {}) for text in ("007", "0", "00", "10 + 010", "4'b0011")] == [
        *(7, 0, 0, 20, 3)
    ]


def load(tool, path, monkeypatch, **layout):
    real = shutil.which
    hidden = {"iverilog": "yosys", "yosys": "iverilog"}[tool]
    monkeypatch.setattr("shutil.which", lambda name: None if name == hidden else real(name))
    return luts.load(path, layout=Layout(**layout), **FIGURES)


@tools
def test_modules_come_from_neighbours_and_a_test_bench_may_be_there(tmp_path, monkeypatch, tool):
    write(tmp_path, "half.v", "module half(input a, b, output y); assign y = a & b; endmodule")
    write(tmp_path, "width.vh", "`define HIGH 15")
    source = """
`include "width.vh"
module mul8u_v(input [7:0] a, b, output [`HIGH:0] o);
  wire low;
  half h(.a(a[0]), .b(b[0]), .y(low));
  assign o = (a * b) & 16'hFFFE | low;
endmodule
module bench; reg [7:0] a, b; wire [15:0] o; mul8u_v dut(a, b, o);
  initial begin a = 1; b = 2; $display("%d", o); end
endmodule
"""
    path = write(tmp_path, "mul8u_v.v", source.replace("[`HIGH:0]", "[15:0]"))
    table = load(tool, path, monkeypatch).truth_table
    np.testing.assert_array_equal(table, EXACT)
    alone = tmp_path / "alone"
    alone.mkdir()
    text = load(tool, path, monkeypatch).verilog.text
    assert text.count("module half(") == 1
    again = write(alone, "mul8u_v.v", text.replace('`include "width.vh"', ""))
    np.testing.assert_array_equal(load(tool, again, monkeypatch).truth_table, EXACT)


@tools
def test_parameters_ties_and_idle_clocks(tmp_path, monkeypatch, tool):
    source = """
module mul8u_v #(parameter N = 4, CUT = 0) (
  input clk, input rst_n, input [N-1:0] a, input [N-1:0] b, input [7:0] mask,
  output [31:0] o);
  assign o = (a & ~mask & ~CUT) * b;
endmodule
"""
    path = write(tmp_path, "mul8u_v.v", source)
    with pytest.raises(InputError, match=r"input a \(4\), input b \(4\), input mask \(8\)"):
        load(tool, path, monkeypatch)
    found = load(tool, path, monkeypatch, parameters={"N": 8, "CUT": 1}, ties={"mask": 2})
    np.testing.assert_array_equal(
        found.truth_table, np.multiply.outer(np.arange(256) & 252, np.arange(256))
    )
    assert found.source == "file mul8u_v.v, product port of 32 bits"
    for given, why in (
        ({"ties": {"mask": 2, "masc": 1}}, "no input 'masc' to hold constant .*clk, rst_n, mask"),
        ({"ties": {"mask": 300}}, "mask has 8 bits, which 300 does not fit"),
        ({"ties": {"mask": 2}, "parameters": {"N": 8, "WIDTH": 8}}, "no parameter 'WIDTH'"),
    ):
        with pytest.raises(InputError, match=why):
            load(tool, path, monkeypatch, **{"parameters": {"N": 8}, **given})
    again = write(tmp_path, "mul8u_again.v", found.verilog.text)
    np.testing.assert_array_equal(luts.load(again, **FIGURES).truth_table, found.truth_table)


BLOCK = "module block(input [7:0] a, b, output [15:0] o); assign o = a * b; endmodule\n"


def test_of_several_modules_the_top_is_taken():
    top = "module top(input [7:0] a, b, output [15:0] o); block u(a, b, o); endmodule"
    assert choose(BLOCK + top, Layout(), "f.v").name == "top"
    assert choose(BLOCK + top, Layout(symbol="block"), "f.v").name == "block"


def test_blocks_of_a_larger_circuit_are_offered_and_every_module_listed():
    top = "module top(input [15:0] a, b, output [31:0] o); block u(a[7:0], b[7:0], o); endmodule"
    with pytest.raises(InputError) as caught:
        choose(BLOCK + top, Layout(), "f.v")
    for words in (
        "top: input a (16), input b (16), output o (32)",
        "block: input a (8), input b (8), output o (16)",
        "its blocks block can be named with --symbol",
    ):
        assert words in str(caught.value)


def test_two_circuits_are_asked_for():
    with pytest.raises(InputError, match=r"2 modules .*: block, other; choose one with --symbol"):
        choose(BLOCK + BLOCK.replace("block", "other"), Layout(), "f.v")


@needs_iverilog
@pytest.mark.parametrize("operator", ["+", "-", "&"])
def test_an_adder_in_verilog_is_refused(tmp_path, operator):
    source = f"module v(input [7:0] a, b, output [8:0] o); assign o = a {operator} b; endmodule"
    refused(write(tmp_path, "mine.v", source), "mine.v is no multiplier", signed=False)


def test_settings_of_verilog_say_nothing_of_other_files(tmp_path):
    np.save(tmp_path / "mul8u_x.npy", EXACT)
    with pytest.raises(InputError, match=r"mul8u_x\.npy is no Verilog"):
        luts.load(tmp_path / "mul8u_x.npy", layout=Layout(ties={"q": 1}), **FIGURES)


@pytest.mark.parametrize("given", [{"parameters": {"N;": 8}}, {"ties": {"a": -1}}])
def test_names_and_values_are_checked(given):
    with pytest.raises(InputError, match="names in Verilog have values from 0"):
        Layout(**given)
