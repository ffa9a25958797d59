"""Every emulated layer against the integer contract written out slowly."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import luts
from luts import Arithmetic, InputError, Multiplier
from models.emulation import EmulatedConv2d, EmulatedLinear, EmulatedMatmul, weight_scale

CIRCUITS = ("mul8s_1KV8", "mul8s_1KVA", "mul8s_1KX2", "mul8s_1KR6", "mul8s_1KTY", "mul8s_1KR3")


def codes_of(x, scale):
    return (x.detach() / scale).round().clamp(-127, 127).to(torch.int8)


def look_up(table, x_codes, w_codes):
    """``Σ_k T[x[m, k], w[k, n]]``, one product at a time."""
    x, w = x_codes.view(torch.uint8).long(), w_codes.view(torch.uint8).long()
    products = table[x[..., :, :, None], w[..., None, :, :]]
    return products.sum(dim=-2)


def table_of(arithmetic):
    return torch.from_numpy(arithmetic.table.copy()).long()


def asymmetric(table):
    return Multiplier("asymmetric", table, 1.0, 1.0, 1.0, "test")


@pytest.fixture(params=[*CIRCUITS, "asymmetric"])
def multiplier(request, asymmetric_table):
    name = request.param
    return asymmetric(asymmetric_table) if name == "asymmetric" else luts.catalog[name]


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@torch.no_grad()
def test_linear_equals_the_contract(multiplier, swapped, bias):
    layer = EmulatedLinear(nn.Linear(19, 7, bias=bias))
    layer.x_scale[0] = 0.02
    layer.assign_(Arithmetic(multiplier, swapped))
    x = torch.randn(2, 5, 19)
    scale = weight_scale(layer.weight)
    w_codes = codes_of(layer.weight, scale[:, None])
    sums = look_up(table_of(layer.arithmetic), codes_of(x, 0.02).reshape(-1, 19), w_codes.t())
    expected = sums.float() * (layer.x_scale * scale)
    expected = expected + (layer.bias if bias else torch.zeros(7))
    assert torch.equal(layer(x), expected.view(2, 5, 7))


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": 2, "padding": 2},
        {"groups": 2, "padding": (1, 0)},
        {"groups": 4},
        {"padding": 1, "padding_mode": "reflect", "bias": False},
        {"padding": "same"},
    ],
    ids=str,
)
@torch.no_grad()
def test_convolution_equals_the_contract(asymmetric_table, swapped, options):
    source = nn.Conv2d(4, 8, 3, **options)
    layer = EmulatedConv2d(source)
    layer.x_scale[0] = 0.015
    layer.assign_(Arithmetic(asymmetric(asymmetric_table), swapped))
    x = torch.randn(2, 4, 7, 8)
    scale = weight_scale(layer.weight)
    expected = convolve_slowly(source, table_of(layer.arithmetic), x, layer.x_scale, scale)
    for given in (x, x.to(memory_format=torch.channels_last), torch.cat([x, x])[:2]):
        assert torch.equal(layer(given).contiguous(), expected)


def convolve_slowly(source, table, x, x_scale, scale):
    codes = codes_of(x, x_scale)
    w_codes = codes_of(source.weight, scale.view(-1, 1, 1, 1))
    pads = source._reversed_padding_repeated_twice
    mode = "constant" if source.padding_mode == "zeros" else source.padding_mode
    codes = F.pad(codes.float(), pads, mode=mode).to(torch.int8)
    (kh, kw), (sh, sw), (dh, dw) = source.kernel_size, source.stride, source.dilation
    out_h = (codes.shape[2] - dh * (kh - 1) - 1) // sh + 1
    out_w = (codes.shape[3] - dw * (kw - 1) - 1) // sw + 1
    per_group = source.in_channels // source.groups
    outputs = source.out_channels // source.groups
    sums = torch.zeros(len(x), source.out_channels, out_h, out_w)
    for group in range(source.groups):
        inputs = codes[:, group * per_group : (group + 1) * per_group]
        kernel = w_codes[group * outputs : (group + 1) * outputs].flatten(1).t()
        for i in range(out_h):
            for j in range(out_w):
                rows = slice(i * sh, i * sh + dh * (kh - 1) + 1, dh)
                columns = slice(j * sw, j * sw + dw * (kw - 1) + 1, dw)
                window = inputs[:, :, rows, columns].flatten(1)
                sums[:, group * outputs : (group + 1) * outputs, i, j] = look_up(
                    table, window, kernel
                ).float()
    y = sums * (x_scale * scale).view(-1, 1, 1)
    offset = torch.zeros(source.out_channels) if source.bias is None else source.bias
    return y + offset.view(-1, 1, 1)


@pytest.mark.parametrize("swapped", [False, True])
@torch.no_grad()
def test_attention_product_equals_the_contract(multiplier, swapped):
    layer = EmulatedMatmul()
    layer.x_scale.copy_(torch.tensor([0.02, 0.03]))
    layer.assign_(Arithmetic(multiplier, swapped))
    x, y = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 6, 4)
    table = table_of(layer.arithmetic)
    sums = look_up(table, codes_of(x, 0.02), codes_of(y, 0.03))
    expected = sums.float() * (layer.x_scale[0] * layer.x_scale[1])
    assert torch.equal(layer(x, y), expected)


def test_swapping_the_operands_changes_an_asymmetric_circuit():
    layer = EmulatedLinear(nn.Linear(32, 4))
    layer.x_scale[0] = 0.02
    x = torch.randn(3, 32)
    outputs = []
    for swapped in (False, True):
        layer.assign_(Arithmetic(luts.catalog["mul8s_1KTY"], swapped))
        outputs.append(layer(x))
    assert not torch.equal(*outputs)


@pytest.mark.parametrize("low", [False, True], ids=["float32", "autocast"])
@pytest.mark.parametrize("kind", ["linear", "conv", "matmul"])
def test_gradient_is_that_of_the_exact_product_of_dequantised_operands(kind, low):
    """Under autocast its operands are rounded, and only they: the circuit's sums stay exact."""

    def rounded(values):
        return values.to(torch.bfloat16).float() if low else values

    torch.manual_seed(3)
    if kind == "linear":
        source, x = nn.Linear(12, 5), torch.randn(6, 12)
        layer, function = EmulatedLinear(source), F.linear
    elif kind == "conv":
        source, x = nn.Conv2d(4, 6, 3, padding=1, stride=2, groups=2), torch.randn(2, 4, 6, 6)
        layer = EmulatedConv2d(source)

        def function(x, w, b):
            return F.conv2d(x, w, b, stride=2, padding=1, groups=2)
    else:
        layer, x, source = EmulatedMatmul(), torch.randn(3, 4, 5), None
    layer.x_scale.fill_(0.01)  # clips at 1.27, so that the mask matters
    layer.assign_(Arithmetic(luts.catalog["mul8s_1L1G"]))
    x.requires_grad_()
    dequantised = rounded(codes_of(x, 0.01) * 0.01).requires_grad_()
    inside = x.detach().abs() <= 1.275
    if kind == "matmul":
        y = torch.randn(3, 5, 2, requires_grad=True)
        dequantised_y = rounded(codes_of(y, 0.01) * 0.01).requires_grad_()
        operands, reference = (x, y), dequantised @ dequantised_y
    else:
        scale = weight_scale(source.weight).view(-1, *[1] * (source.weight.dim() - 1))
        weight = rounded(codes_of(source.weight, scale) * scale).requires_grad_()
        bias = source.bias.detach().clone().requires_grad_()
        operands, reference = (x,), function(dequantised, weight, bias)
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        out = layer(*operands)
    assert torch.equal(out, layer(*operands))
    upstream = torch.randn_like(reference)
    out.backward(upstream)
    reference.backward(rounded(upstream))
    closeness = {"rtol": 2**-8, "atol": 1e-6} if low else {}
    torch.testing.assert_close(x.grad, dequantised.grad * inside, **closeness)
    assert (~inside).any()
    if source is None:
        inside = y.detach().abs() <= 1.275
        torch.testing.assert_close(y.grad, dequantised_y.grad * inside, **closeness)
    else:
        torch.testing.assert_close(layer.weight.grad, weight.grad, **closeness)
        torch.testing.assert_close(layer.bias.grad, bias.grad, **closeness)


