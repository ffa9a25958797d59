import dataclasses

import pytest
import torch
from torch import nn

from luts.errors import InputError
from models.networks import ClusterMoE, NetworkConfig, build, upcycle_
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
        network = build(dataclasses.replace(config, topology="dense"), seed=0)
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
