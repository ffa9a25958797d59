"""Every backend equals the definition, bit for bit, for every circuit and kind of layer.

Run in this process, and again in processes that hold instruction sets back.
"""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luts import (
    Arithmetic,
    Geometry,
    InputError,
    Multiplier,
    Scaling,
    Task,
    catalog,
    families,
    select,
)
from luts._native import isa
from luts.backends import BACKENDS, FLOAT32, INT8, LOOKUP, NATIVE, REFERENCE, Backend
from tests.conftest import REPOSITORY
from tests.luts import oracle

CPU = torch.device("cpu")
# Around the tiles (1…6…12 rows, 16 and 64 columns, 192 look-up columns) and the runs of 4 and 32.
SIZES = st.sampled_from([1, 2, 3, 5, 6, 7, 12, 13, 15, 16, 17, 33, 48, 63, 64, 65])
INNER = st.sampled_from([1, 2, 3, 4, 5, 31, 32, 33, 63, 65, 255, 256, 257])
# Look-ups take other ways without the code −128, and without negative codes.
LOWEST = st.sampled_from([-128, -127, 0])
FIGURES = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0, "source": "test"}


def _table(seed: int, largest: int = 32_767) -> np.ndarray:
    """Products of any size up to ``largest``, ``T[0, 0] ≠ 0``, not symmetric."""
    table = np.random.default_rng(seed).integers(-largest, largest + 1, (256, 256))
    table[0, 0] = 12_345
    return table.astype(np.int32)