@pytest.mark.parametrize("source", [nn.Linear(6, 4), nn.Conv2d(6, 4, 3, padding=1)])
@pytest.mark.parametrize("frozen", ["weight", "bias", "input"])
def test_what_is_frozen_gets_no_gradient_and_changes_no_other(source, frozen):
    layer = (EmulatedLinear if isinstance(source, nn.Linear) else EmulatedConv2d)(source)
    layer.x_scale.fill_(0.01)
    shape = (5, 6) if isinstance(source, nn.Linear) else (2, 6, 4, 4)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    def gradients(*names):
        held = {"weight": layer.weight, "bias": layer.bias, "input": x}
        for name, tensor in held.items():
            tensor.grad = None
            tensor.requires_grad_(name in names)
        layer(x).square().sum().backward()
        return {name: held[name].grad for name in held}

    everything = gradients("weight", "bias", "input")
    rest = {"weight", "bias", "input"} - {frozen}
    some = gradients(*rest)
    layer.requires_grad_()
    assert some[frozen] is None
    assert all(torch.equal(some[name], everything[name]) for name in rest)


def test_an_input_that_is_changed_before_backward_is_noticed():
    """As in PyTorch, whose layers keep their inputs as well."""
    layer, x = EmulatedLinear(nn.Linear(6, 4)), torch.randn(3, 6)
    y = layer(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_prepared_weights_follow_the_weights():
    layer = EmulatedLinear(nn.Linear(8, 3))
    x = torch.randn(4, 8)
    with torch.no_grad():
        before = layer(x)
        assert torch.equal(layer(x), before)
        layer.weight.mul_(-1)
        after = layer(x)
    assert torch.allclose(after - layer.bias, -(before - layer.bias))


@pytest.mark.parametrize("fused", [False, True])
def test_training_changes_what_is_computed(fused):
    """A fused optimiser does not raise the version of the weights that it changes."""
    layer = EmulatedLinear(nn.Linear(8, 3))
    x = torch.randn(4, 8)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    for _ in range(2):
        with torch.no_grad():
            before = layer(x)
        layer(x).square().sum().backward()
        optimizer.step()
        with torch.no_grad():
            after = layer(x) - layer.bias
            fresh = EmulatedLinear(nn.Linear(8, 3))
            fresh.weight, fresh.bias = layer.weight, layer.bias
            assert torch.equal(after, fresh(x) - fresh.bias)
            assert not torch.equal(after + layer.bias, before)


@pytest.mark.parametrize("batch", [0, 1])
@torch.no_grad()
def test_empty_and_single_batches(batch):
    linear, conv = EmulatedLinear(nn.Linear(8, 3)), EmulatedConv2d(nn.Conv2d(2, 4, 3))
    matmul = EmulatedMatmul()
    assert linear(torch.randn(batch, 5, 8)).shape == (batch, 5, 3)
    assert conv(torch.randn(batch, 2, 5, 5)).shape == (batch, 4, 3, 3)
    assert matmul(torch.randn(batch, 2, 3), torch.randn(batch, 3, 4)).shape == (batch, 2, 4)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize(
    ("source", "shapes"),
    [
        (nn.Linear(6, 3), [(2, 5), (2, 7), (2, 3, 5), ()]),
        (nn.Conv2d(4, 2, 3), [(2, 3, 5, 5), (2, 4, 2, 5), (2, 4, 5, 1), (3, 5, 5), (4, 5)]),
        (nn.Conv2d(4, 4, 5, groups=4, padding=1), [(2, 4, 2, 5), (2, 8, 5, 5)]),
        (nn.Conv2d(4, 2, 3, padding=2, padding_mode="reflect"), [(2, 4, 2, 2), (2, 3, 5, 5)]),
    ],
    ids=str,
)
def test_what_pytorch_refuses_is_refused_alike(source, shapes, learns):
    kinds = {nn.Linear: EmulatedLinear, nn.Conv2d: EmulatedConv2d}
    layer = kinds[type(source)](source)
    fit = torch.ones(2, 6) if isinstance(source, nn.Linear) else torch.ones(2, 4, 6, 6)
    refused = [torch.ones(shape) for shape in shapes] + [fit.double(), fit.int()]
    with torch.set_grad_enabled(learns):
        for x in refused:
            with pytest.raises(RuntimeError):
                source(x)
            with pytest.raises((RuntimeError, InputError)):
                layer(x)
        assert layer(fit).shape == source(fit).shape


@pytest.mark.parametrize("learns", [False, True])
def test_products_that_pytorch_refuses_are_refused_alike(learns):
    layer = EmulatedMatmul()
    x = torch.ones(2, 3, 4, requires_grad=learns)
    for y in (torch.ones(2, 5, 3), torch.ones(3, 4, 3), torch.ones(4, 3).double()):
        with pytest.raises(RuntimeError):
            x @ y
        with pytest.raises((RuntimeError, InputError)):
            layer(x, y)
    assert layer(x[..., :0], torch.ones(2, 0, 5)).tolist() == [[[0.0] * 5] * 3] * 2
