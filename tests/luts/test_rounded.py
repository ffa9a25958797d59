"""Rounded operands: the circuit is fed the nearest multiple of what its ports tell apart."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from luts import Arithmetic, Multiplier, catalog, families, ignored_bits, matmul, matmul_reference
from luts._arithmetic import rounded_codes

FIGURES = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "test"}


def _value(code: int) -> int:
    return code - 256 if code > 127 else code


def _nearest(value: int, ignored: int) -> int:
    """By exact fractions: Python rounds these half to even."""
    if ignored == 8:
        return 0
    step = 2**ignored
    return min(max(round(Fraction(value, step)) * step, -128), 128 - step)


@pytest.mark.parametrize("ignored", range(9))
def test_codes_are_rounded_half_to_even_and_saturate(ignored: int) -> None:
    codes = rounded_codes(ignored)
    assert [_value(int(c)) for c in codes] == [_nearest(_value(c), ignored) for c in range(256)]
    assert ignored or np.array_equal(codes, np.arange(256))


def _drum() -> Multiplier:
    unsigned = (np.arange(256)[:, None] // 4 * 4) * (np.arange(256)[None] // 8 * 8)
    return Multiplier("cut", np.minimum(unsigned, 32767), signed=False, **FIGURES)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("name", [*catalog.names("mul8s"), "array:a2b4d7", "unsigned"])
def test_table_is_that_of_rounded_operands(name: str, swapped: bool) -> None:
    multiplier = _drum() if name == "unsigned" else catalog[name]
    cut, rounded = (Arithmetic(multiplier, swapped, r) for r in (False, True))
    x_ignored, w_ignored = ignored_bits(multiplier)[:: -1 if swapped else 1]
    x = [_nearest(_value(c), x_ignored) % 256 for c in range(256)]
    w = [_nearest(_value(c), w_ignored) % 256 for c in range(256)]
    assert np.array_equal(rounded.table, cut.table[np.ix_(x, w)])
    assert rounded.rounds == bool(x_ignored or w_ignored)
    assert (cut.key == rounded.key) == np.array_equal(cut.table, rounded.table)


def test_truncated_multiplier_is_a_narrow_one_of_rounded_operands() -> None:
    five = Arithmetic(catalog["mul8s_1L1G"], rounded=True)
    values = np.array([_nearest(_value(c), 3) for c in range(256)])
    assert np.array_equal(five.table, np.outer(values, values))
    assert five.factorisation is not None and five.factorisation.terms == 1


@pytest.mark.parametrize("name", ["mul8s_1L1G", "mul8s_1KX2", "mul8s_1KR3", "array:a2b4d7", "odd"])
@pytest.mark.parametrize("swapped", [False, True])
def test_products_are_those_of_the_table(name: str, swapped: bool) -> None:
    if name == "odd":  # no short factorisation: looked up
        table = families.broken_array(break_a=2)
        table = np.where(np.arange(256)[:, None] // 4 % 3 == 1, table + 1, table).astype(np.int32)
        multiplier = Multiplier(name, table, **FIGURES)
    else:
        multiplier = catalog[name]
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(-128, 128, (37, 70), generator=generator, dtype=torch.int8)
    w = torch.randint(-128, 128, (70, 33), generator=generator, dtype=torch.int8)
    table = Arithmetic(multiplier, swapped, rounded=True).table
    codes = x.numpy().view(np.uint8), w.numpy().view(np.uint8)
    slow = table[codes[0][:, :, None], codes[1][None]].sum(axis=1)
    for product in (matmul, matmul_reference):
        assert np.array_equal(product(x, w, multiplier, swapped=swapped, rounded=True), slow)
    x, w = x[None].expand(3, -1, -1), w[None].expand(3, -1, -1)
    assert np.array_equal(matmul(x, w, multiplier, swapped=swapped, rounded=True)[2], slow)