def _multipliers() -> dict[str, Multiplier]:
    """The catalogue, two full-rank tables, two unsigned, one of many rows, one by other factors.

    Products of ``wide`` and ``coarse`` pass 16 bits with a sign.
    """
    coarse = np.arange(1, 257)[:, None] * (np.arange(256) // 32) * 80
    unsigned = np.minimum.outer(np.arange(256), np.arange(256)) * 120
    return {name: catalog[name] for name in catalog} | {
        "random": Multiplier("random", _table(0), **FIGURES),
        "wide": Multiplier("wide", _table(1, 65_535), **FIGURES),
        "coarse": Multiplier("coarse", np.minimum(coarse, 65_535), signed=False, **FIGURES),
        "unsigned": Multiplier("unsigned", unsigned.astype(np.int32), signed=False, **FIGURES),
        "deep": Multiplier("deep", families.broken_array(break_diagonal=6), **FIGURES),
        "drum": Multiplier("drum", families.drum(k=4), **FIGURES),
    }


MULTIPLIERS = _multipliers()
ARITHMETICS = st.builds(
    lambda name, swapped, rounded: Arithmetic(MULTIPLIERS[name], swapped, rounded),
    st.sampled_from(sorted(MULTIPLIERS)),
    st.booleans(),
    st.booleans(),
)


def _capable(backend: Backend, arithmetic: Arithmetic, task: Task) -> bool:
    """As `refusal` says, but kernels that are merely slow here are tested as well."""
    if backend is NATIVE:
        return arithmetic.factorisation is not None and isa() != "none"
    return backend.refusal(arithmetic, task) is None


def _random_codes(seed: int, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-128, 128, shape, generator=generator, dtype=torch.int8)


def _each_backend(
    arithmetic: Arithmetic, task: Task, compute: Callable[[Backend], torch.Tensor], expected: object
) -> None:
    for backend in BACKENDS:
        if _capable(backend, arithmetic, task):
            y = compute(backend)
            assert y.dtype == torch.int32
            assert torch.equal(y.long(), expected), f"{backend.name}: {arithmetic.multiplier.name}"


@settings(max_examples=200)
@given(arithmetic=ARITHMETICS, m=SIZES, k=INNER, n=SIZES, low=LOWEST, seed=st.integers(0, 999))
def test_linear(arithmetic: Arithmetic, m: int, k: int, n: int, low: int, seed: int) -> None:
    x, w = _random_codes(seed, m, k), _random_codes(seed + 1, n, k).clamp(min=low)
    task = Task(CPU, k, n)
    expected = oracle.matrix_product(arithmetic.table, x, w.t())[:, :, None, None]

    def compute(backend: Backend) -> torch.Tensor:
        prepared = backend.prepare(w[:, :, None, None], arithmetic, task)
        return backend.layer(x[:, :, None, None], prepared, arithmetic, task, None)

    _each_backend(arithmetic, task, compute, expected)


@settings(max_examples=100)
@given(
    arithmetic=ARITHMETICS,
    batch=st.sampled_from([(), (3,), (2, 3), (2, 1, 2)]),
    sizes=st.tuples(SIZES, st.sampled_from([1, 3, 4, 33, 64, 257]), SIZES),
    along_k=st.booleans(),
    seed=st.integers(0, 999),
)
def test_batched(
    arithmetic: Arithmetic,
    batch: tuple[int, ...],
    sizes: tuple[int, int, int],
    along_k: bool,
    seed: int,
) -> None:
    m, k, n = sizes
    x, y = _random_codes(seed, *batch, m, k), _random_codes(seed + 1, *batch, k, n)
    if along_k:  # as k.transpose(-2, -1) lies in memory
        y = y.transpose(-2, -1).contiguous().transpose(-2, -1)
    task = Task(CPU, k, n, batched=True)
    expected = oracle.matrix_product(arithmetic.table, x, y)
    _each_backend(arithmetic, task, lambda b: b.batched(x, y, arithmetic, None), expected)


PAIRS = {
    "kernel": st.sampled_from([(1, 1), (3, 3), (1, 3), (2, 1), (5, 2)]),
    "stride": st.sampled_from([(1, 1), (2, 2), (1, 3)]),
    "padding": st.sampled_from([(0, 0), (1, 1), (0, 2)]),
    "dilation": st.sampled_from([(1, 1), (2, 1), (1, 2)]),
}


@settings(max_examples=300)
@given(
    arithmetic=ARITHMETICS,
    geometry=st.builds(Geometry, **PAIRS, groups=st.sampled_from([1, 1, 2, 3])),
    channels=st.sampled_from([1, 3, 8, 16]),
    out=st.sampled_from([1, 3, 5, 16, 18]),
    # From 16 images on, AMX tiles may be of one pixel of many images.
    image=st.sampled_from(
        [(0, 6, 6), (1, 5, 9), (2, 7, 6), (3, 9, 25), (1, 1, 1), (1, 3, 33), (33, 3, 2), (16, 4, 5)]
    ),
    layout=st.sampled_from(["contiguous", "channels_last", "view"]),
    low=LOWEST,
    seed=st.integers(0, 999),
)
def test_convolution(
    arithmetic: Arithmetic,
    geometry: Geometry,
    channels: int,
    out: int,
    image: tuple[int, int, int],
    layout: str,
    low: int,
    seed: int,
) -> None:
    channels, out = channels * geometry.groups, out * geometry.groups
    batch, height, width = image
    x = _laid_out(_random_codes(seed, batch, channels, height, width).clamp(min=low), layout)
    w = _random_codes(seed + 1, out, channels // geometry.groups, *geometry.kernel)
    task = Task(CPU, channels, out, geometry)
    expected = oracle.convolution(arithmetic.table, x, w, geometry)

    def compute(backend: Backend) -> torch.Tensor:
        prepared = backend.prepare(w, arithmetic, task)
        return backend.layer(x, prepared, arithmetic, task, None)

    _each_backend(arithmetic, task, compute, expected)


def _laid_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    if layout == "channels_last":
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "view":  # an offset into a larger storage, with gaps between the rows
        batch, channels, height, width = x.shape
        larger = torch.full((batch + 1, channels, height, width + 3), 77, dtype=x.dtype)
        larger[1:, :, :, 2 : 2 + width] = x
        return larger[1:, :, :, 2 : 2 + width]
    return x


@settings(max_examples=100)
@given(
    arithmetic=ARITHMETICS,
    geometry=st.sampled_from([Geometry(), Geometry((3, 3), (1, 1), (1, 1))]),
    channels=st.sampled_from([3, 16]),
    with_offset=st.booleans(),
    scale=st.sampled_from([0.013, 1e-3, 3.7, 1e-42, 2**-126]),
    seed=st.integers(0, 999),
)
def test_float_layers_equal_their_parts(
    arithmetic: Arithmetic,
    geometry: Geometry,
    channels: int,
    with_offset: bool,
    scale: float,
    seed: int,
) -> None:
    """Quantising, multiplying and scaling in one call gives the bits that PyTorch gives apart."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, channels, 5, 6, generator=generator) * scale * 60
    x.view(-1)[:20] = (torch.arange(20) - 9.5) * scale  # ties
    w = _random_codes(seed, 20, channels, *geometry.kernel)
    task = Task(CPU, channels, 20, geometry)
    x_scale = torch.tensor([scale])
    factor, offset = torch.rand(20, generator=generator), torch.randn(20, generator=generator)
    scaling = Scaling(x_scale, factor, offset if with_offset else None)
    codes = (x / x_scale).round().clamp(-127, 127).to(torch.int8)
    expected = oracle.convolution(arithmetic.table, codes, w, geometry).float()
    expected = expected * factor.view(-1, 1, 1)
    if with_offset:
        expected = expected + offset.view(-1, 1, 1)
    for backend in BACKENDS:
        if _capable(backend, arithmetic, task):
            prepared = backend.prepare(w, arithmetic, task)
            y = backend.layer(x, prepared, arithmetic, task, scaling)
            assert torch.equal(y, expected), backend.name


@pytest.mark.parametrize("k", [1023, 1024, 1025, 4096, 65_536])
@pytest.mark.parametrize("name", ["mul8s_1KV8", "mul8s_1KX2", "mul8s_1KVL", "random", "wide"])
def test_extremes_at_long_inner_dimensions(name: str, k: int) -> None:
    """No sum saturates or rounds: −128·−128 and its neighbours, up to the longest K."""
    arithmetic = Arithmetic(MULTIPLIERS[name])
    if k > arithmetic.multiplier.max_products:
        with pytest.raises(InputError, match="exact up to 32,7"):
            select(arithmetic, Task(CPU, k, 17))
        return
    task = Task(CPU, k, 17)
    for x_value, w_value in ((-128, -128), (127, 127), (-128, 127), (127, -128)):
        x = torch.full((3, k, 1, 1), x_value, dtype=torch.int8)
        w = torch.full((17, k, 1, 1), w_value, dtype=torch.int8)
        expected = k * int(arithmetic.table[x_value, w_value])
        for backend in (NATIVE, INT8, FLOAT32, LOOKUP):
            if _capable(backend, arithmetic, task):
                prepared = backend.prepare(w, arithmetic, task)
                y = backend.layer(x, prepared, arithmetic, task, None)
                assert bool((y == expected).all()), backend.name


@pytest.mark.parametrize("product", [32_767, -32_768, 40_000, 65_535, -65_535])
def test_the_largest_products_fit_at_the_longest_inner_dimension(product: int) -> None:
    table = np.full((256, 256), product, dtype=np.int32)
    arithmetic = Arithmetic(Multiplier("largest", table, **FIGURES))
    k = arithmetic.multiplier.max_products
    assert k == min(65_536, (2**31 - 1) // abs(product))
    task = Task(CPU, k, 2)
    x, w = torch.ones(1, k, 1, 1).char(), torch.ones(2, k, 1, 1).char()
    for backend in (NATIVE, LOOKUP, REFERENCE):
        if _capable(backend, arithmetic, task):
            y = backend.layer(x, backend.prepare(w, arithmetic, task), arithmetic, task, None)
            assert bool((y == product * k).all()), backend.name


@pytest.mark.parametrize(
    "variables",
    [
        {"AXDSE_MAX_ISA": "portable"},
        {"AXDSE_MAX_ISA": "avx2"},
        {"AXDSE_MAX_ISA": "avx512"},
        {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    ],
    ids=str,
)
def test_exact_under_lesser_instruction_sets(variables: dict[str, str]) -> None:
    if "AXDSE_TEST_AGAIN" in os.environ:
        pytest.skip("this is the second run")
    if variables.get("AXDSE_MAX_ISA") == isa():
        pytest.skip("the first run was under these")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]
    run = subprocess.run(
        [*command, "-k", "linear or batched or convolution or parts"],
        env={**os.environ, **variables, "AXDSE_TEST_AGAIN": "1"},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-3000:]
