"""`luts.matmul`: operand order, shapes, mistakes."""

import numpy as np
import pytest
import torch

from luts import InputError, Multiplier, catalog, matmul, matmul_reference
from tests.luts import oracle

FIGURES = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "test"}


def test_first_operand_is_the_row(asymmetric_table: np.ndarray) -> None:
    multiplier = Multiplier("marked", asymmetric_table, **FIGURES)
    x, w = torch.tensor([[3]]).char(), torch.tensor([[5]]).char()
    assert matmul(x, w, multiplier).item() == 1_015
    assert matmul(w, x, multiplier).item() == 15
    assert matmul(x, w, multiplier, swapped=True).item() == 15
    assert matmul(w, x, multiplier, swapped=True).item() == 1_015


@pytest.mark.parametrize("name", ["mul8s_1KV8", "mul8s_1KVL", "mul8s_1KX2"])
@pytest.mark.parametrize("swapped", [False, True])
def test_equals_the_reference_and_the_definition(name: str, swapped: bool) -> None:
    x, w = torch.randint(-128, 128, (2, 9, 70)).char(), torch.randint(-128, 128, (70, 21)).char()
    table = catalog[name].truth_table
    expected = oracle.matrix_product(table.T if swapped else table, x, w)
    for compute in (matmul, matmul_reference):
        y = compute(x, w, catalog[name], swapped=swapped)
        assert y.dtype == torch.int32
        assert torch.equal(y.long(), expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 0, 4, 5), (0, 2, 3, 5)])
def test_empty_operands(shape: tuple[int, ...]) -> None:
    x, w = torch.zeros(shape).char(), torch.ones(shape[-1], 6).char()
    y = matmul(x, w, catalog["mul8s_1KX2"])
    assert y.shape == (*shape[:-1], 6)
    assert not y.any()


def test_batch_dimensions_broadcast() -> None:
    x = torch.randint(-128, 128, (4, 1, 3, 17)).char()
    w = torch.randint(-128, 128, (2, 17, 5)).char()
    y = matmul(x, w, catalog["mul8s_1KVA"])
    expected = oracle.matrix_product(catalog["mul8s_1KVA"].truth_table, x, w)
    assert torch.equal(y.long(), expected)


def test_views_are_read_where_they_lie() -> None:
    larger = torch.randint(-128, 128, (6, 40)).char()
    x, w = larger[1:5, 3:20], larger[:, 20:37].t()
    for name in ("mul8s_1KV8", "mul8s_1KX2"):
        y = matmul(x, w, catalog[name])
        assert torch.equal(y, matmul(x.clone(), w.clone(), catalog[name]))


@pytest.mark.parametrize(
    ("x", "w", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2).char(), "x must be int8"),
        (torch.zeros(2, 3).char(), torch.zeros(3, 2).byte(), "w must be int8"),
        (torch.zeros(2, 3).char(), torch.zeros(4, 2).char(), "inner dimensions differ"),
        (torch.zeros(3).char(), torch.zeros(3, 2).char(), "at least 2 dimensions"),
        (torch.zeros(1, 65_537).char(), torch.zeros(65_537, 1).char(), "exact up to 65,536"),
    ],
)
def test_mistakes(x: torch.Tensor, w: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matmul(x, w, catalog["mul8s_1KV8"])


@pytest.mark.parametrize("name", ["array:a3b5d0", "array:a1b3d7", "array:a4b4d10", "array:a0b0d6"])
@pytest.mark.parametrize("swapped", [False, True])
def test_arrays_of_any_cut_are_exact(name: str, swapped: bool) -> None:
    x, w = torch.randint(-128, 128, (9, 70)).char(), torch.randint(-128, 128, (70, 21)).char()
    table = catalog[name].truth_table
    expected = oracle.matrix_product(table.T if swapped else table, x, w)
    assert torch.equal(matmul(x, w, catalog[name], swapped=swapped).long(), expected)
