from dataclasses import replace

import pytest
import torch
from torch import nn

from luts.errors import InputError
from models import NetworkConfig, build, upcycle_
from models.networks import expert_layers
from models.networks._experts import upcycled
from models.networks._upcycle import SAMPLE_IMAGES

ARCHITECTURES = ("vit_small", "resnet20", "vgg11_bn", "vgg19_bn")
EXPERT_LAYERS = {
    "vit_small": [f"blocks.{i}.mlp" for i in (1, 3, 5, 7, 9, 11)],
    "resnet20": [f"layer3.{i}.branch" for i in range(3)],
    "vgg11_bn": ["features.15", "features.18"],
    "vgg19_bn": [f"features.{i}" for i in (27, 30, 33, 36)],
}


def dense(arch):
    """A network whose normalisations have statistics that differ from channel to channel."""
    network = build(arch, num_classes=7)
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(24, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("topology", "top_k"), [("hard", 1), ("hard", 2), ("cluster", 1)])
def test_without_noise_the_network_starts_as_the_dense_one(arch, topology, top_k, images):
    network = dense(arch)
    x = images[:4]
    with torch.no_grad():
        before = network(x)
        config = NetworkConfig(arch, topology, num_classes=7, experts=3, top_k=top_k)
        upcycle_(network, config, images=[(images, None)], noise=0)
        after = network(x)
    assert torch.allclose(after, before, rtol=1e-4, atol=1e-5)
    assert list(expert_layers(network)) == EXPERT_LAYERS[arch]
    used = torch.stack([layer.work for layer in expert_layers(network).values()])
    assert (used.sum(dim=0) > 0).sum() > 1  # or one expert alone would be the dense network


@pytest.mark.parametrize("arch", ("resnet20", "vgg11_bn"))
def test_equal_experts_weighted_are_the_dense_network(arch, images):
    network = dense(arch)
    with torch.no_grad():
        before = network(images[:4])
        upcycle_(network, NetworkConfig(arch, "soft", num_classes=7), images=[images], noise=0)
        assert torch.allclose(network(images[:4]), before, rtol=1e-4, atol=1e-5)


def test_noise_makes_experts_differ_and_is_reproducible():
    config = NetworkConfig("resnet20", "hard")
    networks = [build(config, seed=seed) for seed in (0, 0, 1)]
    weights = [n.layer3[0].branch.experts[0].conv1.weight for n in networks]
    other = networks[0].layer3[0].branch.experts[1].conv1.weight
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert 0.005 < float(((weights[0] - other).std() / weights[0].std()).detach()) < 0.03


def test_the_shortcut_stays_shared():
    network = build("resnet20", topology="hard")
    assert "layer3.0.downsample.0.weight" in network.state_dict()
    assert not any("branch" in key and "downsample" in key for key in network.state_dict())


def test_blocks_are_an_argument(images):
    config = NetworkConfig("resnet20", "hard", expert_blocks=(0, 4))
    assert list(expert_layers(build(config))) == ["layer1.0.branch", "layer2.1.branch"]
    with pytest.raises(InputError, match="lie in 0…8, not 9"):
        build(replace(config, expert_blocks=(9,)))


def test_centroids_come_from_the_first_images_of_the_data(images):
    config = NetworkConfig("resnet20", "cluster", num_classes=7)
    fitted = []
    for batches in ([images], [(images[:10], 0), (images[10:], 0)]):
        network = dense("resnet20")
        upcycle_(network, config, images=batches)
        fitted.append(network.layer3[0].branch.centroids)
    assert torch.allclose(*fitted, atol=1e-5)

    drawn = 0

    def endless():
        nonlocal drawn
        while True:
            drawn += len(images)
            yield images

    upcycle_(dense("resnet20"), replace(config, expert_blocks=(8,)), images=endless())
    assert SAMPLE_IMAGES <= drawn < SAMPLE_IMAGES + len(images)


