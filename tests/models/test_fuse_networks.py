"""Codes from site to site in the architectures of this project."""

import pytest
import torch

from luts import isa
from models import Assignment, Choice, NetworkConfig, build, emulate
from models.emulation._fusion import VECTORISED
from tests.models.steps import CIRCUITS, assert_same, counting_codes, fused_sites, images
from tests.models.test_fold import shake_


@pytest.mark.parametrize("topology", ["dense", "hard", "soft", "cluster"])
def test_resnets_are_the_same(topology):
    net = shake_(build(NetworkConfig("resnet20", topology), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 4, 3, 32, 32)])
    sites = fused_sites(emulated)
    assert sites["conv1"] == "codes and float32 after ReLU"
    assert sites["layer1.0.conv1"] == "codes after ReLU"
    assert sites["layer1.0.conv2"] == "codes and float32 after sum, ReLU"
    branches = [name for name in sites if name.startswith("layer3") and "conv1" in name]
    assert len(branches) == (3 if topology == "dense" else 12)
    for circuit in CIRCUITS:
        emulated.assign_(circuit)
        with counting_codes() as calls:
            assert_same(emulated, images(2, 3, 3, 32, 32))
        assert sum(calls) > 20
    assert_same(emulated, images(3, 1, 3, 32, 32), torch.no_grad)


def test_vgg_is_the_same_with_pooling_between():
    net = shake_(build(NetworkConfig("vgg11_bn"), seed=0), 1)
    emulated = emulate(net, "mul8s_1L2H", calibration=[images(1, 2, 3, 32, 32)])
    assert fused_sites(emulated)["features.0"] == "codes after ReLU, pooling"
    assert len(fused_sites(emulated)) == 9
    assert_same(emulated, images(2, 3, 3, 32, 32))


def test_transformers_are_the_same():
    net = build(NetworkConfig("vit_small"), seed=0)
    emulated = emulate(net, "mul8s_1L2H", calibration=[images(1, 2, 3, 32, 32)])
    assert_same(emulated, images(2, 2, 3, 32, 32))


def test_small_outputs_are_given_as_they_were():
    net = shake_(build(NetworkConfig("resnet20"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    with counting_codes() as calls, torch.inference_mode():
        emulated(images(2, 1, 3, 32, 32))
    assert not any(calls)
    with counting_codes() as calls, torch.inference_mode():
        emulated(images(2, 16, 3, 32, 32))
    assert any(calls) == (isa() in VECTORISED)


def test_scales_are_read_when_they_are_used():
    net = shake_(build(NetworkConfig("resnet20"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    for step, name in enumerate(("layer2.0.conv1", "layer1.1.conv1", "layer1.0.conv2")):
        # The first is one of two that read the same activation.
        emulated.layer(name).rescale_(torch.tensor([0.7 + 0.1 * step]))
        assert_same(emulated, images(2, 2, 3, 32, 32))
    mixed = {site.name: Choice(CIRCUITS[i % 3]) for i, site in enumerate(emulated.sites)}
    emulated.assign_(Assignment.of(mixed))
    assert_same(emulated, images(2, 2, 3, 32, 32))
    emulated.assign_("mul8s_1L2D")
    emulated.layer("layer1.0.conv2").learn_scale_(True)
    with torch.no_grad():
        emulated.layer("layer1.0.conv2").log_scale += 0.3
    assert_same(emulated, images(2, 2, 3, 32, 32))


def test_weights_and_statistics_that_change_are_followed():
    net = shake_(build(NetworkConfig("vgg11_bn"), seed=0), 1)
    emulated = emulate(net, "mul8s_1KV8", calibration=[images(1, 2, 3, 32, 32)])
    assert_same(emulated, images(2, 2, 3, 32, 32))
    shake_(emulated.network, 7)
    with torch.no_grad():
        emulated.layer("features.8").weight.mul_(-1)
        emulated.layer("features.8").correction += 0.1
    assert_same(emulated, images(2, 2, 3, 32, 32))
