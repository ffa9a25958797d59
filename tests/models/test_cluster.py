import copy
import dataclasses

import pytest
import torch
from torch import nn

from luts.errors import InputError
from models.networks import (
    ClusterMoE,
    FollowingMoE,
    NetworkConfig,
    build,
    expert_layers,
    upcycle_,
)
from models.networks._cluster import centroids_of

WIDTH = 3


def blobs(count, per_blob):
    """Well separated clouds and their centres."""
    centres = 20 * torch.eye(WIDTH)[:count]
    points = centres.repeat(per_blob, 1) + torch.randn(count * per_blob, WIDTH)
    return points, centres


def test_centroids_are_the_means_of_separated_clouds():
    points, _ = blobs(3, 50)
    found = centroids_of(points, 3, seed=0)
    means = torch.stack([points[i::3].mean(dim=0) for i in range(3)])
    order = torch.cdist(means, found).argmin(dim=1)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert torch.allclose(found[order], means, atol=1e-4)
    assert torch.equal(found, centroids_of(points, 3, seed=0))


@pytest.mark.parametrize("features", [torch.randn(2, WIDTH), torch.ones(50, WIDTH)])
def test_fewer_samples_than_clusters_are_refused(features):
    with pytest.raises(InputError, match="k-means of 3 clusters"):
        centroids_of(features, 3, seed=0)


def test_features_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="not a number"):
        centroids_of(torch.full((5, WIDTH), float("nan")), 2, seed=0)


def test_the_nearest_centroid_picks_the_expert():
    experts = [nn.Linear(WIDTH, WIDTH) for _ in range(4)]
    centroids = torch.randn(4, WIDTH)
    layer, x = ClusterMoE(experts, centroids, granularity="token"), torch.randn(2, 9, WIDTH)
    nearest = torch.cdist(x.reshape(-1, WIDTH), centroids).argmin(dim=1)
    expected = torch.stack(
        [experts[e](item) for e, item in zip(nearest, x.reshape(-1, WIDTH), strict=True)]
    )
    assert torch.allclose(layer(x), expected.reshape(2, 9, WIDTH), atol=1e-6)
    assert layer.work.tolist() == torch.bincount(nearest, minlength=4).tolist()
    assert layer.overhead_macs(9) == 9 * 4 * WIDTH
    assert layer.auxiliary_loss is None


def test_images_are_routed_by_their_mean():
    experts = [nn.Conv2d(WIDTH, 2, 1), nn.Conv2d(WIDTH, 2, 1)]
    centroids = torch.tensor([[0.0] * WIDTH, [5.0] * WIDTH])
    layer = ClusterMoE(experts, centroids, granularity="image")
    x = torch.randn(3, WIDTH, 4, 4)
    x[1] += 5
    output = layer(x)
    for image, expert in enumerate((0, 1, 0)):
        assert torch.allclose(output[image], experts[expert](x[image : image + 1])[0], atol=1e-6)


def test_centroids_are_kept_and_not_learnt():
    layer = ClusterMoE(
        [nn.Linear(WIDTH, WIDTH) for _ in range(2)], torch.randn(2, WIDTH), granularity="token"
    )
    assert "centroids" in layer.state_dict()
    assert "centroids" not in dict(layer.named_parameters())


def test_clusters_of_directions_are_blind_to_length():
    experts = [nn.Linear(WIDTH, WIDTH) for _ in range(2)]
    centroids = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    layer = ClusterMoE(experts, centroids, granularity="token", on_unit=True)
    x = torch.tensor([[0.1, 0.02, 0], [50.0, 1, 0], [1, 90, 0], [0.001, 0.01, 0]])
    layer(x)
    assert layer.work.tolist() == [2, 2]
    layer(1000 * x)
    assert layer.work.tolist() == [2, 2]
    assert layer.overhead_macs(4) == 4 * (2 * WIDTH + 2 * WIDTH)


