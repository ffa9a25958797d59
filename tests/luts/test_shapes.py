"""Operands that do not fit are refused as PyTorch refuses them; empty ones give what it gives."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from luts import Arithmetic, Geometry, Multiplier, Scaling, Task, catalog, matmul, select
from luts._native import native_batched, native_layer, native_lookup, native_pack, native_quantise
from luts._native._library import kernels_or_none
from luts._staircase import terms_of

CPU = torch.device("cpu")
needs_kernels = pytest.mark.skipif(kernels_or_none() is None, reason="needs the compiled kernels")


@pytest.fixture(params=["products", "look-ups"])
def arithmetic(request: pytest.FixtureRequest, asymmetric_table: np.ndarray) -> Arithmetic:
    if request.param == "products":
        return Arithmetic(catalog["mul8s_1KX2"])
    table = np.random.default_rng(0).integers(-99, 99, (256, 256)).astype(np.int32)
    return Arithmetic(Multiplier("random", table, 1.0, 1.0, 1.0, "test"))


def _message(compute: Callable[[], object]) -> str | None:
    try:
        compute()
    except RuntimeError as error:
        return str(error)
    return None


def _scaling(out: int | None) -> Scaling:
    one = torch.ones(1)
    return Scaling(one, one if out is None else torch.ones(out), y=one if out is None else None)


@pytest.mark.parametrize(
    "shape",
    [(2, 60), (2, 1_000), (2, 3, 63), (64,), (63,), (), (2, 0), (0, 64), (0, 63), (3, 0, 64)],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_linear_takes_what_pytorch_takes(
    arithmetic: Arithmetic, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    selection = select(arithmetic, Task(CPU, 64, 5))
    w = torch.ones(5, 64)
    prepared = selection.prepare(w.char())
    x = torch.ones(shape, dtype=dtype)
    refused = _message(lambda: F.linear(x, w))
    assert _message(lambda: selection.linear(x, prepared, _scaling(5))) == refused
    if refused is None:
        y = selection.linear(x, prepared, _scaling(5))
        assert (y.shape, y.dtype) == (F.linear(x, w).shape, torch.float32)


@pytest.mark.parametrize(
    "shape",
    [
        *((2, 6, 9, 9), (2, 9, 9, 9), (2, 8, 3, 9), (2, 8, 9, 4), (2, 8, 0, 9), (2, 8, 0, 0)),
        *((0, 8, 9, 9), (0, 6, 9, 9), (0, 8, 2, 2), (2, 0, 9, 9), (9, 9), (1, 2, 8, 9, 9)),
        *((0, 8, 9, 0), (0, 8, 0, 9), (0, 8, 9, 3), (2, 8, 9, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_takes_what_pytorch_takes(
    arithmetic: Arithmetic, shape: tuple[int, ...], dtype: torch.dtype, groups: int
) -> None:
    geometry = Geometry((3, 5), stride=(2, 1), padding=(0, 1), dilation=(2, 1), groups=groups)
    selection = select(arithmetic, Task(CPU, 8, 4, geometry))
    w = torch.ones(4, 8 // groups, 3, 5)
    prepared = selection.prepare(w.char())
    x = torch.ones(shape, dtype=dtype)
    rest = (geometry.stride, geometry.padding, geometry.dilation, groups)
    refused = _message(lambda: F.conv2d(x, w, torch.zeros(4), *rest))
    assert _message(lambda: selection.convolve(x, prepared, _scaling(4))) == refused
    if refused is None:
        y = selection.convolve(x, prepared, _scaling(4))
        assert (y.shape, y.dtype) == (F.conv2d(x, w, torch.zeros(4), *rest).shape, torch.float32)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        *(((2, 3, 4), (2, 5, 6)), ((2, 3, 4), (3, 4, 6)), ((2, 1, 3, 4), (3, 4, 5))),
        *(((4, 3, 4), (2, 2, 4, 5)), ((2, 3, 0), (2, 0, 5)), ((2, 0, 4), (2, 4, 5))),
        *(((2, 3, 4), (2, 4, 0)), ((0, 3, 4), (0, 4, 5)), ((0, 3, 4), (2, 4, 5))),
        *(((3, 4), (4, 5)), ((1, 3, 4), (0, 4, 5))),
    ],
)
def test_products_take_what_pytorch_takes(
    arithmetic: Arithmetic, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    selection = select(arithmetic, Task(CPU, 64, 64, batched=True))
    x, y = torch.ones(left), torch.ones(right)
    refused = _message(lambda: x @ y)
    assert _message(lambda: selection.batched(x, y, _scaling(None))) == refused
    if refused is None:
        assert selection.batched(x, y, _scaling(None)).shape == (x @ y).shape


@pytest.mark.parametrize("shape", [(0, 8, 9, 0), (0, 8, 0, 0), (2, 8, 9, 0)])
def test_images_that_are_all_padding(arithmetic: Arithmetic, shape: tuple[int, ...]) -> None:
    geometry = Geometry((3, 3), padding=(2, 2))
    selection = select(arithmetic, Task(CPU, 8, 4, geometry))
    w, x = torch.ones(4, 8, 3, 3), torch.ones(shape)
    prepared = selection.prepare(w.char())
    refused = _message(lambda: F.conv2d(x, w, torch.zeros(4), 1, 2))
    assert _message(lambda: selection.convolve(x, prepared, _scaling(4))) == refused
    if refused is None:
        y = selection.convolve(x, prepared, _scaling(4))
        assert y.shape == F.conv2d(x, w, torch.zeros(4), 1, 2).shape


def test_products_of_vectors_and_of_other_types_are_refused(arithmetic: Arithmetic) -> None:
    selection = select(arithmetic, Task(CPU, 64, 64, batched=True))
    with pytest.raises(ValueError, match="two matrices"):
        selection.batched(torch.ones(4), torch.ones(4, 5), _scaling(None))
    with pytest.raises(ValueError, match="must be float32"):
        selection.batched(torch.ones(3, 4).double(), torch.ones(4, 5).double(), _scaling(None))


def test_one_image_is_no_batch(arithmetic: Arithmetic) -> None:
    selection = select(arithmetic, Task(CPU, 8, 4))
    with pytest.raises(ValueError, match="must be"):
        selection.convolve(torch.ones(8, 9, 9), selection.prepare(torch.ones(4, 8).char()))


@pytest.mark.parametrize("name", ["mul8s_1KV8", "mul8s_1KX2"])
def test_a_sum_of_no_products_is_zero(name: str) -> None:
    x, w = torch.zeros(3, 2, 0).char(), torch.zeros(3, 0, 2).char()
    assert matmul(x, w, catalog[name]).tolist() == [[[0, 0], [0, 0]]] * 3


def test_batches_that_do_not_broadcast_are_refused() -> None:
    x, w = torch.zeros(3, 2, 4).char(), torch.zeros(2, 4, 2).char()
    with pytest.raises(ValueError, match="batch dimensions differ"):
        matmul(x, w, catalog["mul8s_1KX2"])


@needs_kernels
def test_native_entries_check_what_they_get() -> None:
    terms = terms_of(Arithmetic(catalog["mul8s_1KX2"]), max_depth=0)
    assert terms is not None
    arithmetic = Arithmetic(catalog["mul8s_1KV8"])
    w, x = torch.ones(4, 8, 1, 1).char(), torch.ones(2, 8, 3, 3)
    packed = native_pack(w, terms)
    rows, columns = torch.ones(4, 8).char(), torch.ones(2, 8, 1, 3).char()
    refused: list[Callable[[], object]] = [
        lambda: native_layer(x[:, :7], packed),
        lambda: native_layer(x.double(), packed),
        lambda: native_layer(x[0], packed),
        lambda: native_layer(x, packed, scale=torch.ones(3)),
        lambda: native_layer(x, packed, scale=torch.ones(4).double()),
        lambda: native_layer(x, packed, scale=torch.ones(4), bias=torch.ones(5)),
        lambda: native_pack(w.float(), terms),
        lambda: native_pack(w, terms, Geometry((3, 3))),
        lambda: native_pack(w, terms, Geometry(groups=3)),
        lambda: native_pack(w[:, :0], terms),
        lambda: native_batched(torch.ones(2, 3), torch.ones(4, 5), terms),
        lambda: native_batched(torch.ones(2, 0), torch.ones(0, 5), terms),
        lambda: native_batched(torch.ones(2, 3).half(), torch.ones(3, 5), terms),
        lambda: native_layer(torch.ones(1, 8, 1, 1).expand(1, 8, 1, 2**29), packed),
        lambda: native_lookup(columns, rows[:, :7].contiguous(), arithmetic),
        lambda: native_lookup(columns[:, :, :, ::2], rows, arithmetic),
        lambda: native_lookup(columns, rows.expand(3, 4, 8).contiguous(), arithmetic),
        lambda: native_lookup(columns, rows.int(), arithmetic),
        lambda: native_lookup(columns, rows, arithmetic, scale=torch.ones(2)),
        lambda: native_lookup(columns, rows, arithmetic, transposed=True, scale=torch.ones(3)),
        lambda: native_quantise(x.double(), 1.0),
    ]
    for compute in refused:
        with pytest.raises(ValueError, match="the kernels need"):
            compute()
