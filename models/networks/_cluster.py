"""Topology ``cluster``: each item goes to the expert whose centroid is nearest; nothing is learned.

The centroids are those of k-means over the layer's own input features, on training data, in the
dense network at the moment of upcycling: pooled per image in a convolutional network, per token in
a transformer. The features are taken as they are, or each scaled to length 1. With one cluster per
expert there is nothing to learn in the routing, and it has no gradient. Training later moves the
features, not the centroids.
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
    """

    centroids: torch.Tensor

    def __init__(
        self,
        experts: list[nn.Module],
        centroids: torch.Tensor,
        *,
        granularity: Granularity,
        on_unit: bool = False,
    ) -> None:
        super().__init__(experts, granularity=granularity)
        self.on_unit = on_unit
        assert len(centroids) == len(experts)
        self.register_buffer("centroids", centroids.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``x`` item by item.

        Args:
            x: ``(…, D)`` for tokens, ``(B, C, H, W)`` for images.
        """
        items = self.to_items(x)
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            features = item_features(items, self.granularity).float()
            if self.on_unit:
                features = functional.normalize(features, dim=1)
            # |x − c|² without |x|², which all centroids have in common.
            distances = self.centroids.square().sum(dim=1) / 2 - features @ self.centroids.t()
            chosen = distances.argmin(dim=1, keepdim=True)
        output = self.dispatch(items, chosen, None)
        return output.reshape(x.shape) if self.granularity == "token" else output

    def overhead_macs(self, items: int) -> int:
        """One product with every centroid, and those of scaling to length 1."""
        scaling = 2 * self.centroids.shape[1] if self.on_unit else 0
        return items * (self.centroids.numel() + scaling)


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
