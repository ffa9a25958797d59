"""Packed weights, and codes by rows, against slow and obvious ways to make them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from luts import Arithmetic, Geometry, catalog, largest_magnitudes, quantise
from luts._native import isa, native_pack
from luts._native._product import padded_channels
from luts._staircase import CircuitTerms, terms_of

LANES = 16
CIRCUITS = ("mul8s_1KV8", "mul8s_1KX2", "mul8s_1L2D", "mul8s_1KVL", "mul8s_1KTY")

pytestmark = pytest.mark.skipif(isa() == "none", reason="needs the compiled kernels")


def in_runs(
    values: torch.Tensor, geometry: Geometry, terms: CircuitTerms, multiple: int
) -> torch.Tensor:
    """``(groups, panels, lanes, padded runs)`` of values ``(out, in / groups, rows, columns)``."""
    out, per_group, rows, columns = values.shape
    groups = geometry.groups
    if groups == 1 and geometry.dilation[1] == 1:
        depth, runs = padded_channels(per_group, terms), rows
    else:
        depth, runs = per_group, rows * columns
    values = F.pad(values.permute(0, 2, 3, 1), (0, depth - per_group))
    values = values.reshape(groups, out // groups, runs, -1)
    values = F.pad(values, (0, -values.shape[-1] % multiple)).flatten(2)
    values = F.pad(values, (0, 0, 0, -values.shape[1] % LANES))
    return values.view(groups, -1, LANES, values.shape[-1])


def slowly_packed(
    w: torch.Tensor, terms: CircuitTerms, geometry: Geometry
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Values, bit planes and offsets."""
    index = w.numpy().view(np.uint8)
    values = [torch.from_numpy(np.ascontiguousarray(v[index])) for v in terms.factors.v]
    rows = torch.cat([in_runs(v, geometry, terms, 4) for v in values], dim=3)
    offsets = -128 * rows.sum(dim=3, dtype=torch.int32).flatten(1)
    packed = rows.unflatten(3, (-1, 4)).transpose(2, 3)
    if not terms.depth:
        return packed, None, offsets
    codes = in_runs(w, geometry, terms, 32).numpy().view(np.uint8)
    planes = [
        np.packbits((codes >> (terms.second_plane + q)) & 1, axis=3, bitorder="little")
        for q in range(terms.depth)
    ]
    words = torch.from_numpy(np.stack(planes, axis=3)).view(torch.int32)
    return packed, words.permute(0, 1, 4, 3, 2), offsets


@settings(deadline=None)
@given(
    name=st.sampled_from(CIRCUITS),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 1), (1, 4)]),
    columns=st.sampled_from([1, 4, 16, 17, 40]),
    channels=st.sampled_from([1, 3, 8, 13, 32, 33]),
    groups=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    depth=st.sampled_from([0, 4]),
    channels_last=st.booleans(),
    seed=st.integers(0, 999),
)
def test_packing_equals_the_obvious_way(
    name, kernel, columns, channels, groups, dilation, depth, channels_last, seed
):
    terms = terms_of(Arithmetic(catalog[name]), max_depth=depth)
    assert terms is not None
    if terms.depth and groups > 1:  # those are not computed so
        channels *= 8
    generator = torch.Generator().manual_seed(seed)
    shape = (groups * columns, channels, *kernel)
    w = torch.randint(-128, 128, shape, generator=generator).to(torch.int8)
    geometry = Geometry(kernel, dilation=(dilation, dilation), groups=groups)
    expected, planes, offsets = slowly_packed(w, terms, geometry)
    if channels_last:
        w = w.contiguous(memory_format=torch.channels_last)
    packed = native_pack(w, terms, geometry)
    assert torch.equal(packed.w, expected)
    assert torch.equal(packed.offsets, offsets)
    if planes is None:
        assert packed.planes is None
    else:
        assert packed.planes is not None and torch.equal(packed.planes, planes)


@given(
    shape=st.sampled_from([(1, 1), (5, 7), (16, 3, 3, 3), (4, 40, 1, 1), (3, 2, 5)]),
    seed=st.integers(0, 999),
    channels_last=st.booleans(),
)
def test_codes_by_rows_are_those_of_the_rows(shape, seed, channels_last):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    x[0].flatten()[0] = torch.nan
    scale = torch.rand(len(x), generator=generator) * 0.03
    scale[-1] = torch.nan if seed % 3 == 0 else torch.inf if seed % 3 == 1 else scale[-1]
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    by_row = scale.view(-1, *[1] * (x.dim() - 1))
    expected = (x / by_row).round().clamp(-127, 127).nan_to_num(0.0).to(torch.int8)
    assert torch.equal(quantise(x, by_row), expected)
    if x.dim() > 2:
        assert torch.equal(quantise(x.mT, by_row), expected.mT)


@given(
    shape=st.sampled_from([(1, 1), (5, 7), (16, 3, 3, 3), (4, 40, 1, 1), (3, 2, 5)]),
    seed=st.integers(0, 999),
    channels_last=st.booleans(),
)
def test_largest_magnitudes_are_those_of_the_rows(shape, seed, channels_last):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    special = (torch.nan, torch.inf, -torch.inf, -9.0, 1e-40)[seed % 5]
    x[seed % len(x)].view(-1)[0] = special
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    expected = x.abs().flatten(1).amax(dim=1)
    assert torch.equal(largest_magnitudes(x).nan_to_num(-1.0), expected.nan_to_num(-1.0))
    if x.dim() > 2:
        assert torch.equal(largest_magnitudes(x.mT).nan_to_num(-1.0), expected.nan_to_num(-1.0))
    assert largest_magnitudes(x.double()).dtype == torch.float64
