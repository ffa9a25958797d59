"""A file is an 8×8 multiplier only if it is one; of several functions the top is taken."""

import shutil

import numpy as np
import pytest

import luts
from luts.loading._promise import check_name, check_table
from tests.luts.loading.files import FIGURES, HEADER, refused, write

needs_compiler = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler on the PATH")

UNSIGNED = np.arange(256)
SIGNED = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int64)


def evoapprox_c(
    name: str, first: int, second: int, operator: str, *, types: str = "uint64_t"
) -> str:
    """A circuit of these widths in the manner of the library's C files: bits in, bits out."""
    a = " | ".join(f"(((A >> {i}) & 1) << {i})" for i in range(first))
    b = " | ".join(f"(((B >> {i}) & 1) << {i})" for i in range(second))
    return (
        f"{HEADER}\n/// Library = EvoApprox8b\n{types} {name}(const {types} A, const {types} B)\n"
        f"{{ {types} x = {a}, y = {b}; return x {operator} y; }}\n"
    )


# Names as the library has them, with its widths and operators.
OTHERS = {
    "mul16s_HF7": (16, 16, "*"),
    "mul16u_HHP": (16, 16, "*"),
    "mul12u_2NM": (12, 12, "*"),
    "mul12s_2PM": (12, 12, "*"),
    "mul11u_00U": (11, 11, "*"),
    "mul7u_01L": (7, 7, "*"),
    **{f"mul8x{n}u_0AB": (8, n, "*") for n in range(2, 8)},
    "mul4x4u_001": (4, 4, "*"),
    "add8u_0FP": (8, 8, "+"),
    "add8se_8R9": (8, 8, "+"),
    "add16u_06K": (16, 16, "+"),
    "sub8u_1": (8, 8, "-"),
    "sub12se_0A": (12, 12, "-"),
}


@needs_compiler
@pytest.mark.parametrize("name", OTHERS)
def test_other_circuits_are_refused_by_their_names(tmp_path, name):
    path = write(tmp_path, f"{name}.c", evoapprox_c(name, *OTHERS[name]))
    refused(path, rf"by the name {name}; give a multiplier of 8×8 bits, or .*--trust", signed=None)


@needs_compiler
@pytest.mark.parametrize("name", [n for n, (a, b, o) in OTHERS.items() if (a, b, o) < (8, 8, "*")])
def test_and_under_another_name_by_what_they_compute(tmp_path, name):
    path = write(tmp_path, "mine.c", evoapprox_c("mine", *OTHERS[name]))
    refused(path, "mine.c looks at . bits of its|mine.c is no multiplier", signed=False)


@needs_compiler
def test_operands_of_16_bits_are_refused_by_their_types(tmp_path):
    text = evoapprox_c("mine", 16, 16, "*", types="uint16_t")
    path = write(tmp_path, "mine.c", text)
    refused(path, "declared with 16 and 16 bits", signed=False)
    trusted = luts.load(path, signed=False, layout=luts.Layout(trust=True), **FIGURES)
    np.testing.assert_array_equal(trusted.truth_table, luts.families.exact(signed=False))
    assert trusted.source == "EvoApproxLib, file mine.c, trusted"


@pytest.mark.parametrize(
    "name",
    [
        "mul8s_1KR3",
        "mul8u_17C8",
        "my_mul8s_x",
        "mine",
        "array_a3b5d0",
        "mul8x8u_1",
        "simul16",
        "mul2",
        "lut",
    ],
)
def test_names_that_promise_nothing_else_pass(name):
    check_name(name, "file")


def test_every_known_circuit_passes():
    for name in [*luts.catalog.names("mul8s"), *luts.catalog.names("arrays")]:
        known = luts.catalog[name]
        check_table(known.truth_table.astype(np.int64), known.sha256, name, signed=True)


def test_every_published_table_passes(reference_data):
    with np.load(reference_data / "evoapprox/truth_tables.npz") as tables:
        assert len(tables.files) == 16
        for name in tables.files:
            check_table(tables[name].astype(np.int64), "", name, signed=name.startswith("mul8s"))


A, B = np.meshgrid(UNSIGNED, UNSIGNED, indexing="ij")
S, T = np.meshgrid(SIGNED, SIGNED, indexing="ij")
WRONG = {
    "a sum": (A + B, S + T),
    "a difference": (A - B, S - T),
    "nothing": (0 * A, 0 * S),
    "a constant": (0 * A + 16_256, 0 * S + 7),
    "a square": (A * A, S * S),
    "7 × 7 bits": ((A & 127) * (B & 127), (A & 127) * (B & 127)),
    "8 × 2 bits": (A * (B & 3), S * (B & 3)),
    "8 × 7 bits": (A * (B & 127), S * (B & 127)),
    "the high half": ((A * B) >> 8, (S * T) >> 8),
    "twice the product": (2 * A * B, 2 * S * T),
    "the negative": (-A * B, -S * T),
    "shifted by 32,768": (A * B + 32_768, S * T + 32_768),
    "other rows": (np.roll(A * B, 128, axis=(0, 1)), np.roll(S * T, 128, axis=(0, 1))),
}


@pytest.mark.parametrize("table", WRONG.values(), ids=WRONG)
def test_tables_of_anything_else_are_refused(table):
    for signed, products in zip((False, True), table, strict=True):
        with pytest.raises(luts.InputError, match=r"--trust \(layout=luts.Layout\(trust=True\)\)"):
            check_table(products, "", "file", signed=signed)


def test_what_is_recognised_is_said():
    with pytest.raises(luts.InputError, match="shifted by 32,768"):
        check_table(S * T + 32_768, "", "file", signed=True)
    with pytest.raises(luts.InputError, match="the other order"):
        check_table(np.roll(S * T, 128, axis=(0, 1)), "", "file", signed=True)


BLOCKS = """
#include <stdint.h>
uint16_t mul8u_low(uint8_t a, uint8_t b) { return a * b; }
uint16_t mul8u_high(uint8_t a, uint8_t b) { return (a & 254) * b; }
"""


@needs_compiler
def test_of_several_functions_the_top_is_taken(tmp_path):
    top = "int mine(int a, int b) { return a > 99 ? mul8u_high(a, b) : mul8u_low(a, b); }"
    path = write(tmp_path, "mul8u_mine.c", BLOCKS + top)
    table = luts.load(path, **FIGURES).truth_table
    assert (table[99, 3], table[101, 3]) == (297, 300)
    block = luts.load(path, layout=luts.Layout(symbol="mul8u_low"), **FIGURES)
    np.testing.assert_array_equal(block.truth_table, luts.families.exact(signed=False))


@needs_compiler
def test_blocks_of_a_larger_circuit_are_offered_as_blocks(tmp_path):
    top = """
uint32_t mul16u_mine(uint16_t a, uint16_t b)
{ return mul8u_low(a, b) + (mul8u_high(a >> 8, b >> 8) << 16); }"""
    path = write(tmp_path, "large.c", BLOCKS + top)
    refused(path, "16×16 multiplier .* its blocks are mul8u_low, mul8u_high", signed=None)
    block = luts.load(path, layout=luts.Layout(symbol="mul8u_low"), **FIGURES)
    assert not block.signed
