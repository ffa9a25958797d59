"""Widths that a Verilog source gives by macros."""

import shutil
import time

import numpy as np
import pytest

import luts
from luts import Layout
from luts.loading._macros import expanded, unknown
from luts.loading._modules import circuit_of, modules
from tests.luts.loading.files import FIGURES, refused, write

BODY = "module m(input [`W-1:0] a, b, output [2*`W-1:0] o); assign o = a * b; endmodule\n"
EXACT = luts.families.exact(signed=False)

SOURCES = {
    "`define W 8\n" + BODY: 16,
    "`define HALF 4\n`define W (`HALF + `HALF)\n" + BODY: 16,
    "`define W \\\n 8\n" + BODY: 16,
    "`define W 16\n`undef W\n`define W 8\n" + BODY: 16,
    "`ifndef W\n`define W 8\n`endif\n" + BODY: 16,
    "`define W 8\n`ifdef W\n`else\n`define W 9\n`endif\n" + BODY: 16,
    "`ifdef A\n`define W 9\n`elsif B\n`define W 7\n`else `define W 8\n`endif\n"
    "`define W 8\n" + BODY: 16,
    "`ifdef WIDE\nmodule m(input [15:0] a, b, output [31:0] o); endmodule\n`else\n"
    "`define W 8'd8 // bits\n" + BODY + "`endif\n": 16,
    "`timescale 1ns/1ps\n`define W 8\n`default_nettype none\n" + BODY: 16,
    "`define W 4\n`define W 8\n" + BODY: 16,
    "`define W 16\n" + BODY: None,
    "`define W(x) 8\n" + BODY: None,
    "`define W `W\n" + BODY: None,
    BODY: None,
}


@pytest.mark.parametrize(("source", "bits"), SOURCES.items())
def test_widths_by_macros(source, bits):
    (module,) = modules(source)
    found = circuit_of(module, Layout())
    assert (found and found.bits) == bits


@pytest.mark.skipif(not shutil.which("iverilog"), reason="no iverilog on the PATH")
def test_a_circuit_with_macros_is_simulated(tmp_path):
    source = "`define W 8\n`define TOP `W-1\n" + BODY.replace("`W-1:0] a", "`TOP:0] a")
    found = luts.load(write(tmp_path, "mul8u_m.v", source), signed=False, **FIGURES)
    np.testing.assert_array_equal(found.truth_table, EXACT)


def test_a_macro_of_another_file_is_named(tmp_path):
    source = '`include "widths.vh"\n`timescale 1ns/1ps\n' + BODY
    path = write(tmp_path, "mul8u_m.v", source)
    refused(path, r"m: input a \(\?\).*it defines no macro `W: write numbers there", signed=False)


def test_what_is_left_out_is_not_there_and_lines_stay_in_order():
    text = "a\n`ifdef X\nb\n`ifndef Y\nc\n`endif\n`else\nd\n`endif\ne `Z `include"
    assert expanded(text).split() == ["a", "d", "e", "`Z", "`include"]
    assert unknown(expanded(text)) == ("Z",)
    assert expanded("`define X\n" + text).split() == ["a", "b", "c", "e", "`Z", "`include"]
    assert expanded("`endif\n`else\n`elsif X\na").split() == ["a"]


def test_macros_that_grow_end_soon():
    grown = "\n".join(f"`define A{i + 1} `A{i} `A{i}" for i in range(60))
    bomb = f"`define A0 {'x' * 90}\n{grown}\nmodule m(input [`A60:0] a); endmodule"
    many = "`define A " + "x" * 100 + "\n" + "`A " * 1_000_000
    nested = ["\n".join([word] * 100_000) for word in ("`ifdef A", "`ifndef A", "`A", "`else")]
    for text in (bomb, many, *nested):
        started = time.process_time()
        assert len(expanded(text)) < 2 * len(text) + 2**21
        assert time.process_time() - started < 10
