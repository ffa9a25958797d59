"""Factorisations: the term counts that are known, and exactness for whatever is found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import luts

TERMS = {
    **dict.fromkeys(("1KV8", "1KR8", "1L2H", "1KTY", "1L2D", "1L1G", "1KR3"), 1),
    **dict.fromkeys(("1KVA", "1KR6"), 3),
    **dict.fromkeys(("1KVB", "1KRC", "1KVL"), 4),
    "1KX2": 5,
}

seeds = st.integers(0, 2**32 - 1)


def check_exact(found: luts.Factorisation, table: np.ndarray) -> None:
    """Multiply out with Python's own integers: no int8, no library product."""
    assert found.u.dtype == found.v.dtype == np.int8
    assert found.u.shape == found.v.shape == (found.terms, 256)
    total = sum(
        np.multiply.outer(u.astype(object), v.astype(object))
        for u, v in zip(found.u, found.v, strict=True)
    )
    assert (total == table).all()
    np.testing.assert_array_equal(found.table(), table)


def check_masks(found: luts.Factorisation) -> None:
    codes = np.arange(256, dtype=np.uint8)
    for factors, masks in ((found.u, found.u_masks), (found.v, found.v_masks)):
        if masks is not None:
            for factor, mask in zip(factors, masks, strict=True):
                np.testing.assert_array_equal(factor, (codes & np.uint8(mask)).view(np.int8))


@pytest.mark.parametrize(("name", "terms"), TERMS.items())
@pytest.mark.parametrize("swapped", [False, True])
def test_term_counts_of_the_thirteen(name, terms, swapped):
    arithmetic = luts.Arithmetic(luts.catalog[f"mul8s_{name}"], swapped)
    found = arithmetic.factorisation
    assert found is not None
    assert found.terms == terms
    check_exact(found, arithmetic.table)
    check_masks(found)
    bound = sum(
        int(abs(u.astype(int)).max() * abs(v.astype(int)).max())
        for u, v in zip(found.u, found.v, strict=True)
    )
    assert found.max_abs_sum == bound >= arithmetic.max_abs_product


def test_terms_are_enough_that_no_shorter_sum_exists():
    # The rank of any part of a table bounds the number of products from below.
    powers = 1 << np.arange(8)
    for name, terms in TERMS.items():
        part = luts.catalog[f"mul8s_{name}"].truth_table[np.ix_(powers, powers)]
        assert np.linalg.matrix_rank(part.astype(float)) == terms


@settings(max_examples=40)
@given(a=st.integers(0, 8), b=st.integers(0, 8), diagonal=st.integers(0, 15))
def test_any_broken_array(a, b, diagonal):
    table = luts.families.broken_array(break_a=a, break_b=b, break_diagonal=diagonal)
    found = luts.factorise(table)
    if not table.any():
        assert found is None
    elif found is not None:
        check_exact(found, table)
        check_masks(found)
        assert found.terms <= 8
    if max(a, diagonal - b) <= 7 and table.any():
        assert found is not None


@settings(max_examples=40)
@given(seed=seeds, scale=st.sampled_from([1, 2, 8, 30]))
def test_any_separable_table_is_one_product(seed, scale):
    rng = np.random.default_rng(seed)
    u, v = rng.integers(-128 // scale, 127 // scale + 1, (2, 256))
    table = np.multiply.outer(u, v).astype(np.int32)
    found = luts.factorise(table)
    assert found is not None
    assert found.terms == 1
    check_exact(found, table)


@settings(max_examples=20)
@given(seed=seeds, entries=st.integers(1, 5))
def test_a_table_that_is_nearly_a_circuit_is_never_taken_for_it(seed, entries):
    rng = np.random.default_rng(seed)
    table = luts.catalog["mul8s_1L2H"].truth_table.copy()
    table[tuple(rng.integers(0, 256, (2, entries)))] += 1
    found = luts.factorise(table)
    if found is not None:
        check_exact(found, table)


@settings(max_examples=20)
@given(seed=seeds, top=st.sampled_from([1, 2, 100, 32_767]))
def test_any_table_is_equal_or_none(seed, top):
    table = np.random.default_rng(seed).integers(-top, top + 1, (256, 256), dtype=np.int32)
    found = luts.factorise(table)
    if found is not None:
        check_exact(found, table)


@settings(max_examples=30)
@given(seed=seeds)
def test_any_table_bilinear_in_the_bits(seed):
    rng = np.random.default_rng(seed)
    coefficients = rng.integers(-8, 9, (8, 8)) * (rng.random((8, 8)) < 0.4)
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    table = (bits @ coefficients @ bits.T).astype(np.int32)
    found = luts.factorise(table)
    if found is not None:
        check_exact(found, table)


def test_a_full_rank_table_has_none(rng):
    assert luts.factorise(rng.integers(-9, 9, (256, 256), dtype=np.int32)) is None
    assert luts.factorise(np.zeros((256, 256), np.int32)) is None


def test_a_marked_cell_leaves_no_factorisation(asymmetric_table):
    assert luts.factorise(asymmetric_table) is None


def test_equal_tables_share_one_factorisation():
    one, other = luts.catalog["mul8s_1L2H"], luts.catalog["v2022/mul8s_1L2J"]
    assert luts.Arithmetic(one).factorisation is luts.Arithmetic(other).factorisation
