"""Bits that a circuit ignores, against brute force and the published break positions."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts


def make(table, *, signed=True) -> luts.Multiplier:
    return luts.Multiplier("mine", table, 0.4, 700.0, 1.4, source="a test", signed=signed)


def by_definition(table, codes, most):
    """Low bits of the first port, by flipping every one of them in every code in use."""
    ignored = 0
    while ignored < most:
        flipped = [(code, code ^ (1 << ignored)) for code in codes]
        if any((table[a] != table[b]).any() for a, b in flipped if b in codes):
            break
        ignored += 1
    return ignored


def depends_on(shift_first, shift_second, seed):
    """Random products that depend on the operands without these low bits."""
    cut = np.random.default_rng(seed).integers(-9_000, 9_000, (256, 256), dtype=np.int32)
    codes = np.arange(256)
    return cut[np.ix_(codes >> shift_first, codes >> shift_second)]


shifts = st.integers(0, 8)


@given(first=shifts, second=shifts, seed=st.integers(0, 99))
def test_equal_the_definition_of_a_signed_circuit(first, second, seed):
    table = depends_on(first, second, seed)
    expected = by_definition(table, range(256), 8), by_definition(table.T, range(256), 8)
    assert luts.ignored_bits(make(table)) == expected
    assert luts.ignored_bits(make(table.T)) == expected[::-1]
    # A constant operand leaves nothing of the other one that could be told apart either.
    if max(first, second) < 8:
        assert expected == (first, second)


@given(first=shifts, second=shifts, seed=st.integers(0, 99), noise=st.booleans())
def test_equal_the_definition_of_a_circuit_of_magnitudes(first, second, seed, noise):
    table = depends_on(first, second, seed)
    if noise:  # beyond the magnitudes of signed codes: never multiplied with
        table[129:], table[:, 129:] = depends_on(0, 0, seed)[129:], depends_on(0, 0, seed)[:, 129:]
    used = table[:129, :129]
    expected = by_definition(used, range(129), 7), by_definition(used.T, range(129), 7)
    assert luts.ignored_bits(make(table, signed=False)) == expected


@given(first=st.integers(0, 7), second=st.integers(0, 7), seed=st.integers(0, 99))
def test_products_of_cut_magnitudes_are_the_signed_table(first, second, seed):
    """What is stored is a sign and the magnitude's other bits, and gives every product."""
    multiplier = make(depends_on(first, second, seed), signed=False)
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(int)
    sign, magnitude = np.where(values < 0, -1, 1), np.abs(values)
    x_bits, w_bits = luts.ignored_bits(multiplier)
    cut = np.ix_(magnitude >> x_bits << x_bits, magnitude >> w_bits << w_bits)
    products = np.multiply.outer(sign, sign) * multiplier.truth_table[cut]
    np.testing.assert_array_equal(products, multiplier.signed_table)


def test_two_complement_bits_are_not_those_of_the_magnitude():
    magnitudes = np.arange(256) >> 1 << 1
    multiplier = make(np.multiply.outer(magnitudes, magnitudes).astype(np.int32), signed=False)
    assert luts.ignored_bits(multiplier) == (1, 1)
    # Codes 254 and 255 are −2 and −1, whose magnitudes are not of one pair.
    assert luts.ignored_bits(make(multiplier.signed_table)) == (0, 0)


def test_the_thirteen_circuits_ignore_what_their_array_leaves_out(reference_data):
    with (reference_data / "evoapprox/mul8s.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    for row in rows:
        cuts = [int(row[name]) for name in ("break_a", "break_b")]
        # Bit i of one operand meets no more than bit 7 of the other.
        corner = int(row["break_diagonal"]) - 7
        expected = tuple(max(cut, corner) for cut in cuts)
        assert luts.ignored_bits(luts.catalog[row["name"]]) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [("mul8s_1KV8", (0, 0)), ("mul8s_1L1G", (3, 3)), ("mul8s_1KR3", (6, 0))]
)
def test_known_circuits(name, expected):
    assert luts.ignored_bits(luts.catalog[name]) == expected


def test_exact_circuits_ignore_nothing():
    for signed in (True, False):
        exact = make(luts.families.exact(signed=signed), signed=signed)
        assert luts.ignored_bits(exact) == (0, 0)
