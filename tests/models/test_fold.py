"""BatchNorm done by the convolution before it: same numbers, and only where nobody would notice."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models import NetworkConfig, build, emulate
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._fold import FoldableBatchNorm2d


def folded(emulated):
    """Names of the convolutions that do a BatchNorm's work."""
    layers = dict(emulated.network.named_modules())
    return {n for n, m in layers.items() if isinstance(m, EmulatedConv2d) and m.follower}


def shake_(network, seed):
    """Statistics and parameters as training leaves them: none of them 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.3, 2, generator=generator)
            if module.affine:
                nn.init.normal_(module.weight, generator=generator)
                nn.init.normal_(module.bias, generator=generator)
    return network


class Net(nn.Module):
    """A convolution, a BatchNorm, and whatever ``between`` does."""

    def __init__(self, *, between=None, bias=True, affine=True, convolutions=1):
        super().__init__()
        torch.manual_seed(0)
        self.convs = nn.ModuleList(nn.Conv2d(3, 5, 3, bias=bias) for _ in range(convolutions))
        self.bn = nn.BatchNorm2d(5, affine=affine)
        self.between = between

    def forward(self, x):
        ys = [conv(x) for conv in self.convs]
        extra = 0.0 if self.between is None else self.between(ys[0])
        return sum(self.bn(y) for y in ys) + extra


def inputs(seed, size=9):
    return torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("multiplier", ["mul8s_1KV8", "mul8s_1L2H"])
def test_folding_changes_nothing_but_float_rounding(bias, affine, multiplier):
    emulated = emulate(
        shake_(Net(bias=bias, affine=affine), 1), multiplier, calibration=[inputs(1)]
    )
    assert folded(emulated) == {"convs.0"}
    emulated.layer("convs.0").correction += torch.linspace(-1, 1, 5)
    x = inputs(2)
    with torch.no_grad():
        fast = emulated(x)
        emulated.layer("convs.0").follower = None
        slow = emulated(x)
    assert not torch.equal(fast, slow) or not fast.any()  # else it was not folded
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "net",
    [
        Net(between=lambda y: y.mean()),
        Net(between=lambda y: F.relu(y)),
        Net(between=lambda y: y[:, :1]),
        Net(between=lambda y: torch.stack([y, y]).sum(0)),
        Net(convolutions=2),
    ],
)
def test_an_output_that_something_else_reads_is_not_folded(net):
    emulated = emulate(shake_(net, 1), "mul8s_1KV8", calibration=[inputs(1)])
    assert folded(emulated) == set()


def test_reading_the_shape_does_not_keep_from_folding():
    net = Net(between=lambda y: float(y.shape[0] * y.dim()))
    assert folded(emulate(net, "mul8s_1KV8", calibration=[inputs(1)])) == {"convs.0"}


def test_training_and_gradients_and_hooks_see_batchnorm_at_work():
    net = shake_(Net(), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[inputs(1)])
    batchnorm = emulated.network.bn
    assert isinstance(batchnorm, FoldableBatchNorm2d)
    before = batchnorm.running_mean.clone()
    with torch.no_grad():
        emulated.train()(inputs(2))
    assert not torch.equal(batchnorm.running_mean, before)
    emulated.eval()
    emulated(inputs(2)).sum().backward()
    assert batchnorm.weight.grad.abs().sum() > 0
    seen = []
    layer = emulated.layer("convs.0")
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        emulated(inputs(2))
        handle.remove()
        expected = F.batch_norm(
            seen[0], batchnorm.running_mean, batchnorm.running_var, batchnorm.weight, batchnorm.bias
        )
        torch.testing.assert_close(emulated(inputs(2)), expected)


def test_statistics_that_change_are_followed():
    emulated = emulate(shake_(Net(), 1), "mul8s_1KV8", calibration=[inputs(1)])
    copied = copy.deepcopy(emulated)
    with torch.no_grad():
        before = emulated(inputs(2))
        shake_(copied, 2)
        after = copied(inputs(2))
        torch.testing.assert_close(emulated(inputs(2)), before, rtol=0, atol=0)
        copied.layer("convs.0").follower = None
        torch.testing.assert_close(copied(inputs(2)), after)


@pytest.mark.parametrize("topology", ["dense", "hard", "soft", "cluster"])
def test_every_convolution_of_the_cnns_is_folded(topology):
    net = build(NetworkConfig("resnet20", topology), seed=0)
    emulated = emulate(net, "mul8s_1KV8", calibration=[inputs(1, 32)])
    layers = {n for n, m in emulated.network.named_modules() if isinstance(m, EmulatedConv2d)}
    assert folded(emulated) == layers


def test_a_layer_called_by_itself_gives_what_it_is_asked_for():
    emulated = emulate(shake_(Net(), 1), "mul8s_1KV8", calibration=[inputs(1)])
    layer, batchnorm = emulated.layer("convs.0"), emulated.network.bn
    with torch.no_grad():
        alone = layer(inputs(2))
        torch.testing.assert_close(batchnorm(alone), emulated(inputs(2)), rtol=1e-5, atol=1e-5)
