import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from luts.errors import InputError
from models import ARCHITECTURES, NetworkConfig, build, sites
from models.networks import expert_layers, source_digest
from tests.models.counting import count_macs

# FACTS of the published networks: README of chenyaofo/pytorch-cifar-models, commit 786c162, and
# timm's model card; attention products left out, as count_macs does.
PUBLISHED = {
    ("resnet20", 10): (272_474, 40_813_184),
    ("resnet20", 100): (278_324, 40_818_944),
    ("vgg11_bn", 10): (9_756_426, 153_293_824),
    ("vgg11_bn", 100): (9_802_596, 153_339_904),
    ("vgg19_bn", 10): (20_565_834, 398_660_608),
    ("vgg19_bn", 100): (20_612_004, 398_706_688),
}


@pytest.mark.parametrize(("arch", "classes"), PUBLISHED)
def test_parameters_and_macs_of_the_cnns(arch, classes):
    network = build(arch, num_classes=classes)
    counted = sum(p.numel() for p in network.parameters())
    macs = count_macs(network, torch.zeros(1, 3, 32, 32))
    assert (counted, macs) == PUBLISHED[arch, classes]


@pytest.mark.parametrize(
    ("image_size", "patch_size", "classes", "parameters"),
    [(224, 16, 1000, 22_050_664), (224, 16, 200, 21_742_664), (64, 8, 200, 21_470_792)],
)
def test_parameters_of_vit_small(image_size, patch_size, classes, parameters):
    network = build("vit_small", num_classes=classes, image_size=image_size, patch_size=patch_size)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_macs_of_vit_small_follow_from_its_width():
    network = build("vit_small", num_classes=200, image_size=64, patch_size=8)
    tokens, width = 65, 384
    block = tokens * width * (3 * width + width + 2 * 4 * width)
    patches = 64 * width * 3 * 8 * 8
    expected = 12 * block + patches + width * 200
    assert count_macs(network, torch.zeros(1, 3, 64, 64)) == expected


@pytest.mark.parametrize(
    ("image_size", "patch_size", "classes", "gmacs"), [(224, 16, 1000, 4.60), (64, 8, 200, 1.42)]
)
def test_macs_of_vit_small_with_attention_are_the_published_ones(
    image_size, patch_size, classes, gmacs
):
    network = build("vit_small", num_classes=classes, image_size=image_size, patch_size=patch_size)
    found = sites(network, torch.zeros(1, 3, image_size, image_size))
    assert round(sum(site.macs for site in found) / 1e9, 2) == gmacs


