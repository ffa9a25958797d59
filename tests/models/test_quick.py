import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import models.training._quick as quick
from models.training._quick import QuickProducts
from tests.models._gradients import difference as change
from tests.models._gradients import gradients, seeded  # noqa: F401


@pytest.fixture
def taken(monkeypatch):
    """How many convolutions were computed as products."""
    calls = []
    apply = quick.ProductConv2d.apply
    monkeypatch.setattr(
        quick.ProductConv2d, "apply", lambda *args: (calls.append(1), apply(*args))[1]
    )
    return calls


def difference(network, x, **options):
    """The largest relative change of any gradient, or of the output."""
    quickly = gradients(network, x, QuickProducts(), **options)
    return change(quickly, gradients(network, x, torch.enable_grad(), **options))


def images(channels, size, batch=2):
    return torch.randn(batch, channels, size, size, generator=torch.Generator().manual_seed(3))


CONVOLUTIONS = {
    "plain": (nn.Conv2d(256, 256, 3, padding=1), 2, True),
    "no bias, stride": (nn.Conv2d(256, 256, 3, stride=2, padding=1, bias=False), 3, True),
    "uneven": (nn.Conv2d(256, 300, (3, 2), stride=(2, 1), padding=(2, 0)), 3, False),
    "dilation": (nn.Conv2d(256, 256, 3, padding=2, dilation=2), 2, True),
    "same": (nn.Conv2d(256, 256, 3, padding="same"), 2, True),
    "same, even kernel": (nn.Conv2d(256, 256, 4, padding="same"), 2, False),
    "valid": (nn.Conv2d(256, 256, 3, padding="valid"), 3, True),
    "mirrored": (nn.Conv2d(256, 256, 3, padding=1, padding_mode="reflect"), 2, True),
    "groups": (nn.Conv2d(512, 512, 3, padding=1, groups=2), 2, False),
    "large image": (nn.Conv2d(64, 64, 3, padding=1), 8, False),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_every_convolution_trains_as_in_pytorch(name, low, format, taken):
    layer, size, is_taken = CONVOLUTIONS[name]
    x = images(layer.in_channels, size)
    assert difference(layer, x, low=low, format=format) < (2e-2 if low else 1e-5)
    if name != "uneven":
        assert bool(taken) == is_taken


def test_networks_may_view_what_a_convolution_gives(taken):
    class Viewing(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(256, 256, 3, padding=1)

        def forward(self, x):
            return self.conv(x).view(len(x), -1)

    assert difference(Viewing(), images(256, 2)) < 1e-5
    assert taken


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_modules_train(reentrant, taken):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(256, 256, 3, padding=1)

        def forward(self, x):
            return checkpoint(self.conv, x, use_reentrant=reentrant)

    assert difference(Checkpointed(), images(256, 2)) < 1e-5
    assert len(taken) == 2


def test_checkpointed_attention_trains():
    def attention(x):
        return F.scaled_dot_product_attention(x, x, x)

    x = torch.randn(2, 2, 9, 8, dtype=torch.bfloat16, requires_grad=True)
    (expected,) = torch.autograd.grad(attention(x).square().sum(), x)
    with QuickProducts():
        checkpoint(attention, x, use_reentrant=False).square().sum().backward()
    torch.testing.assert_close(x.grad, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize(
    "backward",
    [
        lambda y, g: y.backward(g),
        lambda y, g: y.backward(gradient=g, retain_graph=True),
        lambda y, g: y.sum().backward(),
        lambda y, g: torch.autograd.backward(y, g),
        lambda y, g: torch.autograd.backward([y, y.sum()], grad_tensors=[g, None]),
    ],
)
def test_backward_takes_what_it_takes_in_pytorch(backward):
    x = torch.arange(3.0, requires_grad=True)
    found = []
    for mode in (QuickProducts(), torch.enable_grad()):
        x.grad = None
        with mode:
            backward(x.square(), torch.tensor([1.0, 2.0, 3.0]))
        found.append(x.grad)
    assert torch.equal(*found)
    with QuickProducts(), pytest.raises(RuntimeError, match="does not require grad"):
        torch.ones(()).backward()


def test_transformed_functions_are_left_to_pytorch(taken):
    layer = nn.Conv2d(256, 256, 3, padding=1)
    x = images(256, 2)

    def loss(weight):
        return F.conv2d(x, weight, padding=1).square().mean()

    expected = torch.func.grad(loss)(layer.weight)
    with QuickProducts():
        torch.testing.assert_close(torch.func.grad(loss)(layer.weight), expected)
        torch.func.vmap(loss)(layer.weight.expand(2, -1, -1, -1, -1))
    assert not taken


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: F.conv2d(x),
        lambda x, w: F.conv2d(x, w[:, 1:]),
        lambda x, w: F.conv2d(x, w, padding=-1),
        lambda x, w: F.conv2d(x, w, stride=2, padding="same"),
        lambda x, w: F.conv2d(x, w, padding=(1, 1, 1)),
        lambda x, w: F.conv2d(x, w.double(), padding=1),
        lambda x, w: F.conv2d(x, w),
    ],
)
def test_what_pytorch_refuses_is_refused_in_its_words(call):
    x, w = images(256, 2), torch.randn(256, 256, 3, 3)
    with pytest.raises(Exception) as expected:
        call(x, w)
    with pytest.raises(expected.type) as found, QuickProducts():
        call(x, w)
    assert str(found.value) == str(expected.value)


def test_a_single_image_without_a_batch_and_other_types_are_taken_as_by_pytorch(taken):
    layer = nn.Conv2d(256, 256, 3, padding=1)
    assert difference(layer, images(256, 2)[0], format=torch.preserve_format) < 1e-5
    assert difference(layer.double(), images(256, 2).double()) < 1e-9
    assert not taken


@pytest.mark.parametrize("tokens", [5, 17, 129])
@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_trains_as_in_pytorch(tokens, low, causal):
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, x):
            q, k, v = self.qkv(x).view(len(x), -1, 3, 2, 8).permute(2, 0, 3, 1, 4)
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    x = torch.randn(3, tokens, 16, generator=torch.Generator().manual_seed(3))
    limit = 3e-2 if low else 1e-5
    assert difference(Attention(), x, low=low, format=torch.preserve_format) < limit


@pytest.mark.parametrize(
    ("tokens", "low", "backward"), [(128, True, 0), (129, True, 1), (128, False, 1)]
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_only_low_attention_among_few_tokens_is_taken_apart(tokens, low, backward, batch_first):
    attention = nn.MultiheadAttention(16, 2, batch_first=batch_first)
    x = torch.randn(2, tokens, 16) if batch_first else torch.randn(tokens, 2, 16)
    with torch.profiler.profile() as profile, QuickProducts():
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            y = attention(x, x, x, need_weights=False)[0]
        y.sum().backward()
    fused = "aten::_scaled_dot_product_flash_attention_for_cpu_backward"
    assert sum(event.key == fused for event in profile.key_averages()) == backward


@pytest.mark.parametrize("by_function", [False, True])
def test_gradients_of_some_inputs_alone_are_pytorchs(by_function: bool) -> None:
    a, b = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    loss = (a * b).sum()
    with QuickProducts():
        if by_function:
            torch.autograd.backward([loss], inputs=[a])
        else:
            loss.backward(inputs=[a])
    assert b.grad is None and torch.equal(a.grad, b.detach())
