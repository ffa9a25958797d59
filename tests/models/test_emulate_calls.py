"""Layers called in every way that PyTorch allows."""

import torch
import torch.nn.functional as F
from torch import nn

from models import channel_means, emulate, sites
from models.emulation import code_histograms, sites_before_batchnorm
from models.emulation._fold import FoldableBatchNorm2d
from models.networks._timm import timm
from models.training.recovery._batchnorm import recalibrate_

layers = timm().layers


class Net(nn.Module):
    """Convolution, normalisation, attention and a linear layer, by position or by keyword."""

    def __init__(self, *, by_keyword):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8)
        self.own = nn.MultiheadAttention(8, 2, batch_first=True)
        self.fc = nn.Linear(8, 4)
        self.by_keyword = by_keyword

    def forward(self, x):
        if not self.by_keyword:
            x = self.bn(self.conv(x)).flatten(2).transpose(1, 2)
            x = self.own(x, x, x)[0]
            return self.fc(F.scaled_dot_product_attention(x, x, x))
        x = self.bn(input=self.conv(input=x)).flatten(2).transpose(1, 2)
        x = self.own(query=x, key=x, value=x)[0]
        return self.fc(input=F.scaled_dot_product_attention(query=x, key=x, value=x))


def test_calls_by_keyword_are_those_by_position():
    x = torch.randn(4, 3, 9, 9)
    networks = [Net(by_keyword=value).eval() for value in (False, True)]
    plain, named = (emulate(network, "mul8s_1KR3", calibration=[x]) for network in networks)
    assert plain.sites == named.sites == sites(networks[1], x)
    assert isinstance(named.network.bn, FoldableBatchNorm2d)
    with torch.no_grad():
        assert torch.equal(plain(x), named(x))
    for look in (channel_means, code_histograms, sites_before_batchnorm):
        assert list(look(plain, x)) == list(look(named, x)) != []
    assert recalibrate_(named, x) == recalibrate_(plain, x) == {"network.bn"}
    for emulated in (plain, named):
        emulated.train()(x).square().sum().backward()
    assert torch.equal(plain.layer("conv").weight.grad, named.layer("conv").weight.grad)


class Singly(nn.Module):
    """Convolutions of a batch, or of one item after the other."""

    def __init__(self, *, batched):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, padding="same", padding_mode="reflect")
        self.second = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.third = layers.Conv2dSame(4, 5, 3, stride=2)
        self.batched = batched

    def forward(self, x):
        def convolve(x):
            return self.third(self.second(self.first(x).relu()))

        return convolve(x) if self.batched else torch.stack([convolve(item) for item in x])


def test_one_item_without_a_batch_is_convolved():
    x = torch.randn(3, 3, 8, 7)
    networks = [Singly(batched=value).eval() for value in (True, False)]
    batched, singly = (emulate(n, "mul8s_1KR3", calibration=[x], method="max") for n in networks)
    assert batched.sites == singly.sites
    # Scales differ in their last bits, as float sums depend on the number of items.
    singly.load_state_dict(batched.state_dict())
    with torch.no_grad():
        assert torch.equal(batched(x), singly(x))
        torch.testing.assert_close(singly.in_float()(x), networks[0](x))
    for emulated in (batched, singly):
        emulated.train()(x).square().sum().backward()
    for site in batched.sites:
        gradients = (emulated.layer(site.name).weight.grad for emulated in (batched, singly))
        torch.testing.assert_close(*gradients)


def test_one_item_is_not_normalised_twice():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    network[1].running_mean.fill_(0.5)
    x = torch.randn(2, 3, 6, 6)
    emulated = emulate(network, "mul8s_1KR3", calibration=[x])
    conv, norm = emulated.network
    assert isinstance(norm, FoldableBatchNorm2d)
    emulated.network.forward = lambda x: norm(conv(x[0]).unsqueeze(0))
    with torch.no_grad():
        torch.testing.assert_close(emulated(x), norm(conv(x[:1])))
