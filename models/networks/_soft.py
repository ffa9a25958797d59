"""Topology ``soft``: every item is worked on by a mixture of all experts; nothing is chosen.

For tokens, Soft MoE: Puigcerver, Riquelme, Mustafa, Houlsby, "From Sparse to Soft Mixtures of
Experts", ICLR 2024, arXiv 2308.00951. Each expert works on a few slots, each a weighted mean of one
image's tokens. An image as a whole has no tokens to mix, so in convolutional networks all experts
work on every image and their outputs are weighted.
"""

import torch
from torch import nn

from models.networks._experts import ExpertLayer
from models.networks._gate import fresh_router, item_features, standardiser

EPSILON = 1e-6


class SoftMoE(ExpertLayer):
    """Soft MoE over the tokens of each image.

    Unlike ``hard`` and ``cluster``, an upcycled network does not start as the dense one.

    Args:
        experts: the experts.
        features: width of a token.
        tokens: tokens of an image; decides the number of slots.
        slots: slots of an expert; None for as many as make experts × slots about the tokens, so
            that the layer costs what the dense one did (section 2.3 of the paper).
        seed: of the slots' initial parameters.
    """

    fixed_work = True
    float_overhead = True

    def __init__(
        self,
        experts: list[nn.Module],
        *,
        features: int,
        tokens: int,
        slots: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(experts, granularity="token")
        self.tokens = tokens
        self.slots = slots or max(1, round(tokens / len(experts)))
        generator = torch.Generator().manual_seed(seed)
        phi = torch.randn(features, len(experts), self.slots, generator=generator)
        # LeCun normal, as in the authors' code (google-research/vmoe, soft_moe/router.py).
        self.phi = nn.Parameter(phi / features**0.5)
        self.scale = nn.Parameter(torch.ones(()))

    @property
    def executions(self) -> float:
        """Slots for one token."""
        return self.num_experts * self.slots / self.tokens

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map ``x`` image by image.

        Args:
            x: ``(B, …, D)``: all dimensions between are one image's tokens; ``(N, D)`` is one
                image.
        """
        tokens = x.reshape(1 if x.dim() == 2 else len(x), -1, x.shape[-1])
        # Letters: b image, n token, d feature, e expert, p slot.
        logits = torch.einsum("bnd,dep->bnep", _unit(tokens, -1), self.scale * _unit(self.phi, 0))
        logits = logits.float()
        dispatch = logits.softmax(dim=1).to(x.dtype)  # Eq. 1
        combine = logits.flatten(2).softmax(dim=2).view_as(logits).to(x.dtype)  # Eq. 3
        slots = torch.einsum("bnep,bnd->ebpd", dispatch, tokens)  # Eq. 2; tokens as they are
        worked = [
            expert(mine.flatten(0, 1)).view(len(tokens), self.slots, -1)
            for expert, mine in zip(self.experts, slots, strict=True)
        ]
        output = torch.einsum("bnep,ebpd->bnd", combine, torch.stack(worked))
        self.items = tokens.shape[0] * tokens.shape[1]
        self.work = torch.full((self.num_experts,), len(tokens) * self.slots, dtype=torch.float64)
        self.outputs = output.shape[-1]
        return output.reshape(*x.shape[:-1], -1)

    def overhead_macs(self, items: int) -> int:
        """Logits and dispatch over the tokens' width, combine over the outputs'."""
        features = self.phi.shape[0]
        return items * self.num_experts * self.slots * (2 * features + self.outputs)


class WeightedExperts(ExpertLayer):
    """``Σ_e g_e(x) · E_e(x)`` for images, ``g`` a softmax over pooled features.

    It costs E times the dense layer. Equal experts make the dense layer.

    Args:
        experts: the experts.
        features: channels of an image here.
        seed: of the router's initial weights.
    """

    fixed_work = True
    float_overhead = True

    def __init__(self, experts: list[nn.Module], *, features: int, seed: int = 0) -> None:
        super().__init__(experts, granularity="image", top_k=len(experts))
        self.standardise = standardiser(features, "image")
        self.router = fresh_router(features, len(experts), seed=seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, H, W)``."""
        features = self.standardise(item_features(x, "image"))
        gates = self.router(features).float().softmax(dim=-1)
        worked = torch.stack([expert(x) for expert in self.experts])
        output = torch.einsum("be,eb...->b...", gates.to(worked.dtype), worked)
        self.items = len(x)
        self.work = torch.full((self.num_experts,), len(x), dtype=torch.float64)
        self.outputs = output[:1].numel()
        return output

    def overhead_macs(self, items: int) -> int:
        """Multiplications by the gates. The router is a site."""
        return items * self.num_experts * self.outputs


def _unit(x: torch.Tensor, dim: int) -> torch.Tensor:
    return x * torch.rsqrt(x.square().sum(dim=dim, keepdim=True) + EPSILON)
