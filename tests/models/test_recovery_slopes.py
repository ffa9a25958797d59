"""Gradients of emulated layers against slow sums over a numeric slope."""

import numpy as np
import pytest
import torch
from torch import nn

import luts
from luts import Arithmetic, InputError, Multiplier
from models.emulation import EmulatedConv2d, EmulatedLinear, EmulatedMatmul, Gradient
from models.emulation._slopes import slope_tables

KINDS = ("straight-through", "slope-x", "slope-w", "slope-1d", "slope-2d")
HALF = 5


def numeric_slope(row, position, half=HALF):
    """Half the difference of two neighbouring means; at the ends, of the nearest whole window."""
    position = min(max(position, half + 1), 254 - half)
    after = sum(row[position + 1 + k] for k in range(-half, half + 1)) / (2 * half + 1)
    before = sum(row[position - 1 + k] for k in range(-half, half + 1)) / (2 * half + 1)
    return (after - before) / 2


def numeric_slopes(table, kind, x, w):
    """∂T/∂x and ∂T/∂w for one pair of values, by the definition."""
    row = [float(table[x & 255, other & 255]) for other in range(-128, 128)]
    column = [float(table[other & 255, w & 255]) for other in range(-128, 128)]
    along_x, along_w = float(w), float(x)
    if kind in ("slope-x", "slope-1d"):
        along_x = float(np.mean([numeric_slope(column, at) for at in range(256)]))
    if kind in ("slope-w", "slope-1d"):
        along_w = float(np.mean([numeric_slope(row, at) for at in range(256)]))
    if kind == "slope-2d":
        along_x, along_w = numeric_slope(column, x + 128), numeric_slope(row, w + 128)
    return along_x, along_w


def noisy(seed=0):
    """A table without a short factorisation, smooth underneath."""
    rng = np.random.default_rng(seed)
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(np.int32)
    table = np.multiply.outer(values, values)
    dented = table + (200 * np.sin(values / 20.0)[:, None] * values[None, :] / 20).astype(np.int32)
    return dented + rng.integers(-9, 9) * (values % 4 == 0)[None, :]


def arithmetic_of(name):
    if name == "noisy":
        return Arithmetic(Multiplier(name, noisy(), 1.0, 1.0, 1.0, "test"))
    return Arithmetic(luts.catalog[name], swapped=name == "mul8s_1KTY")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["mul8s_1KR3", "mul8s_1KTY", "noisy"])
