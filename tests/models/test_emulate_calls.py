"""Layers called in every way that PyTorch allows."""

import torch
import torch.nn.functional as F
from torch import nn

from models import channel_means, emulate, sites
from models.emulation import code_histograms, sites_before_batchnorm
from models.emulation._fold import FoldableBatchNorm2d
from models.training.recovery._batchnorm import recalibrate_


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
    assert recalibrate_(named, x) == recalibrate_(plain, x) == 1
    for emulated in (plain, named):
        emulated.train()(x).square().sum().backward()
    assert torch.equal(plain.layer("conv").weight.grad, named.layer("conv").weight.grad)
