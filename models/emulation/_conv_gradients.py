"""Convolutions and their gradients, by oneDNN or as matrix products, whichever is quicker on a CPU.

oneDNN goes through the whole weight once for each few output pixels. Where there are few of them
and the weight is larger than a core's cache, one product of unfolded images with the weight is up
to five times as fast, and the weight's gradient in bfloat16 up to fifteen. Elsewhere unfolding
costs more than it saves.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
Wanted = tuple[bool, ...]

# Weight elements per output pixel of an image from which products are quicker: measured with 16 to
# 128 images, 16 to 512 channels and kernels of 1, 3 and 5 on a Xeon with AMX and 2 MB of cache a
# core. The gradient of the weight is slow in bfloat16 much earlier.
_LARGE_WEIGHT = 65_536
_LARGE_WEIGHT_GRADIENT_BF16 = 8_192


class Convolution(NamedTuple):
    """How a weight meets the pixels: stride, padding and dilation as rows, columns."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def output_size(self, x: Tensor, w: Tensor) -> Pair:
        """Rows and columns of what comes out of ``(B, C, H, W)``."""
        rows, columns = (
            (x.shape[2 + d] + 2 * self.padding[d] - self.dilation[d] * (w.shape[2 + d] - 1) - 1)
            // self.stride[d]
            + 1
            for d in (0, 1)
        )
        return rows, columns


def products_are_quicker(x: Tensor, w: Tensor, how: Convolution) -> bool:
    """Whether this convolution of float32 or bfloat16 on a CPU is quicker by matrix products."""
    return _can_be_products(x, w, how) and _weight_per_pixel(x, w, how) >= _LARGE_WEIGHT


def conv2d_gradients(grad: Tensor, x: Tensor, w: Tensor, how: Convolution, wanted: Wanted) -> Any:
    """Gradients of a convolution: what PyTorch computes but for the order of its sums.

    Args:
        grad: of the output, ``(B, out, H', W')``; of the type of the others.
        x: ``(B, C, H, W)``.
        w: ``(out, C / groups, kH, kW)``.
        how: the geometry.
        wanted: which of the gradients of ``x``, ``w`` and a bias ``(out,)`` to compute.

    Returns:
        The three; None where it is not wanted.
    """
    of_x = of_w = False
    if _can_be_products(x, w, how):
        size = _weight_per_pixel(x, w, how)
        low = x.dtype == torch.bfloat16
        of_x = wanted[0] and size >= _LARGE_WEIGHT
        of_w = wanted[1] and size >= (_LARGE_WEIGHT_GRADIENT_BF16 if low else _LARGE_WEIGHT)
    left = (wanted[0] and not of_x, wanted[1] and not of_w, wanted[2])
    grads: list[Tensor | None] = [None, None, None]
    if any(left[:2]):
        rest = (how.stride, how.padding, how.dilation, False, (0, 0), how.groups, left)
        grads = list(torch.ops.aten.convolution_backward(grad, x, w, [len(w)], *rest))
    elif left[2]:
        grads[2] = _rows(grad).sum(dim=0)
    if of_x:
        grads[0] = x_gradient_by_product(grad, x, w, how)
    if of_w:
        grads[1] = w_gradient_by_product(grad, x, w, how)
    return tuple(grads)


class ProductConv2d(torch.autograd.Function):
    """A convolution by matrix products, its gradients by `conv2d_gradients`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, bias: Tensor | None, how: Convolution) -> Tensor:
        """``(B, C, H, W)`` → ``(B, out, H', W')``; operands of one type, without groups."""
        ctx.how = how
        ctx.save_for_backward(x, w)
        return conv2d_by_product(x, w, bias, how)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        """Made of operators that can be differentiated again."""
        x, w = ctx.saved_tensors
        with torch.autocast(grad.device.type, enabled=False):
            return *conv2d_gradients(grad, x, w, ctx.how, ctx.needs_input_grad[:3]), None


def conv2d_by_product(x: Tensor, w: Tensor, bias: Tensor | None, how: Convolution) -> Tensor:
    """`torch.nn.functional.conv2d` without groups, in the memory format that this gives."""
    rows, columns = how.output_size(x, w)
    unfolded, weight = _unfolded(x, w, how), _weight_rows(w).t()
    flat = unfolded @ weight if bias is None else torch.addmm(bias, unfolded, weight)
    y = flat.view(len(x), rows, columns, len(w)).permute(0, 3, 1, 2)
    return y if _channels_last(x) or _channels_last(w) else y.contiguous()


def w_gradient_by_product(grad: Tensor, x: Tensor, w: Tensor, how: Convolution) -> Tensor:
    """The gradient of a weight ``(out, C, kH, kW)`` without groups."""
    out, channels, *kernel = w.shape
    flat = _rows(grad).t() @ _unfolded(x, w, how)
    return flat.view(out, *kernel, channels).permute(0, 3, 1, 2)


def x_gradient_by_product(grad: Tensor, x: Tensor, w: Tensor, how: Convolution) -> Tensor:
    """The gradient of ``(B, C, H, W)``; contributions of the taps are added in float32."""
    (batch, channels, height, width), kernel = x.shape, w.shape[2:]
    rows, columns = how.output_size(x, w)
    taps = (_rows(grad) @ _weight_rows(w)).view(batch, rows, columns, *kernel, channels)
    top, left = how.padding
    whole = grad.new_zeros(
        (batch, height + 2 * top, width + 2 * left, channels),
        dtype=torch.promote_types(grad.dtype, torch.float32),
    )
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            whole[
                :,
                _positions(row * how.dilation[0], how.stride[0], rows),
                _positions(column * how.dilation[1], how.stride[1], columns),
            ] += taps[:, :, :, row, column]
    inner = whole[:, top : top + height, left : left + width]
    return inner.to(x.dtype).permute(0, 3, 1, 2)


def _can_be_products(x: Tensor, w: Tensor, how: Convolution) -> bool:
    on_cpu = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16)
    return on_cpu and how.groups == 1 and x.numel() > 0 and w.numel() > 0


def _weight_per_pixel(x: Tensor, w: Tensor, how: Convolution) -> float:
    rows, columns = how.output_size(x, w)
    return w.numel() / (rows * columns)


def _rows(y: Tensor) -> Tensor:
    """``(B, C, H, W)`` → ``(B·H·W, C)``."""
    return y.permute(0, 2, 3, 1).reshape(-1, y.shape[1])


def _weight_rows(w: Tensor) -> Tensor:
    """``(out, C, kH, kW)`` → ``(out, kH·kW·C)``."""
    return w.permute(0, 2, 3, 1).reshape(len(w), -1)


def _unfolded(x: Tensor, w: Tensor, how: Convolution) -> Tensor:
    """What each output pixel reads, ``(B·H'·W', kH·kW·C)``."""
    rows, columns = how.output_size(x, w)
    top, left = how.padding
    last = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, top, top))
    image, row, column, channel = last.stride()
    windows = last.as_strided(
        (len(x), rows, columns, *w.shape[2:], x.shape[1]),
        (
            *(image, row * how.stride[0], column * how.stride[1]),
            *(row * how.dilation[0], column * how.dilation[1], channel),
        ),
    )
    return windows.reshape(len(x) * rows * columns, -1)


def _positions(first: int, step: int, count: int) -> slice:
    return slice(first, first + step * (count - 1) + 1, step)


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
