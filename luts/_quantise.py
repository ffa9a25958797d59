"""The integer contract: symmetric signed 8-bit codes with float32 scales.

Codes lie in −127…127 and rounding is half to even. Jacob et al., CVPR 2018, arXiv 1712.05877,
restricted to zero point 0.
"""

import torch

from luts._native import kernels_or_none, native_quantise

MAX_CODE = 127


def quantise(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Codes of ``x``: int8 in −127…127, of the shape of ``x``; a NaN becomes 0.

    Args:
        x: float32.
        scale: value of one code step, float32, broadcastable to ``x``.
    """
    if (
        scale.numel() == 1
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() > 0
        and kernels_or_none() is not None
    ):
        return native_quantise(x.detach(), scale.item())
    return (x / scale).round_().clamp_(-MAX_CODE, MAX_CODE).nan_to_num_(0.0).to(torch.int8)
