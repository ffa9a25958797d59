"""The product of two activations through a multiplier."""

from collections.abc import Callable

import torch

from luts import Scaling, Task, check_sum
from models.emulation._layers import EmulatedSite
from models.emulation._lazy import plain
from models.emulation._products import MatmulProduct
from models.emulation._site import SiteKind


class EmulatedMatmul(EmulatedSite):
    """A product of two activations (attention) through a multiplier.

    Args:
        kind: what the site is.
    """

    operands = 2

    def __init__(self, kind: SiteKind = "qk") -> None:
        super().__init__()
        self.kind: SiteKind = kind

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``(…, M, K)`` times ``(…, K, N)`` → ``(…, M, N)``."""
        x, y = plain(x), plain(y)
        if self.observed(x, y):
            return x @ y
        check_sum(x.shape[-1], self.arithmetic.multiplier, "an attention product")
        self.sync_scale_()
        if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
            apply: Callable[..., torch.Tensor] = MatmulProduct.apply
            return apply(x, y, self.log_scale, self)
        return self.selection().batched(x, y, self.scaling())

    def task(self) -> Task:
        """What this layer asks of a backend; the operands' sizes do not matter to it."""
        return Task(self.x_scale.device, channels=64, out_channels=64, batched=True)

    def scaling(self) -> Scaling:
        """From activations to codes, and from sums to outputs."""
        x_scale, y_scale = torch.split(self.x_scale, 1)
        return Scaling(x_scale, x_scale * y_scale, y=y_scale)
