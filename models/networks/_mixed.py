"""Topology ``soft`` of convolutional networks by mixed kernels: every image has kernels of its own.

CondConv: Yang, Bender, Le, Ngiam, "CondConv: Conditionally Parameterized Convolutions for Efficient
Inference", NeurIPS 2019, arXiv 1904.04971. ``(Σ_e g_e(x) · W_e) * x`` instead of
``Σ_e g_e(x) · (W_e * x)``: one convolution and the mixing of E kernels, so about the work of the
dense layer where its image is larger than E pixels. As in the paper, each convolution has its own
routing function on its own input and BatchNorm is shared; the gates are a softmax, as everywhere
here, where the paper takes sigmoids.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

from models.networks._experts import ExpertLayer, upcycled
from models.networks._gate import fresh_router, item_features, standardiser


class _OwnKernels(nn.Module):
    """A convolution in which each image has its own kernels: a product of two activations.

    Args:
        source: the convolution whose shape it has; of one group, with zeros as padding.
    """

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__()
        self.kernel_size = source.kernel_size
        self.shape = {name: getattr(source, name) for name in ("padding", "stride", "dilation")}

    def forward(self, x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` by ``(B, out, C · kernel area)`` → ``(B, out, H', W')``."""
        patches = F.unfold(x, self.kernel_size, **self.shape)
        # The image is the first operand, as in every layer.
        y = patches.transpose(1, 2) @ kernels.transpose(1, 2)
        sizes = zip(x.shape[2:], self.kernel_size, *self.shape.values(), strict=True)
        height, width = (
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, padding, stride, dilation in sizes
        )
        return y.transpose(1, 2).reshape(len(x), -1, height, width)


class MixedKernels(ExpertLayer):
    """A convolution whose kernels are a mixture, by the image, of those of all experts.

    It has no expert that works by itself: the mixture is one site, charged as one convolution, and
    mixing is overhead.

    Args:
        source: the dense convolution, of one group, with zeros as padding; its bias is shared.
        experts: kernels to mix.
        noise: of the kernels around those of ``source``; see `upcycled`.
        seed: of the noise and the router.

    Attributes:
        kernels: shape ``(experts, out, C · kernel area)``.
    """

    fixed_work = True
    says_choices = False

    def __init__(self, source: nn.Conv2d, experts: int, *, noise: float, seed: int) -> None:
        assert source.groups == 1 and source.padding_mode == "zeros"
        super().__init__([], granularity="image")
        made = upcycled(source, experts, noise=noise, seed=seed)
        weights = [copied.get_parameter("weight").detach() for copied in made]
        self.kernels = nn.Parameter(torch.stack(weights).flatten(2))
        self.bias = None if source.bias is None else nn.Parameter(source.bias.detach().clone())
        self.standardise = standardiser(source.in_channels, "image")
        self.router = fresh_router(source.in_channels, experts, seed=seed)
        self.convolution = _OwnKernels(source)
        self.work = torch.zeros(experts, dtype=torch.float64)

    @property
    def num_experts(self) -> int:
        """Kernels that are mixed."""
        return len(self.kernels)

    def router_modules(self) -> Iterator[nn.Module]:
        """What chooses; the convolution is a site like any other."""
        yield from (self.standardise, self.router)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images ``(B, C, H, W)``."""
        features = self.standardise(item_features(x, "image"))
        gates = self.router(features).float().softmax(dim=-1)
        mixed = torch.einsum("be,eok->bok", gates.to(x.dtype), self.kernels.to(x.dtype))
        output: torch.Tensor = self.convolution(x, mixed)
        if self.bias is not None:
            output = output + self.bias.view(-1, 1, 1)
        self.items = len(x)
        self.work = torch.full((self.num_experts,), len(x) / self.num_experts, dtype=torch.float64)
        self.outputs = output[:1].numel()
        return output

    def overhead_macs(self, items: int) -> int:
        """Mixing the kernels of every image. The router is a site."""
        return items * self.kernels.numel()


def convolutions_of(block: nn.Module) -> dict[str, nn.Conv2d]:
    """The convolutions of a block whose kernels can be mixed, by their names in it."""
    return {name: m for name, m in block.named_modules() if isinstance(m, nn.Conv2d)}
