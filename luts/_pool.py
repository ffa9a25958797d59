"""Max pooling of codes: they are in the order of what they stand for."""

import torch
import torch.nn.functional as F

from luts._geometry import Pair
from luts._native import isa, native_max_pool
from luts._quantise import MAX_CODE


def max_pool(
    codes: torch.Tensor,
    kernel: Pair,
    stride: Pair,
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    *,
    ceil_mode: bool = False,
) -> torch.Tensor:
    """`torch.nn.functional.max_pool2d` of codes; that of nothing but padding is −127.

    Args:
        codes: int8 of shape ``(batch, channels, rows, columns)``.
        kernel: rows, columns of a window.
        stride: between windows.
        padding: rows above and below, columns left and right.
        dilation: between what belongs to a window.
        ceil_mode: the last window may reach beyond the padded image.
    """
    rest = stride, padding, dilation
    size = [
        _size(n, *axis, ceil_mode=ceil_mode)
        for n, *axis in zip(codes.shape[2:], kernel, *rest, strict=True)
    ]
    if min(*size, *stride) < 1 or any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
        # PyTorch refuses it in its own words.
        F.max_pool2d(torch.empty(1, 1, *codes.shape[2:]), kernel, *rest, ceil_mode=ceil_mode)
    if codes.device.type != "cpu" or isa() == "none":
        values = codes.to(torch.float32)
        pooled = F.max_pool2d(values, kernel, stride, padding, dilation, ceil_mode=ceil_mode)
        return pooled.clamp_(min=-MAX_CODE).to(torch.int8)
    return native_max_pool(
        codes,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        size=(size[0], size[1]),
    )


def _size(n: int, kernel: int, stride: int, padding: int, dilation: int, *, ceil_mode: bool) -> int:
    """Windows along one axis; none begins in the padding behind."""
    if stride < 1:
        return 0
    reach = n + 2 * padding - dilation * (kernel - 1) - 1
    windows = (reach + (stride - 1) * ceil_mode) // stride + 1
    return windows - (ceil_mode and (windows - 1) * stride >= n + padding)
