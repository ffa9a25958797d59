"""Families against scalar formulations of their own papers, and the properties they claim."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from luts import families

TABLES = {
    "exact": families.exact,
    "broken_array": lambda **kw: families.broken_array(break_a=2, break_diagonal=5, **kw),
    "truncated": lambda **kw: families.truncated(columns=6, correction=64, **kw),
    "drum": lambda **kw: families.drum(k=4, **kw),
    "mitchell": families.mitchell,
    "roba": families.roba,
}

magnitudes = st.integers(0, 255)
operands = st.integers(-128, 127)


def drum_scalar(a: int, b: int, k: int) -> int:
    """On the digits of the binary numeral: keep k, the last of them a one, zeros after."""

    def cut(value: int) -> int:
        digits = f"{value:b}"
        return value if len(digits) <= k else int(f"{digits[: k - 1]}1".ljust(len(digits), "0"), 2)

    return cut(a) * cut(b)


def mitchell_scalar(a: int, b: int) -> int:
    """With rational logarithms: characteristic plus mantissa, added, and back."""
    if a == 0 or b == 0:
        return 0

    def logarithm(value: int) -> Fraction:
        k = value.bit_length() - 1
        return k + Fraction(value, 2**k) - 1

    total = logarithm(a) + logarithm(b)
    k = math.floor(total)
    product = 2**k * (1 + total - k)
    assert product.denominator == 1
    return int(product)


def roba_scalar(a: int, b: int) -> int:
    """With the nearest power found by search: a·b − (a_r − a)(b_r − b)."""

    def nearest(value: int) -> int:
        if value in (0, 3):
            return {0: 0, 3: 2}[value]
        return min((2**n for n in range(9)), key=lambda power: (abs(power - value), -power))

    return a * b - (nearest(a) - a) * (nearest(b) - b)


def signed_by(scalar, a: int, b: int) -> int:
    sign = (a > 0) - (a < 0), (b > 0) - (b < 0)
    return sign[0] * sign[1] * scalar(abs(a), abs(b))


@pytest.mark.parametrize("k", range(2, 9))
@given(a=magnitudes, b=magnitudes)
def test_drum_equals_its_digits(k, a, b):
    assert families.drum(k=k, signed=False)[a, b] == drum_scalar(a, b, k)


@given(a=magnitudes, b=magnitudes)
def test_mitchell_equals_its_logarithms(a, b):
    assert families.mitchell(signed=False)[a, b] == mitchell_scalar(a, b)


@given(a=magnitudes, b=magnitudes)
def test_roba_equals_its_error_term(a, b):
    assert families.roba(signed=False)[a, b] == roba_scalar(a, b)


@given(a=operands, b=operands)
def test_signed_ones_work_through_sign_and_magnitude(a, b):
    at = (a % 256, b % 256)
    assert families.drum(k=6)[at] == signed_by(lambda x, y: drum_scalar(x, y, 6), a, b)
    assert families.mitchell()[at] == signed_by(mitchell_scalar, a, b)
    assert families.roba()[at] == signed_by(roba_scalar, a, b)
    assert families.exact()[at] == a * b


@given(a=magnitudes, b=magnitudes, columns=st.integers(0, 15), step=st.integers(-2, 2))
def test_truncated_equals_a_sum_without_low_columns(a, b, columns, step):
    correction = step * 2**columns if columns < 14 else 0
    total = sum(
        ((a >> i) & 1) * ((b >> j) & 1) << (i + j)
        for i in range(8)
        for j in range(8)
        if i + j >= columns
    )
    table = families.truncated(columns=columns, correction=correction, signed=False)
    assert table[a, b] == total + correction


@given(
    a=operands, b=operands, cuts=st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(0, 15))
)
def test_broken_array_equals_its_partial_products(a, b, cuts):
    weights = [1, 2, 4, 8, 16, 32, 64, -128]
    total = sum(
        weights[i] * weights[j] * ((a >> i) & 1) * ((b >> j) & 1)
        for i in range(8)
        for j in range(8)
        if i >= cuts[0] and j >= cuts[1] and i + j >= cuts[2]
    )
    table = families.broken_array(break_a=cuts[0], break_b=cuts[1], break_diagonal=cuts[2])
    assert table[a % 256, b % 256] == total


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("family", TABLES)
def test_every_family_makes_a_multiplier(family, signed):
    table = TABLES[family](signed=signed)
    assert table.dtype == np.int32
    multiplier = luts.Multiplier("m", table, 0.1, 100.0, 1.0, "a test", signed=signed)
    metrics = luts.error_metrics(multiplier)
    assert (metrics.wce == 0) == (family == "exact")
    assert metrics.mae_pct < 3


def test_published_bounds():
    # Mitchell: never above the product, at most 1/9 below, which 3 · 3 = 9 - 1 reaches.
    values = np.arange(1, 256)
    product = np.multiply.outer(values, values)
    relative = families.mitchell(signed=False)[1:, 1:] / product - 1
    assert relative.max() == 0
    assert relative.min() == pytest.approx(-1 / 9)
    # RoBA: at most 1/9, but for the odd rule that takes 3 to 2.
    relative = np.abs(families.roba(signed=False)[1:, 1:] / product - 1)
    relative[2] = relative[:, 2] = 0
    assert relative.max() == pytest.approx(1 / 9)
    # DRUM-k: an operand errs by at most 2^(1−k), so a product by twice that and its square.
    for k in range(3, 9):
        relative = families.drum(k=k, signed=False)[1:, 1:] / product - 1
        step = 2.0 ** (1 - k)
        assert np.abs(relative).max() <= 2 * step + step**2


def test_whole_ranges_are_exact():
    np.testing.assert_array_equal(families.drum(k=8), families.exact())
    np.testing.assert_array_equal(families.truncated(columns=0), families.exact())
    np.testing.assert_array_equal(families.broken_array(), families.exact())
    np.testing.assert_array_equal(families.broken_array(signed=False), families.exact(signed=False))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: families.drum(k=1), r"k lies in 2…8, not 1"),
        (lambda: families.drum(k=9), r"k lies in 2…8, not 9"),
        (lambda: families.broken_array(break_a=9), r"break_a lies in 0…8, not 9"),
        (lambda: families.broken_array(break_b=-1), r"break_b lies in 0…8, not -1"),
        (lambda: families.broken_array(break_diagonal=16), r"break_diagonal lies in 0…15"),
        (lambda: families.truncated(columns=16), r"columns lies in 0…15"),
        (lambda: families.truncated(columns=4, correction=8), r"multiple of 2\^4 = 16, not 8"),
        (lambda: families.truncated(columns=4, correction=2**16), r"correction lies in"),
    ],
)
def test_parameters_out_of_range_are_refused(make, message):
    with pytest.raises(luts.InputError, match=message):
        make()