def test_linear_gradient_is_the_sum_of_slopes(kind, name):
    arithmetic = arithmetic_of(name)
    layer = EmulatedLinear(nn.Linear(6, 3))
    layer.x_scale[0] = 0.015
    layer.assign_(arithmetic)
    layer.gradient = Gradient(kind, HALF)
    x = torch.randn(4, 6, requires_grad=True)
    out = layer(x)
    upstream = torch.randn_like(out)
    out.backward(upstream)

    w_codes, w_scale = layer.meant_codes()
    codes = (x.detach() / 0.015).round().clamp(-127, 127).int()
    grad_x, grad_w = torch.zeros(4, 6), torch.zeros(3, 6)
    for m in range(4):
        for n in range(3):
            for k in range(6):
                operands = int(codes[m, k]), int(w_codes[n, k])
                along_x, along_w = numeric_slopes(arithmetic.table, kind, *operands)
                if abs(float(x[m, k].detach())) <= 127.5 * 0.015:
                    grad_x[m, k] += upstream[m, n] * w_scale[n] * along_x
                grad_w[n, k] += upstream[m, n] * 0.015 * along_w
    # Only the first terms of a slope are kept where a table has many.
    tolerance = 5e-3 if name == "noisy" else 2e-4
    torch.testing.assert_close(x.grad, grad_x, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(layer.weight.grad, grad_w, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kind", ["slope-1d", "slope-2d"])
def test_convolution_and_linear_layer_agree(kind):
    conv = EmulatedConv2d(nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1))
    conv.x_scale[0] = 0.02
    conv.assign_(arithmetic_of("mul8s_1KVL"))
    conv.gradient = Gradient(kind, HALF)
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    out = conv(x)
    upstream = torch.randn_like(out)
    out.backward(upstream)

    again = x.detach().clone().requires_grad_()
    windows = nn.functional.unfold(again, 3, padding=1, stride=2).transpose(1, 2)
    parts = []
    for group, rows in enumerate(windows.chunk(2, dim=2)):
        linear = EmulatedLinear(nn.Linear(18, 3))
        linear.weight.data = conv.weight.data[3 * group : 3 * group + 3].flatten(1)
        linear.bias.data = conv.bias.data[3 * group : 3 * group + 3]
        linear.x_scale[0] = 0.02
        linear.assign_(conv.arithmetic)
        linear.gradient = conv.gradient
        parts.append((linear, linear(rows)))
    flat = torch.cat([y for _, y in parts], dim=2).transpose(1, 2).view_as(out)
    torch.testing.assert_close(flat, out)
    flat.backward(upstream)
    torch.testing.assert_close(again.grad, x.grad, atol=1e-5, rtol=1e-4)
    weights = torch.cat([linear.weight.grad for linear, _ in parts]).view_as(conv.weight)
    torch.testing.assert_close(weights, conv.weight.grad, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_product_agrees_with_a_linear_layer(kind):
    matmul, linear = EmulatedMatmul(), EmulatedLinear(nn.Linear(6, 3, bias=False))
    for layer in (matmul, linear):
        layer.assign_(arithmetic_of("mul8s_1KTY"))
        layer.gradient = Gradient(kind, HALF)
    linear.weight.data[:, 0] = 1.27  # one scale for all channels
    linear.weight.data.clamp_(-1.27, 1.27)
    matmul.x_scale.copy_(torch.tensor([0.02, 0.01]))
    linear.x_scale[0] = 0.02
    x = torch.randn(4, 6, requires_grad=True)
    y = linear.weight.detach().t().clone().requires_grad_()
    out, expected = matmul(x, y), linear(x)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(out)
    grads = torch.autograd.grad(out, (x, y), upstream)
    wanted = torch.autograd.grad(expected, (x, linear.weight), upstream)
    torch.testing.assert_close(grads[0], wanted[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(grads[1], wanted[1].t(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("half", [0, 1, 32, 126])
def test_an_exact_table_has_the_slopes_of_the_product(half):
    values = np.arange(256, dtype=np.uint8).view(np.int8).astype(float)
    along_x, along_w = slope_tables(np.multiply.outer(values, values), half)
    np.testing.assert_allclose(along_x, np.tile(values, (256, 1)), atol=1e-9)
    np.testing.assert_allclose(along_w, np.tile(values[:, None], (1, 256)), atol=1e-9)


def test_slopes_follow_the_weight_that_is_meant():
    layer = EmulatedLinear(nn.Linear(5, 2, bias=False))
    layer.x_scale[0] = 0.02
    layer.assign_(arithmetic_of("mul8s_1KV8"))
    layer.gradient = Gradient("slope-2d", 0)
    doubled = (torch.arange(256, dtype=torch.uint8).view(torch.int8).int() * 2).clamp(-127, 127)
    layer.weight.data.clamp_(-0.2, 0.2)[:, 0] = 0.45  # the other codes stay below 63
    layer.map_weights_(doubled.to(torch.int8))
    x = torch.rand(3, 5, requires_grad=True)
    codes = (x.detach() / 0.02).round()
    layer(x).sum().backward()
    expected = 2 * 0.02 * codes.sum(dim=0)
    torch.testing.assert_close(layer.weight.grad[:, 1:], expected.expand(2, 5)[:, 1:])


def test_a_learnt_scale_has_the_gradient_of_its_definition():
    """With the clipping and rounding error held, as straight-through does (LSQ, Eq. 3)."""
    layer = EmulatedLinear(nn.Linear(6, 3))
    layer.x_scale[0] = 0.01
    layer.learn_scale_(True)
    x = 1.5 * torch.randn(8, 6)
    layer(x).square().sum().backward()

    log_scale = torch.tensor(0.01).log().requires_grad_()
    scale = log_scale.exp()
    ratio = x / scale
    held = ratio + (ratio.round() - ratio).detach()
    quantised = held.clamp(-127, 127) * scale
    codes, w_scale = layer.meant_codes()
    out = quantised @ (codes * w_scale[:, None]).t() + layer.bias.detach()
    out.square().sum().backward()
    damping = (x.numel() * 127) ** -0.5
    torch.testing.assert_close(layer.log_scale.grad[0], log_scale.grad * damping, rtol=1e-3, atol=0)
    layer.learn_scale_(False)
    assert dict(layer.named_parameters()).keys() == {"weight", "bias"}


def test_a_learnt_scale_is_the_one_computed_with():
    layer = EmulatedMatmul()
    layer.learn_scale_(True)
    layer.log_scale.data = torch.tensor([0.02, 0.03]).log()
    layer(torch.randn(2, 3, 4), torch.randn(2, 4, 2))
    torch.testing.assert_close(layer.x_scale, torch.tensor([0.02, 0.03]))


def test_bad_gradients():
    with pytest.raises(InputError, match="unknown gradient 'slope-3d'"):
        Gradient("slope-3d")
    with pytest.raises(InputError, match="half_window"):
        Gradient("slope-1d", 127)
