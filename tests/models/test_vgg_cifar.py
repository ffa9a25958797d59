import pytest
import torch
from torch import nn

from models.networks.vgg_cifar import vgg11_bn, vgg19_bn
from tests.models.counting import count_macs

# README of chenyaofo/pytorch-cifar-models, commit 786c162.
PUBLISHED = {
    (vgg11_bn, 10): (9_756_426, 153_293_824),
    (vgg11_bn, 100): (9_802_596, 153_339_904),
    (vgg19_bn, 10): (20_565_834, 398_660_608),
    (vgg19_bn, 100): (20_612_004, 398_706_688),
}
CONVOLUTIONS = {
    vgg11_bn: [0, 4, 8, 11, 15, 18, 22, 25],
    vgg19_bn: [0, 3, 7, 10, 14, 17, 20, 23, 27, 30, 33, 36, 40, 43, 46, 49],
}


@pytest.mark.parametrize(("make", "classes"), PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(make, classes):
    net = make(classes)
    counted = sum(p.numel() for p in net.parameters()), count_macs(net, torch.zeros(1, 3, 32, 32))
    assert counted == PUBLISHED[make, classes]


@pytest.mark.parametrize("make", CONVOLUTIONS)
def test_state_dict_keys_are_the_published_ones(make):
    expected = set()
    for i in CONVOLUTIONS[make]:
        expected |= {f"features.{i}.{key}" for key in ("weight", "bias")}
        norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        expected |= {f"features.{i + 1}.{key}" for key in norm}
    expected |= {f"classifier.{i}.{key}" for i in (0, 3, 6) for key in ("weight", "bias")}
    assert set(make().state_dict()) == expected


def test_five_poolings_leave_one_position_so_averaging_changes_nothing():
    net = vgg11_bn().eval()
    features = net.features(torch.zeros(1, 3, 32, 32))
    assert features.shape == (1, 512, 1, 1)
    assert sum(isinstance(module, nn.MaxPool2d) for module in net.features) == 5
