"""Topology ``cluster``: each item goes to the expert whose centroid is nearest; nothing is learned.

The centroids are those of k-means over the layer's own input features, on training data, in the
dense network at the moment of upcycling: pooled per image in a convolutional network, per token in
a transformer. The features are taken as they are, or each scaled to length 1. With one cluster per
expert there is nothing to learn in the routing, and it has no gradient. Training later moves the
features, not the centroids.

With one route for the whole image, the first layer with experts chooses by what is pooled of the
image there, and all later layers follow: the experts of one index then are one network, as in the
network of experts of Ahmed, Baig, Torresani (ECCV 2016, arXiv 1604.06119), where images are
clustered first, and as in MoCLE (Gou et al., arXiv 2312.12379), where instructions are.
"""

import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.nn import functional

from luts.errors import InputError
from models.networks._experts import ExpertLayer, Granularity
from models.networks._gate import item_features

RESTARTS = 4


class ClusterMoE(ExpertLayer):
    """Nearest-centroid routing.

    Args:
        experts: the experts.
        centroids: float32 of shape ``(experts, D)``.
        granularity: what is routed.
        on_unit: features are scaled to length 1 first, as those were that the centroids are of.
        by_image: the centroids are of whole images, and all tokens of one go to one expert.

    Attributes:
        route: expert of each image in the latest forward, int64 of shape ``(B,)``; kept by image.
    """

    centroids: torch.Tensor

    def __init__(
        self,
        experts: list[nn.Module],
        centroids: torch.Tensor,
        *,
        granularity: Granularity,
        on_unit: bool = False,
        by_image: bool = False,
    ) -> None:
        super().__init__(experts, granularity=granularity)
        self.on_unit = on_unit
        self.by_image = by_image
        self.route: torch.Tensor | None = None
        assert len(centroids) == len(experts)
        self.register_buffer("centroids", centroids.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``x`` item by item.

        Args:
            x: ``(…, D)`` for tokens, ``(B, C, H, W)`` for images.
        """
        items = self.to_items(x)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            features = (
                pooled(x, self.granularity)
                if self.by_image
                else item_features(items, self.granularity)
            )
            features = features.float()
            if self.on_unit:
                features = functional.normalize(features, dim=1)
            # |x − c|² without |x|², which all centroids have in common.
            distances = self.centroids.square().sum(dim=1) / 2 - features @ self.centroids.t()
            chosen = distances.argmin(dim=1, keepdim=True)
        if self.by_image:
            self.route = chosen[:, 0]
            chosen = _for_items(self.route, items)
        output = self.dispatch(items, chosen, None)
        return output.reshape(x.shape) if self.granularity == "token" else output

    def overhead_macs(self, items: int) -> int:
        """One product with every centroid, and those of scaling to length 1."""
        scaling = 2 * self.centroids.shape[1] if self.on_unit else 0
        return (1 if self.by_image else items) * (self.centroids.numel() + scaling)


class FollowingMoE(ExpertLayer):
    """Experts on the route that an earlier layer has chosen for the whole image.

    Args:
        experts: as many as the leader has.
        leader: the layer that chooses, by image; the network calls it first.
        granularity: what the experts map.
    """

    def __init__(
        self, experts: list[nn.Module], leader: ClusterMoE, *, granularity: Granularity
    ) -> None:
        super().__init__(experts, granularity=granularity)
        assert leader.by_image and leader.num_experts == len(experts)
        # In a tuple, so that it is not a submodule of this layer too.
        self._leader = (leader,)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``x`` item by item.

        Args:
            x: ``(B, …, D)`` for tokens, ``(B, C, H, W)`` for images, of the images that the leader
                was called with last.

        Raises:
            InputError: the leader was called with another number of images, or not yet.
        """
        route = self._leader[0].route
        if route is None or len(route) != len(x):
            routed = 0 if route is None else len(route)
            raise InputError(
                f"a layer that follows another's route was given {len(x)} images, and that one "
                f"{routed}: call the whole network"
            )
        items = self.to_items(x)
        output = self.dispatch(items, _for_items(route, items), None)
        return output.reshape(x.shape) if self.granularity == "token" else output

    def overhead_macs(self, items: int) -> int:
        """None: the leader has chosen."""
        return 0


def pooled(x: torch.Tensor, granularity: Granularity) -> torch.Tensor:
    """One vector per image, ``(B, D)``: the mean of its tokens or of its positions.

    Args:
        x: ``(B, …, D)`` tokens or ``(B, D, H, W)`` images.
        granularity: which of them.
    """
    if granularity == "token":
        return x.reshape(len(x), -1, x.shape[-1]).mean(dim=1)
    return item_features(x, granularity)


def _for_items(route: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """The expert of every item, ``(items, 1)``; those of one image follow each other."""
    each = len(items) // max(1, len(route))
    return route.repeat_interleave(each).unsqueeze(1)


def centroids_of(features: torch.Tensor, count: int, *, seed: int) -> torch.Tensor:
    """Centroids of k-means (Lloyd's, k-means++ starts), float32 of shape ``(count, D)``.

    Args:
        features: samples, shape ``(samples, D)``.
        count: number of clusters.
        seed: of the starts.

    Raises:
        InputError: fewer samples than clusters, equal ones counted once, or values that are not
            finite numbers.
    """
    if len(features) < count:
        raise InputError(f"k-means of {count} clusters needs as many samples, not {len(features)}")
    if not bool(torch.isfinite(features).all()):
        raise InputError("k-means met a feature that is infinite or not a number")
    kmeans = KMeans(n_clusters=count, n_init=RESTARTS, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            kmeans.fit(features.float().cpu().numpy())
        except ConvergenceWarning as error:
            raise InputError(
                f"k-means of {count} clusters needs as many different samples: {error}"
            ) from None
    return torch.from_numpy(kmeans.cluster_centers_).float()
