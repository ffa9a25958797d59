import pytest
import torch

from models.networks.resnet_cifar import resnet20
from tests.models.counting import count_macs

# README of chenyaofo/pytorch-cifar-models, commit 786c162.
PUBLISHED = {10: (272_474, 40_813_184), 100: (278_324, 40_818_944)}


@pytest.mark.parametrize("classes", PUBLISHED)
def test_parameters_and_macs_are_the_published_ones(classes):
    net = resnet20(classes)
    counted = sum(p.numel() for p in net.parameters()), count_macs(net, torch.zeros(1, 3, 32, 32))
    assert counted == PUBLISHED[classes]


def test_state_dict_keys_are_the_published_ones():
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{key}" for key in norm)}
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            prefix = f"layer{stage}.{block}"
            for i in (1, 2):
                expected |= {f"{prefix}.conv{i}.weight", *(f"{prefix}.bn{i}.{k}" for k in norm)}
            if stage > 1 and block == 0:
                expected |= {f"{prefix}.downsample.0.weight"}
                expected |= {f"{prefix}.downsample.1.{key}" for key in norm}
    state = resnet20().state_dict()
    assert set(state) == expected
    assert state["layer2.0.downsample.0.weight"].shape == (32, 16, 1, 1)
    assert state["layer3.0.conv1.weight"].shape == (64, 32, 3, 3)


def test_other_channels_and_sizes():
    assert resnet20(7, in_channels=1).eval()(torch.zeros(2, 1, 20, 20)).shape == (2, 7)
