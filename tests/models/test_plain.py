"""timm's own linear layers and convolutions are sites like PyTorch's."""

import copy

import pytest
import torch
from torch import nn

from luts import EXACT, InputError
from models import emulate, sites
from models.emulation._expose import exposed
from models.networks._timm import timm

layers = timm().layers
# Kernel, stride, dilation, and what is padded left, right, top, bottom for 10×9 pixels.
SAME = [
    (3, 2, 1, (1, 1, 0, 1)),
    (5, 3, 1, (1, 1, 2, 2)),
    (2, 1, 1, (0, 1, 0, 1)),
    (3, 2, 2, (2, 2, 1, 2)),
]


def pixels(height=10, width=9):
    return torch.randn(2, 4, height, width)


@pytest.mark.parametrize(("kernel", "stride", "dilation", "pads"), SAME)
def test_same_padding_is_that_of_explicit_zeros(kernel, stride, dilation, pads):
    options = {"stride": stride, "dilation": dilation, "groups": 2}
    network = nn.Sequential(layers.Conv2dSame(4, 6, kernel, **options))
    plain = nn.Conv2d(4, 6, kernel, **options)
    plain.load_state_dict(network[0].state_dict())
    x = pixels()
    emulated = emulate(network, "mul8s_1KR3", calibration=[x])
    reference = emulate(nn.Sequential(nn.ZeroPad2d(pads), plain), "mul8s_1KR3", calibration=[x])
    with torch.no_grad():
        assert torch.equal(emulated(x), reference(x))
    (site,), (expected,) = sites(network, x), sites(nn.Sequential(plain), x)
    assert (site.name, site.kind, site.fan_in) == ("0", "conv", expected.fan_in)
    assert site.macs == emulated(x)[0].numel() * site.fan_in


@pytest.mark.parametrize("size", [(10, 9), (7, 12), (8, 8)])
def test_same_padding_follows_the_size_of_the_input(size):
    network = nn.Sequential(layers.Conv2dSame(4, 6, 3, stride=2), nn.BatchNorm2d(6)).eval()
    emulated = emulate(network, EXACT, calibration=[pixels(), pixels(8, 8)], method="max")
    x = pixels(*size).clamp(-2, 2)
    with torch.no_grad():
        assert torch.equal(exposed(network, x)(x), network(x))
        assert torch.allclose(emulated(x), network(x), atol=0.05)
    emulated.train()(x).square().sum().backward()
    assert emulated.layer("0").weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "layer",
    [
        layers.StdConv2d(4, 6, 3, stride=2, eps=1e-3),
        layers.StdConv2dSame(4, 6, 3, stride=2, bias=True),
        layers.StdConv2dSame(4, 6, 3, groups=2),
        layers.ScaledStdConv2d(4, 6, (3, 1), dilation=2, gain_init=0.7),
        layers.ScaledStdConv2dSame(4, 6, 3, stride=2, gamma=1.7),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_standardised_weights_are_baked(layer):
    network, x = nn.Sequential(layer, nn.ReLU()).eval(), pixels()
    state = copy.deepcopy(network.state_dict())
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    flat = layer.weight.flatten(1)
    variance, mean = torch.var_mean(flat, dim=1, correction=0, keepdim=True)
    expected = (flat - mean) / (variance + layer.eps).sqrt()
    if hasattr(layer, "gain"):
        expected = expected * layer.gain.flatten(1) * layer.scale
    baked = emulated.layer("0").weight
    assert isinstance(baked, nn.Parameter)
    torch.testing.assert_close(baked.flatten(1), expected, atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        assert torch.allclose(emulated(x), network(x), atol=0.03 * float(network(x).max()))
        assert torch.equal(exposed(network, x)(x), network(x))
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


class Twice(nn.Module):
    """Each layer under two names."""

    def __init__(self):
        super().__init__()
        self.conv = layers.StdConv2dSame(4, 4, 3, stride=2)
        self.again = nn.ModuleList([self.conv])
        self.fc = layers.Linear(4, 4)
        self.head = nn.Sequential(self.fc, nn.ReLU())

    def forward(self, x):
        return self.head(self.fc(self.again[0](self.conv(x)).mean(dim=(2, 3))))


def test_shared_layers_stay_shared():
    network, x = Twice().eval(), pixels()
    emulated = emulate(network, EXACT, calibration=[x], method="max")
    assert [site.name for site in emulated.sites] == ["conv", "fc"]
    inner = emulated.network
    assert inner.again[0] is inner.conv is emulated.layer("conv")
    assert inner.head[0] is inner.fc is emulated.layer("fc")
    with torch.no_grad():
        torch.testing.assert_close(emulated.in_float()(x), network(x))


@pytest.mark.parametrize("name", ["tf_mobilenetv3_small_minimal_100", "test_nfnet"])
def test_every_layer_of_a_network_of_timm_is_a_site(name):
    network = timm().create_model(name, num_classes=5).eval()
    x = torch.randn(1, 3, 37, 34)
    count = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules())
    assert len(sites(network, x)) == count
    with torch.no_grad():
        torch.testing.assert_close(exposed(network, x)(x), network(x))


def test_a_bare_layer_of_timm_is_refused():
    with pytest.raises(InputError, match=r"bare Linear has not: put it into nn\.Sequential"):
        sites(layers.Linear(3, 3), torch.zeros(1, 3))
