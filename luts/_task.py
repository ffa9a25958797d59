"""What a site asks of a backend."""

import dataclasses

import torch

from luts._geometry import POINT, Geometry
from luts._quantise import quantise


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


@dataclasses.dataclass(frozen=True, eq=False)
class Emitted:
    """What a layer gives.

    Attributes:
        values: float32, or None where only codes were asked for.
        codes: int8 of the same shape, for the next layer; or None.
    """

    values: torch.Tensor | None
    codes: torch.Tensor | None


@dataclasses.dataclass(frozen=True, eq=False)
class Epilogue:
    """What a layer does with its scaled sums before it gives them away.

    Attributes:
        added: float32 of the output's shape that is added, or None.
        adds_rectified: ``max(added, 0)`` is added.
        codes_scale: value of one code of the next layer, a float32; None for no codes.
        is_rectified: codes are those of ``max(output, 0)``.
        keeps_values: the output, before that, is wanted as float32.
    """

    added: torch.Tensor | None = None
    adds_rectified: bool = False
    codes_scale: float | None = None
    is_rectified: bool = False
    keeps_values: bool = True

    def apply(self, y: torch.Tensor) -> Emitted:
        """What becomes of the scaled sums ``y``, float32; one operation after the other."""
        if self.added is not None:
            y = y + (self.added.relu() if self.adds_rectified else self.added)
        codes = None
        if self.codes_scale is not None:
            scale = torch.tensor([self.codes_scale], device=y.device)
            codes = quantise(y.relu() if self.is_rectified else y, scale)
        return Emitted(y if self.keeps_values else None, codes)
