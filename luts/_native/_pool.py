"""Max pooling of codes by the compiled kernels."""

import ctypes

import torch

from luts._geometry import Pair
from luts._native._checks import check_operand, need
from luts._native._library import kernels
from luts._native._structures import MaxPool


def native_max_pool(
    codes: torch.Tensor, *, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, size: Pair
) -> torch.Tensor:
    """The greatest code of every window.

    Args:
        codes: int8 of shape ``(batch, channels, rows, columns)``.
        kernel: rows, columns of a window.
        stride: between windows.
        padding: rows above and below, columns left and right.
        dilation: between what belongs to a window.
        size: rows and columns of the output.

    Returns:
        int8 of shape ``(batch, channels, *size)`` in channels-last memory.
    """
    check_operand(codes, dims=4, codes_only=True)
    need(min(*kernel, *stride, *dilation) > 0, "a window", (kernel, stride, dilation), "positive")
    need(
        all(0 <= 2 * p <= k for p, k in zip(padding, kernel, strict=True)),
        "the padding",
        padding,
        "up to half the window",
    )
    pixels = codes.permute(0, 2, 3, 1).contiguous()
    out = torch.empty(len(codes), *size, codes.shape[1], dtype=torch.int8)
    job = MaxPool()
    job.x, job.out = pixels.data_ptr(), out.data_ptr()
    job.batch, job.height, job.width, job.channels = pixels.shape
    job.kernel_h, job.kernel_w = kernel
    job.stride_h, job.stride_w = stride
    job.padding_h, job.padding_w = padding
    job.dilation_h, job.dilation_w = dilation
    job.out_h, job.out_w = size
    job.threads = torch.get_num_threads()
    kernels().axdse_max_pool(ctypes.byref(job))
    return out.permute(0, 3, 1, 2)
