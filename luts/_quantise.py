"""The integer contract: symmetric signed 8-bit codes with float32 scales.

Codes lie in −127…127 and rounding is half to even. Jacob et al., CVPR 2018, arXiv 1712.05877,
restricted to zero point 0.
"""

import dataclasses

import torch

from luts._native import (
    kernels_or_none,
    native_dequantised,
    native_largest_of_rows,
    native_quantise,
    native_quantise_rows,
)

MAX_CODE = 127


def quantise(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Codes of ``x``: int8 in −127…127, of the shape of ``x``; a NaN becomes 0.

    Args:
        x: float32.
        scale: value of one code step, float32, broadcastable to ``x``.
    """
    if _is_native(x, scale):
        return native_quantise(x.detach(), scale.item())
    if _is_native_by_rows(x, scale):
        return native_quantise_rows(x.detach(), scale.flatten())
    return (x / scale).round_().clamp_(-MAX_CODE, MAX_CODE).nan_to_num_(0.0).to(torch.int8)


def largest_magnitudes(x: torch.Tensor) -> torch.Tensor:
    """The largest magnitude of each ``x[i]``, shape ``(len(x),)``; NaN where one is a NaN.

    Args:
        x: floats of at least two dimensions.
    """
    x = x.detach()
    if _has_kernels(x):
        return native_largest_of_rows(x)
    return x.abs().flatten(1).amax(dim=1)


@dataclasses.dataclass(frozen=True)
class Dequantised:
    """An operand as a circuit sees it, which gradients are made of, and which values that misses.

    Attributes:
        values: codes times their scale.
        listed: where in the memory of ``values`` a value was clipped, int64; None if not listed.
        is_inside: where no value was clipped, bool in the shape of the values, or None if listed.
    """

    values: torch.Tensor
    listed: torch.Tensor | None
    is_inside: torch.Tensor | None

    @classmethod
    def of(
        cls,
        x: torch.Tensor,
        scale: torch.Tensor,
        dtype: torch.dtype = torch.float32,
        *,
        clips: bool = True,
    ) -> "Dequantised":
        """Of floats.

        Args:
            x: floats.
            scale: value of one code step, float32 of one element.
            dtype: of the result.
            clips: whether it will be asked which values were clipped.
        """
        x = x.detach()
        if x.dtype == torch.bfloat16:  # exactly
            x = x.float()
        bound, listed = (MAX_CODE + 0.5) * scale, None
        if _is_native(x, scale) and dtype in (torch.float32, torch.bfloat16):
            values, listed = native_dequantised(x, scale.item(), bound.item(), dtype, lists=clips)
        else:
            values = (quantise(x, scale) * scale).to(dtype)
        return cls(values, listed, x.abs() <= bound if clips and listed is None else None)

    def passed_(self, grad: torch.Tensor) -> torch.Tensor:
        """``grad`` with zeros where values were clipped; it may be changed.

        Args:
            grad: of the values, or of what they were broadcast to, over which it is summed.
        """
        grad = grad.sum_to_size(self.values.shape)
        if self.listed is None:
            assert self.is_inside is not None
            return grad.mul_(self.is_inside)
        if not len(self.listed):
            return grad
        if grad.stride() != self.values.stride():
            grad = torch.empty_like(self.values, dtype=grad.dtype).copy_(grad)
        grad.as_strided((grad.numel(),), (1,)).index_fill_(0, self.listed, 0)
        return grad


def _is_native(x: torch.Tensor, scale: torch.Tensor) -> bool:
    return scale.numel() == 1 and _has_kernels(x)


def _is_native_by_rows(x: torch.Tensor, scale: torch.Tensor) -> bool:
    by_row = x.dim() == scale.dim() and scale.shape == (len(x), *[1] * (x.dim() - 1))
    return by_row and scale.dtype == torch.float32 and _has_kernels(x)


def _has_kernels(x: torch.Tensor) -> bool:
    on_cpu = x.dtype == torch.float32 and x.device.type == "cpu"
    return on_cpu and x.numel() > 0 and kernels_or_none() is not None


def codes_of(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """``x`` if it is codes already, else its codes."""
    return x if x.dtype == torch.int8 else quantise(x, scale)
