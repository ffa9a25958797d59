"""Multiplier: what it accepts, its hash, its signed table."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import luts
from luts._multiplier import MAX_ABS_PRODUCT


def make(table, **changes) -> luts.Multiplier:
    figures = {"power_mw": 0.4, "area_um2": 700.0, "delay_ns": 1.4, "source": "a test"}
    return luts.Multiplier(**{"name": "mine", "truth_table": table, **figures, **changes})


def test_table_is_a_frozen_copy(asymmetric_table):
    multiplier = make(asymmetric_table)
    asymmetric_table[0, 0] = 99
    assert multiplier.truth_table[0, 0] == 0
    assert multiplier.truth_table.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        multiplier.truth_table[0, 0] = 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": ""}, "name"),
        ({"name": " blank "}, "blanks"),
        ({"truth_table": np.zeros((256, 255), np.int32)}, r"shape \(256, 256\).*\(256, 255\)"),
        ({"truth_table": np.zeros(65_536, np.int32)}, r"\(65536,\)"),
        ({"truth_table": np.zeros((256, 256))}, "integers, not float64"),
        ({"truth_table": np.zeros((256, 256), bool)}, "integers, not bool"),
        ({"power_mw": 0.0}, "power_mw must be a positive number, not 0.0"),
        ({"area_um2": -1.0}, "area_um2"),
        ({"delay_ns": math.nan}, "delay_ns"),
        ({"power_mw": math.inf}, "power_mw"),
        ({"power_mw": "0.4"}, "power_mw must be a positive number, not '0.4'"),
    ],
)
def test_bad_input_is_refused(changes, message):
    with pytest.raises(luts.InputError, match=message):
        make(
            **{"table": np.zeros((256, 256), np.int32), **changes}
            if "truth_table" not in changes
            else {"table": changes["truth_table"]}
        )


@pytest.mark.parametrize("worst", [1, 32_767, 32_768, -32_768, MAX_ABS_PRODUCT, -MAX_ABS_PRODUCT])
def test_as_many_products_are_summed_as_32_bits_hold(worst):
    table = np.zeros((256, 256), np.int64)
    table[255, 255] = worst
    most = make(table).max_products
    assert abs(worst) * most < 2**31
    assert most == 65_536 or abs(worst) * (most + 1) >= 2**31


@pytest.mark.parametrize("worst", [MAX_ABS_PRODUCT, -MAX_ABS_PRODUCT])
def test_products_beyond_16_bits_are_refused(worst):
    table = np.zeros((256, 256), np.int64)
    table[255, 255] = worst + np.sign(worst)
    with pytest.raises(luts.InputError, match="16 bits hold; this table has 65,536"):
        make(table)


def test_products_in_use_bound_the_sums_of_an_unsigned_circuit():
    table = np.zeros((256, 256), np.int64)
    table[128, 128], table[129, 129] = 40_000, 60_000
    assert make(table, signed=False).max_products == (2**31 - 1) // 40_000


def test_unsigned_products_beyond_operand_128_are_free_but_never_wrap():
    table = np.zeros((256, 256), np.int64)
    table[255, 255] = 65_025
    assert make(table, signed=False).truth_table[255, 255] == 65_025
    table[255, 255] = 2**32 + 7
    with pytest.raises(luts.InputError, match="32 bits"):
        make(table, signed=False)


def test_sha256_is_that_of_signedness_and_little_endian_rows(asymmetric_table):
    expected = hashlib.sha256(b"mul8s" + asymmetric_table.astype("<i4").tobytes()).hexdigest()
    assert make(asymmetric_table).sha256 == expected
    assert make(asymmetric_table.astype(np.int64)).sha256 == expected
    assert make(np.asfortranarray(asymmetric_table)).sha256 == expected
    assert make(asymmetric_table, signed=False).sha256 != expected
    assert make(asymmetric_table.T).sha256 != expected


def test_equality_is_name_and_table(asymmetric_table):
    one, same = make(asymmetric_table), make(asymmetric_table, power_mw=0.1)
    assert one == same and hash(one) == hash(same)
    assert one != make(asymmetric_table, name="other")
    assert one != make(asymmetric_table.T)
    assert one != "mine"


def test_commutativity(asymmetric_table):
    assert not make(asymmetric_table).is_commutative
    assert make(luts.families.exact()).is_commutative


@given(x=st.integers(-128, 127), w=st.integers(-128, 127), seed=st.integers(0, 99))
def test_unsigned_circuits_work_through_sign_and_magnitude(x, w, seed):
    table = np.random.default_rng(seed).integers(0, 10_000, (256, 256), dtype=np.int32)
    product = make(table, signed=False).signed_table[x % 256, w % 256]
    sign = (-1 if x < 0 else 1) * (-1 if w < 0 else 1)
    assert product == sign * table[abs(x), abs(w)]


def test_signed_table_of_a_signed_circuit_is_its_own(asymmetric_table):
    np.testing.assert_array_equal(make(asymmetric_table).signed_table, asymmetric_table)