def test_upcycling_leaves_modes_and_random_numbers_alone(images):
    network = build("resnet20", num_classes=7).train()
    network.bn1.eval()
    state = torch.random.get_rng_state()
    mean = network.layer1[0].bn1.running_mean.clone()
    upcycle_(network, NetworkConfig("resnet20", "cluster", num_classes=7), images=[images])
    assert network.training and not network.bn1.training
    assert network.layer3[0].branch.training
    assert torch.equal(mean, network.layer1[0].bn1.running_mean)
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "training images, but none were given"),
        ([], "training images, but there were 0"),
        ([torch.randn(2, 3, 32, 32)], "k-means of 4 clusters needs as many samples, not 2"),
    ],
)
def test_clusters_need_images(given, message):
    config = NetworkConfig("resnet20", "cluster")
    with pytest.raises(InputError, match=message):
        upcycle_(build("resnet20"), config, images=given)


def test_a_cluster_network_loads_into_one_built_without_data(images):
    config = NetworkConfig("resnet20", "cluster", num_classes=7)
    trained = dense("resnet20")
    upcycle_(trained, config, images=[images])
    built = build(config, seed=3).eval()
    with torch.no_grad():
        assert not torch.allclose(built(images), trained(images), atol=1e-3)
        built.load_state_dict(trained.state_dict())
        assert torch.equal(built(images), trained(images))


def test_a_part_of_each_expert_starts_anew():
    branch = nn.Sequential(
        nn.Conv2d(4, 20, 3, bias=False), nn.BatchNorm2d(20), nn.ReLU(), nn.Conv2d(20, 6, 1)
    )
    nn.init.normal_(branch[0].weight, mean=1.0, std=0.1)
    experts = upcycled(branch, 3, noise=0, seed=0, dropped=0.3)
    chosen = []
    for expert in experts:
        going, coming = expert[0].weight - branch[0].weight, expert[3].weight - branch[3].weight
        moved = going.flatten(1).abs().amax(dim=1) > 0
        assert torch.equal(moved, coming.transpose(0, 1).flatten(1).abs().amax(dim=1) > 0)
        assert moved.sum() == 6
        fresh = expert[0].weight[moved].detach()
        assert float(fresh.mean()) == pytest.approx(1.0, abs=0.05)
        assert float(fresh.std()) == pytest.approx(0.1, abs=0.03)
        chosen.append(tuple(moved.tolist()))
        for key in ("1.running_mean", "3.bias"):
            assert torch.equal(expert.state_dict()[key], branch.state_dict()[key])
    assert len(set(chosen)) == 3
    again = upcycled(branch, 3, noise=0, seed=0, dropped=0.3)
    assert torch.equal(again[2][0].weight, experts[2][0].weight)
    # Nothing lies between the layers of an expert that has one.
    (alone,) = upcycled(nn.Sequential(branch[0]), 1, noise=0, seed=0, dropped=0.5)
    assert torch.equal(alone[0].weight, branch[0].weight)


def test_a_configuration_says_what_starts_anew(images):
    config = NetworkConfig("resnet20", topology="hard", dropped=0.5)
    network, plain = (build("resnet20") for _ in range(2))
    upcycle_(network, config, images=[images], noise=0, seed=0)
    upcycle_(plain, replace(config, dropped=0.0), images=[images], noise=0, seed=0)
    name = "layer3.0.branch.experts.1.conv1.weight"
    moved = network.state_dict()[name] != plain.state_dict()[name]
    assert moved.flatten(1).any(dim=1).sum() == 32
    assert config.dense().dropped == 0
    with pytest.raises(InputError, match=r"dropped is a number from 0 to 1, not 1\.5"):
        replace(config, dropped=1.5)
    with pytest.raises(InputError, match=r"mixed kernels are not experts .* leave dropped 0.5 out"):
        replace(config, topology="soft", soft_mixes="kernels")
