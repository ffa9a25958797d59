"""What a site asks of a backend."""

import dataclasses

import torch

from luts._geometry import POINT, Geometry


@dataclasses.dataclass(frozen=True)
class Task:
    """The part of a product that is known before its operands are.

    Attributes:
        device: where the operands lie.
        channels: input channels (K of a matrix product).
        out_channels: output channels (N of a matrix product).
        geometry: a convolution's window.
        batched: the second operand changes with each call and has batch dimensions (attention).
    """

    device: torch.device
    channels: int
    out_channels: int
    geometry: Geometry = POINT
    batched: bool = False

    @property
    def inner(self) -> int:
        """Products summed for one output."""
        rows, columns = self.geometry.kernel
        return self.channels // self.geometry.groups * rows * columns


@dataclasses.dataclass(frozen=True, eq=False)
class Scaling:
    """Turns float32 operands into codes, and sums of codes into float32.

    ``float32(sum) · factor + offset``, with a rounding after each of the two.

    Attributes:
        x: value of one code of the first operand, one element.
        factor: float32 of shape ``(out,)``, or one element for a batched product.
        offset: float32 of shape ``(out,)``, or None.
        y: value of one code of a batched product's second operand.
    """

    x: torch.Tensor
    factor: torch.Tensor
    offset: torch.Tensor | None = None
    y: torch.Tensor | None = None

    def apply(self, sums: torch.Tensor, *, channel_dim: int) -> torch.Tensor:
        """Scaled sums, float32."""
        shape = (-1,) + (1,) * (-channel_dim - 1)
        out = sums.to(torch.float32).mul_(self.factor.reshape(shape))
        return out if self.offset is None else out.add_(self.offset.reshape(shape))
