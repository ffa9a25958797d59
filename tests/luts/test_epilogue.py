"""What a layer does after its sums: against the same operations of PyTorch, one after the other."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from luts import Arithmetic, Epilogue, Geometry, Scaling, Task, catalog, isa, max_pool, select
from luts._native import native_layer, native_pack
from luts.backends import NATIVE
from luts.backends._base import Backend
from tests.conftest import REPOSITORY

needs_kernels = pytest.mark.skipif(isa() == "none", reason="needs the compiled kernels")
CPU = torch.device("cpu")

sizes = st.integers(1, 9)


@st.composite
def layers(draw):
    """A layer, its input, and an epilogue."""
    channels, out = draw(st.integers(1, 40)), draw(st.integers(1, 90))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3)]))
    geometry = Geometry(kernel, draw(st.sampled_from([(1, 1), (2, 1)])), (1, 1))
    task = Task(CPU, channels, out, geometry)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    shape = draw(st.integers(1, 5)), channels, draw(st.integers(2, 9)), draw(st.integers(2, 9))
    codes = torch.randint(-127, 128, shape, generator=generator, dtype=torch.int8)
    w = torch.randint(-127, 128, (out, channels, *kernel), generator=generator, dtype=torch.int8)
    spread = draw(st.sampled_from([1e-3, 1.0, 1e30]))
    factor = torch.randn(out, generator=generator) * spread
    offset = torch.randn(out, generator=generator) * spread if draw(st.booleans()) else None
    if offset is not None and draw(st.booleans()):
        offset[::3] = draw(st.sampled_from([float("nan"), float("inf"), -0.0]))
    added = None
    if draw(st.booleans()):
        size = geometry.out_size(*shape[2:])
        added = torch.randn(shape[0], out, *size, generator=generator) * spread
        added.view(-1)[:: draw(st.integers(2, 20))] = draw(
            st.sampled_from([-0.0, float("nan"), float("-inf"), 0.0])
        )
        if draw(st.booleans()):
            added = added.contiguous(memory_format=torch.channels_last)
    epilogue = Epilogue(
        added=added,
        adds_rectified=draw(st.booleans()),
        codes_scale=draw(
            st.sampled_from([None, *(torch.tensor(s).item() for s in (0.1, 1e-3, 1e-40, 1e28))])
        ),
        is_rectified=draw(st.booleans()),
        keeps_values=draw(st.booleans()),
    )
    return task, codes, w, Scaling(torch.tensor([0.1]), factor, offset), epilogue


def same(x, y):
    """Whether two tensors are equal in every bit; NaNs of any payload are one."""
    if x is None or y is None:
        return x is y
    if x.dtype == torch.int8:
        return torch.equal(x, y)
    nan = x.isnan()
    return torch.equal(nan, y.isnan()) and torch.equal(
        x.masked_fill(nan, 0).contiguous().view(torch.int32),
        y.masked_fill(nan, 0).contiguous().view(torch.int32),
    )


@needs_kernels
@settings(max_examples=150, deadline=None)
@given(layers(), st.sampled_from(["mul8s_1KV8", "mul8s_1KX2", "mul8s_1L2H"]))
def test_an_epilogue_is_operations_one_after_the_other(case, multiplier):
    task, codes, w, scaling, epilogue = case
    arithmetic = Arithmetic(catalog[multiplier])
    prepared = NATIVE.prepare(w, arithmetic, task)
    got = NATIVE.emit(codes, prepared, arithmetic, task, scaling, epilogue)
    # The base class is the slow and obvious way.
    expected = Backend.emit(NATIVE, codes, prepared, arithmetic, task, scaling, epilogue)
    assert same(got.values, expected.values)
    assert same(got.codes, expected.codes)


@pytest.mark.parametrize("limit", ["portable", "avx2"])
def test_other_instruction_sets_emit_the_same(limit):
    if os.environ.get("AXDSE_MAX_ISA"):
        pytest.skip("runs under a limit already")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=REPOSITORY,
        env={**os.environ, "AXDSE_MAX_ISA": limit},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_codes_and_values_of_a_layer_that_is_fed_codes_are_those_of_its_floats():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 20, generator=generator)
    w = torch.randint(-127, 128, (7, 20), generator=generator, dtype=torch.int8)
    for name in ("mul8s_1KX2", "mul8u_1446"):
        if name not in catalog:
            continue
        selection = select(Arithmetic(catalog[name]), Task(CPU, 20, 7))
        scaling = Scaling(torch.tensor([0.02]), torch.rand(7), torch.rand(7))
        prepared = selection.prepare(w)
        codes = (x / 0.02).round().clamp(-127, 127).to(torch.int8)
        given_ = selection.emit_linear(codes, prepared, scaling, Epilogue())
        assert same(given_.values, selection.linear(x, prepared, scaling))
        assert given_.codes is None


@needs_kernels
def test_what_does_not_fit_is_refused():
    w = torch.ones(4, 3, 1, 1, dtype=torch.int8)
    arithmetic, task = Arithmetic(catalog["mul8s_1KV8"]), Task(CPU, 3, 4)
    prepared = NATIVE.prepare(w, arithmetic, task)
    scaling = Scaling(torch.ones(1), torch.ones(4))
    x = torch.ones(1, 3, 2, 2, dtype=torch.int8)
    for added in (torch.ones(1, 4, 2, 1), torch.ones(1, 4, 2, 2, dtype=torch.float64)):
        with pytest.raises(ValueError, match=r"what is added|float32 or int8"):
            NATIVE.emit(x, prepared, arithmetic, task, scaling, Epilogue(added=added))


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 70), sizes, sizes),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.integers(0, 2),
    st.integers(1, 2),
    st.booleans(),
    st.booleans(),
)
def test_pooling_of_codes_is_that_of_what_they_stand_for(
    shape, kernel, stride, padding, dilation, ceil_mode, channels_last
):
    pads = min(padding, kernel[0] // 2), min(padding, kernel[1] // 2)
    rest = {"padding": pads, "dilation": (dilation, dilation), "ceil_mode": ceil_mode}
    codes = torch.randint(-127, 128, shape, dtype=torch.int8)
    if channels_last:
        codes = codes.contiguous(memory_format=torch.channels_last)
    try:
        expected = F.max_pool2d(codes.float(), kernel, stride, **rest)
    except RuntimeError:  # nothing would be left
        with pytest.raises(RuntimeError):
            max_pool(codes, kernel, stride, **rest)
        return
    got = max_pool(codes, kernel, stride, **rest)
    assert torch.equal(got, expected.clamp(min=-127).to(torch.int8))


@needs_kernels
def test_a_layer_without_an_epilogue_is_as_before():
    arithmetic, task = Arithmetic(catalog["mul8s_1KX2"]), Task(CPU, 3, 4)
    w = torch.randint(-127, 128, (4, 3, 1, 1), dtype=torch.int8)
    x = torch.randint(-127, 128, (1, 3, 2, 2), dtype=torch.int8)
    sums = native_layer(x, native_pack(w, NATIVE.prepare(w, arithmetic, task).terms))
    table = arithmetic.torch_table(CPU)
    pairs = x[:, None].int() % 256 * 256 + w[None, :, :, :].int() % 256
    assert torch.equal(sums, table[pairs].sum(2).int())
