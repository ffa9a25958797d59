"""The CUDA backends equal the definition; skipped without a GPU."""

import numpy as np
import pytest
import torch

from luts import Arithmetic, Geometry, Multiplier, Scaling, Task, catalog, select
from luts.backends import FLOAT32, INT8, TRITON
from tests.luts import oracle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CUDA = torch.device("cuda")
FIGURES = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "test"}


@pytest.fixture
def circuits(asymmetric_table: np.ndarray) -> dict[str, Arithmetic]:
    """Every circuit of the catalogue and a table without factors, both ports."""
    asymmetric_table[0, 0] = 17
    multipliers = {**catalog, "marked": Multiplier("marked", asymmetric_table, **FIGURES)}
    return {
        f"{name} {swapped}": Arithmetic(multiplier, swapped)
        for name, multiplier in multipliers.items()
        for swapped in (False, True)
    }


def test_the_expected_backends_are_chosen(circuits: dict[str, Arithmetic]) -> None:
    for name, arithmetic in circuits.items():
        known = arithmetic.factorisation is not None
        assert select(arithmetic, Task(CUDA, 64, 64)).backend is (INT8 if known else TRITON), name
        batched = Task(CUDA, 64, 64, batched=True)
        assert select(arithmetic, batched).backend is (FLOAT32 if known else TRITON), name


@pytest.mark.parametrize(
    "size", [(1, 1, 1), (16, 33, 7), (17, 256, 64), (130, 1_025, 65), (0, 5, 3)]
)
def test_linear(circuits: dict[str, Arithmetic], size: tuple[int, int, int]) -> None:
    m, k, n = size
    x, w = torch.randint(-128, 128, (m, k)).char(), torch.randint(-128, 128, (n, k)).char()
    for name, arithmetic in circuits.items():
        selection = select(arithmetic, Task(CUDA, k, n))
        y = selection.linear(x.to(CUDA), selection.prepare(w.to(CUDA)))
        expected = oracle.matrix_product(arithmetic.table, x, w.t())
        assert torch.equal(y.cpu().long(), expected), name


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_convolution(circuits: dict[str, Arithmetic], groups: int) -> None:
    geometry = Geometry((3, 3), (2, 1), (1, 2), (1, 2), groups)
    x = torch.randint(-127, 128, (3, 6, 9, 11)).char()
    w = torch.randint(-127, 128, (12, 6 // groups, 3, 3)).char()
    scale, factor, offset = torch.tensor([0.5]), torch.rand(12), torch.randn(12)
    for name, arithmetic in circuits.items():
        selection = select(arithmetic, Task(CUDA, 6, 12, geometry))
        prepared = selection.prepare(w.to(CUDA))
        expected = oracle.convolution(arithmetic.table, x, w, geometry)
        assert torch.equal(selection.convolve(x.to(CUDA), prepared).cpu().long(), expected), name
        scaling = Scaling(scale.to(CUDA), factor.to(CUDA), offset.to(CUDA))
        y = selection.convolve(x.to(CUDA) * scaling.x, prepared, scaling)
        scaled = expected.float() * factor.view(-1, 1, 1) + offset.view(-1, 1, 1)
        torch.testing.assert_close(y.cpu(), scaled)


def test_batched(circuits: dict[str, Arithmetic]) -> None:
    x, y = torch.randint(-128, 128, (2, 3, 17, 64)), torch.randint(-128, 128, (2, 3, 64, 33))
    for name, arithmetic in circuits.items():
        selection = select(arithmetic, Task(CUDA, 64, 33, batched=True))
        product = selection.batched(x.char().to(CUDA), y.char().to(CUDA))
        expected = oracle.matrix_product(arithmetic.table, x.char(), y.char())
        assert torch.equal(product.cpu().long(), expected), name
