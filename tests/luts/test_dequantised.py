"""What gradients are made of, against the obvious way to make it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from luts import Dequantised, quantise

CLIPPED_ABOVE = 127.5


def check(x: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype = torch.float32) -> None:
    """The values, and what a gradient becomes in each of two layouts."""
    found = Dequantised.of(x, scale, dtype)
    assert torch.equal(found.values, (quantise(x, scale) * scale).to(dtype))
    expected = x.float().abs() <= CLIPPED_ABOVE * scale
    generator = torch.Generator().manual_seed(0)
    grad = torch.randn(x.shape, generator=generator)
    for layout in (grad, grad.transpose(0, -1).contiguous().transpose(0, -1)):
        assert torch.equal(found.passed_(layout.clone()), grad * expected)


@given(
    scale=st.sampled_from([0.1, 1.0, 1 / 3, 0.007_812_5, 123.4, 1e-30]),
    length=st.sampled_from([1, 7, 255, 256, 257, 1000]),
    share=st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]),
    seed=st.integers(0, 9_999),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_it_equals_pytorch(
    scale: float, length: int, share: float, seed: int, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(seed)
    step = torch.tensor([scale])
    x = (torch.rand(length, generator=generator) * 2 - 1) * 127 * step
    x[torch.rand(length, generator=generator) < share] *= 100
    check(x, step, dtype)
    check(x.bfloat16(), step, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_edges_and_special_values(dtype: torch.dtype) -> None:
    scale = torch.tensor([0.013])
    edge = CLIPPED_ABOVE * scale
    above = torch.nextafter(edge, torch.tensor(torch.inf))
    special = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0, 1e38])
    few = torch.zeros(4000)
    few[:2], few[1000:1006] = torch.cat([edge, -above]), special
    check(few, scale, dtype)
    check(torch.cat([edge, -edge, above, -above, special]), scale, dtype)


def test_every_layout_is_taken() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 70, 5, generator=generator).contiguous(memory_format=torch.channels_last)
    scale = x.abs().max().view(1) / 130
    for view in (x, x[:, :, 1:, ::2], x.transpose(1, 2), x[:0], x[:1].expand(3, -1, -1, -1)):
        check(view, scale)


def test_a_broadcast_gradient_is_summed() -> None:
    x = torch.tensor([[0.5, 3.0]])
    found = Dequantised.of(x, torch.tensor([0.01]))
    assert found.passed_(torch.ones(4, 2)).tolist() == [[4.0, 0.0]]


def test_large_operands_are_taken_in_parts() -> None:
    x = torch.randn(200_001, generator=torch.Generator().manual_seed(0))
    check(x, torch.tensor([3.5 / 127]))


def test_what_was_clipped_is_left_out_where_nobody_asks() -> None:
    found = Dequantised.of(torch.ones(3), torch.tensor([0.001]), clips=False)
    assert found.listed is None and found.is_inside is None
