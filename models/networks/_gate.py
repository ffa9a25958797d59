"""What a router looks at."""

import torch
import torch.nn.functional as F
from torch import nn

from models.networks._experts import Granularity

ROUTER_STD = 0.02
"""Spread of a fresh router's weights (Komatsuzaki et al., ICLR 2023, arXiv 2212.05055)."""


def item_features(items: torch.Tensor, granularity: Granularity) -> torch.Tensor:
    """One vector per item, ``(items, D)``: a token itself, the spatial mean of an image.

    Args:
        items: ``(items, D)`` tokens or ``(items, D, H, W)`` images.
        granularity: which of them.
    """
    return items if granularity == "token" else items.mean(dim=(-2, -1))


def fresh_router(features: int, experts: int, *, seed: int) -> nn.Linear:
    """A linear router without bias, its weights from N(0, 0.02²)."""
    router = nn.Linear(features, experts, bias=False)
    generator = torch.Generator().manual_seed(seed)
    nn.init.normal_(router.weight, std=ROUTER_STD, generator=generator)
    return router


def standardiser(features: int, granularity: Granularity) -> nn.Module:
    """What goes before a router: nothing for tokens, `Standardise` for pooled image features.

    Pooled features come after a ReLU: all are positive and share one large mean, so that a fresh
    router would send nearly every image to the same expert.
    """
    return nn.Identity() if granularity == "token" else Standardise(features)


class Standardise(nn.BatchNorm1d):
    """Batch normalisation without parameters, which also takes a training batch of one item."""

    def __init__(self, features: int) -> None:
        super().__init__(features, affine=False)

    def fit_(self, samples: torch.Tensor) -> None:
        """Take the statistics of ``samples``, ``(samples, D)``, at least two."""
        assert self.running_mean is not None and self.running_var is not None
        self.running_mean.copy_(samples.mean(dim=0))
        self.running_var.copy_(samples.var(dim=0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(items, D)`` to the same shape, each feature with mean 0 and variance 1."""
        if self.training and len(x) > 1:
            return super().forward(x)
        return F.batch_norm(x, self.running_mean, self.running_var, eps=self.eps)