def test_clusters_are_made_of_what_is_asked_for():
    config = NetworkConfig("vit_small", topology="cluster", expert_blocks=(1,), experts=2)
    images = [torch.randn(8, 3, 32, 32)]
    centroids = {}
    for features in ("raw", "unit"):
        network = build(config.dense(), seed=0)
        upcycle_(
            network, dataclasses.replace(config, cluster_features=features), images=images, seed=0
        )
        (layer,) = (m for m in network.modules() if isinstance(m, ClusterMoE))
        assert layer.on_unit == (features == "unit")
        centroids[features] = layer.centroids
    assert (centroids["unit"].norm(dim=1) <= 1 + 1e-5).all()
    assert (centroids["raw"].norm(dim=1) > 1 + 1e-5).all()
    with pytest.raises(InputError, match="unknown cluster_features 'rwa': did you mean raw"):
        dataclasses.replace(config, cluster_features="rwa")


BY_IMAGE = NetworkConfig(
    "resnet20",
    topology="cluster",
    image_size=8,
    experts=2,
    expert_blocks=(8, 1, 4),
    cluster_route="image",
)


@pytest.fixture
def routed():
    network = build("resnet20", image_size=8).eval()
    upcycle_(network, BY_IMAGE, images=[torch.randn(16, 3, 8, 8)], seed=0)
    return network.eval()


def test_one_route_for_the_whole_image_is_that_of_the_first_layer(routed):
    layers = expert_layers(routed)
    first, *later = layers.values()
    assert list(layers) == ["layer1.1.branch", "layer2.1.branch", "layer3.2.branch"]
    assert isinstance(first, ClusterMoE)
    assert all(isinstance(layer, FollowingMoE) for layer in later)
    images = torch.randn(6, 3, 8, 8)
    for layer in layers.values():
        layer.keeps_choices = True
    routed(images)
    assert 0 < first.choices.sum() < 6
    for layer in later:
        assert torch.equal(layer.choices, first.choices)
        assert layer.overhead_macs(1) == 0
    assert first.overhead_macs(1) == 2 * 16
    # A copy follows its own leader.
    copied = copy.deepcopy(routed)
    copied(images[:3])
    routed(images)
    assert torch.equal(later[0].choices, first.choices)


def test_one_route_needs_no_more_state_and_no_further_centroids(routed):
    keys = [key for key in routed.state_dict() if "centroids" in key]
    assert keys == ["layer1.1.branch.centroids"]
    again = build(BY_IMAGE).eval()
    again.load_state_dict(routed.state_dict())
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(again(images), routed(images))


def test_all_tokens_of_an_image_go_one_way():
    config = NetworkConfig(
        "vit_small",
        topology="cluster",
        expert_blocks=(1, 3),
        experts=2,
        cluster_route="image",
        cluster_features="unit",
    )
    network = build("vit_small").eval()
    upcycle_(network, config, images=[torch.randn(8, 3, 32, 32)], seed=0)
    layers = list(expert_layers(network.eval()).values())
    for layer in layers:
        layer.keeps_choices = True
    network(torch.randn(5, 3, 32, 32))
    routes = [layer.choices.reshape(5, -1) for layer in layers]
    assert torch.equal(routes[0], routes[1])
    assert (routes[0] == routes[0][:, :1]).all()
    tokens = layers[0].items // 5
    assert layers[0].overhead_macs(tokens) == 2 * 384 + 2 * 384


def test_a_layer_that_follows_is_called_with_the_whole_network(routed):
    _, second, _ = expert_layers(routed).values()
    routed(torch.randn(4, 3, 8, 8))
    with pytest.raises(InputError, match="was given 3 images, and that one 4: call the whole"):
        second(torch.randn(3, 32, 4, 4))


def test_one_route_is_for_clusters_alone():
    with pytest.raises(InputError, match="cluster_route is for the topology cluster; hard"):
        dataclasses.replace(BY_IMAGE, topology="hard")
    with pytest.raises(InputError, match="unknown cluster_route 'imag': did you mean image"):
        dataclasses.replace(BY_IMAGE, cluster_route="imag")
