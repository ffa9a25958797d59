"""Topology ``hard``: each item goes to the expert that a learned router ranks first.

Fedus, Zoph, Shazeer, "Switch Transformers", JMLR 2022, arXiv 2101.03961. Two departures, so that a
network upcycled from a dense one starts as that network: the gate has the value 1
(``p / p.detach()`` keeps its gradient; the paper multiplies by ``p``, which would shrink every
block to about 1/E), and no item is dropped (no capacity limit).

A third for images: the Switch loss is published to collapse the routing of a CNN to few experts
(Pavlitska et al., arXiv 2204.10598), so there `information_loss` balances them.

A fourth for images: the router learns, but its gradient ends at the features that it reads. The
gate of an image scales a whole feature map, so that its gradient is a sum over the map and
outweighs the classes' gradient in the layers before: VGG11_bn lost three points while it was
trained on with experts.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import nn

from models.networks._experts import ExpertLayer, Granularity
from models.networks._gate import fresh_router, item_features, standardiser

JITTER = 1e-2

INFORMATION_WEIGHT = 50.0
"""Weight of `information_loss` relative to that of the Switch loss, 0.01 by custom: the published
weight of balancing in CNNs is 0.5 (Pavlitska et al.)."""


class HardMoE(ExpertLayer):
    """Switch routing: a linear router, the ``top_k`` best experts, load-balancing loss.

    Args:
        experts: the experts.
        features: width of an item as the router sees it.
        granularity: what is routed.
        top_k: experts an item is sent to. For 1 the gate is straight-through, for more the gates
            are renormalised over the chosen, so that they always sum to 1.
        jitter: in training, router inputs are multiplied by U(1 − jitter, 1 + jitter).
        seed: of the router's initial weights.

    Attributes:
        is_frozen: the router takes no part in training (`frozen_routers`).
    """

    def __init__(
        self,
        experts: list[nn.Module],
        *,
        features: int,
        granularity: Granularity,
        top_k: int = 1,
        jitter: float = JITTER,
        seed: int = 0,
    ) -> None:
        super().__init__(experts, granularity=granularity, top_k=top_k)
        self.jitter = jitter
        self.is_frozen = False
        self.standardise = standardiser(features, granularity)
        self.router = fresh_router(features, len(experts), seed=seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``x`` item by item.

        Args:
            x: ``(…, D)`` for tokens, ``(B, C, H, W)`` for images.
        """
        items = self.to_items(x)
        probabilities = self._probabilities(items)
        top, chosen = probabilities.topk(self.top_k, dim=-1)
        if self.top_k == 1:
            gates = top / top.detach()
        else:
            gates = top / top.sum(dim=-1, keepdim=True)
        output = self.dispatch(items, chosen, gates)
        learns = self.training and not self.is_frozen
        self.auxiliary_loss = self._balance(probabilities, chosen) if learns else None
        return output.reshape(x.shape) if self.granularity == "token" else output

    def _probabilities(self, items: torch.Tensor) -> torch.Tensor:
        if self.granularity == "image":
            items = items.detach()
        features = self.standardise(item_features(items, self.granularity))
        if self.training and self.jitter and not self.is_frozen:
            noise = torch.empty_like(features).uniform_(1 - self.jitter, 1 + self.jitter)
            features = features * noise
        probabilities: torch.Tensor = self.router(features).float().softmax(dim=-1)
        return probabilities.detach() if self.is_frozen else probabilities

    def _balance(self, probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
        if self.granularity == "image":
            return INFORMATION_WEIGHT * information_loss(probabilities)
        return load_balancing_loss(probabilities, chosen)

    def overhead_macs(self, items: int) -> int:
        """Multiplications by the gates; for ``top_k`` 1 the gate is 1. The router is a site."""
        return 0 if self.top_k == 1 else items * self.top_k * self.outputs


@contextlib.contextmanager
def frozen_routers(network: nn.Module) -> Iterator[None]:
    """Inside, routers of topology ``hard`` choose without jitter and pass no gradient.

    They do not learn, the layers before them get no gradient through the gate, and no loss balances
    them: in a network that a circuit has just disturbed, routers that move undo its recovery.
    """
    layers = [module for module in network.modules() if isinstance(module, HardMoE)]
    before = [layer.is_frozen for layer in layers]
    for layer in layers:
        layer.is_frozen = True
    try:
        yield
    finally:
        for layer, was_frozen in zip(layers, before, strict=True):
            layer.is_frozen = was_frozen


def load_balancing_loss(probabilities: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """``E · Σ_i f_i P_i``, 1 at perfect balance (Switch Transformers, Eq. 4–6, without its α).

    Args:
        probabilities: router softmax, shape ``(items, E)``.
        chosen: experts taken, int64 of shape ``(items, top_k)``.
    """
    experts = probabilities.shape[-1]
    counts = torch.bincount(chosen.flatten(), minlength=experts).to(probabilities.dtype)
    fraction = counts / max(1, chosen.numel())
    return experts * (fraction * probabilities.mean(dim=0)).sum()


def information_loss(probabilities: torch.Tensor) -> torch.Tensor:
    """``log E − I(item; expert)`` in nats: 0 if every item is sure and all experts are used alike.

    ``I = H(mean p) − mean H(p)``: the first term spreads items over experts, the second keeps the
    router from reaching that by being undecided (Krause, Perona, Gomes, "Discriminative clustering
    by regularized information maximization", NeurIPS 2010, Eq. 3).

    Args:
        probabilities: router softmax, shape ``(items, E)``.
    """
    information = _entropy(probabilities.mean(dim=0)) - _entropy(probabilities).mean()
    return math.log(probabilities.shape[-1]) - information


def _entropy(probabilities: torch.Tensor) -> torch.Tensor:
    # xlogy has no gradient of its own at 0.
    floor = torch.finfo(probabilities.dtype).tiny
    return -(probabilities * probabilities.clamp(min=floor).log()).sum(dim=-1)
