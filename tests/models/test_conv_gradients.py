import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from models.emulation._conv_gradients import (
    Convolution,
    ProductConv2d,
    conv2d_by_product,
    conv2d_gradients,
    products_are_quicker,
    w_gradient_by_product,
    x_gradient_by_product,
)

SMALL = st.integers(1, 3)


@st.composite
def convolutions(draw, small=SMALL):
    """Operands and the geometry of some convolution that has an output."""
    kernel, stride = (draw(st.tuples(small, small)) for _ in range(2))
    dilation = draw(st.tuples(small, small))
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    size = [smallest + draw(st.integers(0, 5)) for smallest in least]
    batch, channels, out = draw(st.tuples(small, small, small))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(batch, channels, *size, generator=generator)
    w = torch.randn(out, channels, *kernel, generator=generator)
    if draw(st.booleans()):
        x = x.to(memory_format=torch.channels_last)
    if draw(st.booleans()):
        w = w.to(memory_format=torch.channels_last)
    return x, w, Convolution(stride, padding, dilation, 1)


def reference(grad, x, w, how):
    """By autograd."""
    x, w, bias = (t.detach().clone().requires_grad_() for t in (x, w, torch.zeros(len(w))))
    y = F.conv2d(x, w, bias.to(x.dtype), *how)
    return torch.autograd.grad(y, (x, w, bias), grad)


def large(dtype=torch.float32, size=2, channels=256):
    """A convolution that is quicker by products."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, channels, size, size, generator=generator).to(dtype)
    w = torch.randn(channels, channels, 3, 3, generator=generator).to(dtype) / 48
    return x, w, Convolution((1, 1), (1, 1), (1, 1), 1)


@settings(deadline=None, max_examples=150)
@given(convolutions())
def test_products_equal_the_convolution_and_its_gradients(case):
    x, w, how = case
    bias = torch.linspace(-1, 1, len(w))
    expected = F.conv2d(x, w, bias, *how)
    y = conv2d_by_product(x, w, bias, how)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    of_x, of_w, _ = reference(grad, x, w, how)
    torch.testing.assert_close(x_gradient_by_product(grad, x, w, how), of_x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(w_gradient_by_product(grad, x, w, how), of_w, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("last", [(False, False), (True, False), (False, True), (True, True)])
def test_the_memory_format_is_that_of_pytorch(size, last):
    x, w, how = large(size=size, channels=16)
    x, w = (
        t.to(memory_format=torch.channels_last) if is_last else t
        for t, is_last in zip((x, w), last, strict=True)
    )
    y, expected = conv2d_by_product(x, w, None, how), F.conv2d(x, w, None, *how)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        if expected.is_contiguous(memory_format=memory_format):
            assert y.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [2, 6, 12])  # all by products, the weight's in bfloat16, none
def test_whatever_way_is_chosen_gives_the_gradients(dtype, size):
    x, w, how = large(dtype, size)
    assert products_are_quicker(x, w, how) == (size == 2)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    exact = reference(grad.double(), x.double(), w.double(), how)
    tolerance = 1e-5 if dtype == torch.float32 else 8e-3
    gradients = conv2d_gradients(grad, x, w, how, (True, True, True))
    for gradient, wanted in zip(gradients, exact, strict=True):
        assert gradient.dtype == dtype
        assert (gradient - wanted).norm() <= tolerance * wanted.norm()


@pytest.mark.parametrize("size", [2, 6])
@pytest.mark.parametrize(
    "wanted", [(True, False, False), (False, True, True), (False, False, True)]
)
def test_only_what_is_wanted_is_computed(size, wanted):
    x, w, how = large(torch.bfloat16, size)
    gradients = conv2d_gradients(torch.ones_like(x), x, w, how, wanted)
    assert tuple(gradient is not None for gradient in gradients) == wanted


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([1, 2, 4]), st.integers(0, 3))
def test_groups_are_left_to_pytorch(groups, seed):
    x, _, _ = large()
    w = torch.randn(256, 256 // groups, 3, 3, generator=torch.Generator().manual_seed(seed))
    how = Convolution((1, 1), (1, 1), (1, 1), groups)
    assert products_are_quicker(x, w, how) == (groups == 1)
    grad = torch.ones_like(x)
    for ours, theirs in zip(
        conv2d_gradients(grad, x, w, how, (True, True, True)),
        reference(grad, x, w, how),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_gradients_have_gradients():
    generator = torch.Generator().manual_seed(0)
    x, w, bias = (
        torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((2, 2, 3, 3), (3, 2, 2, 2), (3,))
    )
    how = Convolution((1, 2), (1, 1), (2, 1), 1)

    def convolve(*operands):
        return ProductConv2d.apply(*operands, how)

    assert torch.autograd.gradcheck(convolve, (x, w, bias))
    assert torch.autograd.gradgradcheck(convolve, (x, w, bias))
