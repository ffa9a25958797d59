"""Flat structural Verilog, read without a tool."""

import numpy as np
import pytest

from luts.circuits import NotStructural, read_structural

MODULE = """
module m ( A, B, O );
  input [1:0] A;
  input [1:0] B;
  output [3:0] O;
  wire s, c, t;
  {body}
endmodule
"""
PORTS = ("A", "B", "O")


def read(body: str):
    return read_structural(MODULE.format(body=body), "m", PORTS)


def bit(value: np.ndarray, at: int) -> np.ndarray:
    return (value >> at) & 1


PAIRS = np.arange(16)
A, B = PAIRS >> 2, PAIRS & 3


def test_cells_in_any_order_with_expressions_in_their_ports():
    netlist = read(
        "assign O = {c, t, s, (A[0] & B[0])};"
        "FAX1 u2(.A(~(A[1]&B[1])), .B(s), .C(1'b1), .YS(t), .YC(c));"
        "HAX1 u1(.A((A[0] & B[1])), .B((A[1] & B[0])), .YS(s), .YC());"
    )
    s = bit(A, 0) & bit(B, 1) ^ bit(A, 1) & bit(B, 0)
    total = (1 - (bit(A, 1) & bit(B, 1))) + s + 1
    expected = (bit(A, 0) & bit(B, 0)) + 2 * s + 4 * (total & 1) + 8 * (total >> 1)
    np.testing.assert_array_equal(netlist.products(A, B), expected)
    assert "FA" not in netlist.counts  # its constant is folded


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("A[0] | B[0] & A[1]", bit(A, 0) | bit(B, 0) & bit(A, 1)),
        ("A[0] ^ B[0] & ~A[1]", bit(A, 0) ^ bit(B, 0) & (1 - bit(A, 1))),
        ("~(A[0] | B[0]) ~^ A[1]", 1 - ((1 - (bit(A, 0) | bit(B, 0))) ^ bit(A, 1))),
        ("A[0] | B[0] ^ A[1] & B[1]", bit(A, 0) | bit(B, 0) ^ bit(A, 1) & bit(B, 1)),
    ],
)
def test_operators_bind_as_in_verilog(expression, expected):
    netlist = read(
        f"assign O[0] = {expression}; assign O[1] = 1'b1;assign O[2] = 1'b0; assign O[3] = O[0];"
    )
    np.testing.assert_array_equal(netlist.products(A, B), 9 * expected + 2)


def test_the_inverse_of_a_named_gate_leaves_the_gate_alone():
    netlist = read("assign O = {t, s, s, s}; assign t = ~s; assign s = A[0] & B[0];")
    both = bit(A, 0) & bit(B, 0)
    np.testing.assert_array_equal(netlist.products(A, B), 8 * (1 - both) + 7 * both)
    netlist = read(
        "assign O = {~(s), ~(A[0] & B[0]), s, c}; assign s = ~c; assign c = A[0] & B[0];"
    )
    np.testing.assert_array_equal(netlist.products(A, B), 8 * both + 6 * (1 - both) + both)


def test_a_sum_of_concatenations():
    netlist = read("assign O[3] = 1'b0; assign {O[2], O[1], O[0]} = {A[1], A[0]} + {B[1], B[0]};")
    np.testing.assert_array_equal(netlist.products(A, B), A + B)


@pytest.mark.parametrize(
    "body",
    [
        "assign O = A * B;",
        "assign O = {A[0], A[1]};",
        "assign O = {t, t, t, t};",  # nothing drives t
        "assign t = c; assign c = t; assign O = {t, t, t, t};",
        "assign O = {s, s, s, s}; assign s = A[0]; assign s = A[1];",
        "STRANGE u(.A(A[0]), .Y(s)); assign O = {s, s, s, s};",
        "HAX1 u(.A(A[0])); assign O = {s, s, s, s};",
        "wire x = A[0]; assign O = {x, x, x, x};",
        "reg r; always @(posedge A[0]) r <= B[0]; assign O = {r, r, r, r};",
        "assign s = A[0] ? B[0] : B[1]; assign O = {s, s, s, s};",
        "assign s = A; assign O = {s, s, s, s};",
        "assign s = &A; assign O = {s, s, s, s};",
    ],
)
def test_anything_else_is_left_to_the_tools(body):
    with pytest.raises(NotStructural):
        read(body)
