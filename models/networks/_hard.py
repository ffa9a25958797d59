"""Topology ``hard``: each item goes to the expert that a learned router ranks first.

Fedus, Zoph, Shazeer, "Switch Transformers", JMLR 2022, arXiv 2101.03961. Two departures, so that a
network upcycled from a dense one starts as that network: the gate has the value 1 (``p /
    p.detach()``
keeps its gradient; the paper multiplies by ``p``, which would shrink every block to about 1/E),
and no item is dropped (no capacity limit).
"""

import torch
from torch import nn

from models.networks._experts import ExpertLayer, Granularity

JITTER = 1e-2
ROUTER_STD = 0.02


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
        self.router = nn.Linear(features, len(experts), bias=False)
        generator = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.router.weight, std=ROUTER_STD, generator=generator)

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
        self.auxiliary_loss = load_balancing_loss(probabilities, chosen) if self.training else None
        return output.reshape(x.shape) if self.granularity == "token" else output

    def _probabilities(self, items: torch.Tensor) -> torch.Tensor:
        features = items if self.granularity == "token" else items.mean(dim=(-2, -1))
        if self.training and self.jitter:
            noise = torch.empty_like(features).uniform_(1 - self.jitter, 1 + self.jitter)
            features = features * noise
        return self.router(features).float().softmax(dim=-1)

    def overhead_macs(self, items: int) -> int:
        """None: the router is a site."""
        return 0


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