def test_seeds_decide_the_weights_and_nothing_else_changes():
    state = torch.random.get_rng_state()
    first, same, other = (
        build("resnet20", topology="hard", seed=s).state_dict() for s in (0, 0, 1)
    )
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"arch": "resnet2"}, "did you mean resnet20"),
        ({"arch": "timm:vit_smal_patch16_224"}, "did you mean vit_small_patch16_224"),
        ({"arch": "no/such.py:net"}, "no file no/such.py"),
        ({"arch": "resnet20", "topology": "sotf"}, "did you mean soft"),
        ({"arch": "resnet20", "num_classes": 1}, "num_classes is a whole number from 2 up, not 1"),
        (
            {"arch": "resnet20", "topology": "hard", "experts": 1},
            "experts is a whole number from 2 up, not 1",
        ),
        ({"arch": "resnet20", "topology": "hard", "top_k": 5}, "1…4 .the experts., not 5"),
        ({"arch": "resnet20", "topology": "soft", "top_k": 2}, "soft takes none, not 2"),
        ({"arch": "resnet20", "patch_size": 4}, "no patches: leave the patch size 4 out"),
        ({"arch": "vgg11_bn", "image_size": 16}, "at least 32 pixels a side, not 16"),
        ({"arch": "vit_small", "patch_size": 5}, "32 is no multiple of 5"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        NetworkConfig(**arguments)


@pytest.mark.parametrize(
    ("topology", "setting"),
    [
        ("dense", {"experts": 8}),
        ("dense", {"expert_blocks": (1, 2)}),
        ("dense", {"top_k": 2}),
        ("dense", {"cluster_features": "unit"}),
        ("hard", {"cluster_features": "unit"}),
        ("soft", {"cluster_features": "unit"}),
        ("soft", {"top_k": 2}),
        ("cluster", {"top_k": 2}),
    ],
)
def test_what_a_topology_would_ignore_is_refused(topology, setting):
    name, value = next(iter(setting.items()))
    words = rf"^{name} is for the topolog.* {topology} takes none, not {re.escape(str(value))}: lea"
    with pytest.raises(InputError, match=words):
        NetworkConfig("resnet20", topology=topology, **setting)
    if topology == "dense" and name == "experts":
        with pytest.raises(InputError, match=words):
            build("resnet20", **setting)


def test_the_dense_network_that_experts_are_made_from():
    config = NetworkConfig("resnet20", topology="hard", experts=8, top_k=3, expert_blocks=(1,))
    assert config.dense() == NetworkConfig("resnet20")


def test_what_a_config_decides_is_not_decided_again():
    config = NetworkConfig("resnet20", topology="hard")
    with pytest.raises(InputError, match="topology='soft', experts=2 would be ignored"):
        build(config, topology="soft", experts=2)
    assert set(expert_layers(build(config, seed=1)))


@pytest.mark.parametrize("name", ["convnext_atto", "mixer_s32_224", "deit_tiny_patch16_224"])
def test_any_classifier_of_timm(name):
    config = NetworkConfig(f"timm:{name}", num_classes=5, image_size=64, in_channels=1)
    assert build(config).eval()(torch.zeros(2, 1, 64, 64)).shape == (2, 5)


def test_transformers_of_timm_take_experts():
    network = build("timm:deit_tiny_patch16_224", topology="soft", experts=2, image_size=64)
    layers = expert_layers(network)
    assert list(layers) == [f"blocks.{i}.mlp" for i in (1, 3, 5, 7, 9, 11)]
    # 4 × 4 patches and the class token, shared by two experts.
    assert {layer.slots for layer in layers.values()} == {8}


def test_networks_without_such_blocks_are_dense():
    with pytest.raises(InputError, match="no blocks that can become experts"):
        build("timm:convnext_atto", topology="hard")


def test_what_timm_refuses_is_said():
    with pytest.raises(
        InputError,
        match=r"resnet10t, made for images of 176 pixels, cannot be built with .*'patch_size': 8",
    ):
        build("timm:resnet10t", patch_size=8)


SOURCE = """
from torch import nn

def small(num_classes, in_channels=3):
    return nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, num_classes))

def demanding(num_classes, depth):
    return small(num_classes)

def wrong(**shape):
    return shape
"""


def test_a_function_of_a_file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    config = NetworkConfig(f"{path}:small", num_classes=3, image_size=8, in_channels=2)
    first, second = build(config), build(config)
    assert first(torch.zeros(1, 2, 8, 8)).shape == (1, 3)
    assert torch.equal(first[1].weight, second[1].weight)
    digest = source_digest(config.arch)
    path.write_text(SOURCE + "\n")
    assert source_digest(config.arch) != digest
    assert source_digest("resnet20") is None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("smal", "no function 'smal'; did you mean small"),
        ("demanding", "missing 1 required positional argument: 'depth'"),
        ("wrong", "gave dict, not an nn.Module"),
    ],
)
def test_what_is_wrong_with_a_function_is_said(tmp_path, function, message):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    with pytest.raises(InputError, match=message):
        build(f"{path}:{function}")


def test_a_file_that_fails_is_named(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("import no_such_module")
    with pytest.raises(InputError, match=r"mine\.py cannot be run: ModuleNotFoundError"):
        build(f"{path}:small")


def test_every_architecture_has_expert_blocks_in_range():
    for name, architecture in ARCHITECTURES.items():
        network = build(name)
        sites = architecture.expert_sites(network)
        assert set(architecture.default_expert_blocks) <= set(range(len(sites)))
        assert all(isinstance(network.get_submodule(site), nn.Module) for site in sites)


def test_a_file_may_import_timm_first(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import timm\n\n\ndef net(num_classes):\n"
        "    return timm.create_model('test_vit', num_classes=num_classes)\n"
    )
    script = (
        "import models\n"
        f"net = models.build(models.NetworkConfig({str(tmp_path / 'nets.py:net')!r}))\n"
        "print(net.num_classes)"
    )
    # in a process of its own: here timm is loaded already
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "10", done.stderr
