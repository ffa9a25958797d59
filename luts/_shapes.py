"""Operands that do not fit a site are refused as PyTorch refuses them.

The kernels take addresses and sizes: what reaches them must fit. Where a cheap look finds something
unusual, PyTorch's own operation is asked with zeros of the same shapes; it raises its own error.
"""

import torch
import torch.nn.functional as F

from luts._geometry import Geometry
from luts._task import Task
from luts.errors import InputError


def check_linear(x: torch.Tensor, task: Task, *, scaled: bool) -> None:
    """Refuse what `torch.nn.functional.linear` refuses.

    Args:
        x: of shape ``(…, in)``.
        task: the layer.
        scaled: the operands stand for float32, in place of int8 codes.

    Raises:
        RuntimeError: the last dimension is not ``in``, or the type is another.
    """
    if x.dim() > 0 and x.shape[-1] == task.channels and _is_typed(x, scaled=scaled):
        return
    weight = _like(torch.float32, task.out_channels, task.channels)
    F.linear(_like(_asked(x, scaled=scaled), *x.shape), weight)
    raise _unfit(f"the last of {tuple(x.shape)} must be {task.channels}", x)


def check_convolution(x: torch.Tensor, task: Task, *, scaled: bool) -> None:
    """Refuse what `torch.nn.functional.conv2d` refuses.

    Args:
        x: of shape ``(batch, in, rows, columns)``.
        task: the layer.
        scaled: the operands stand for float32, in place of int8 codes.

    Raises:
        RuntimeError: another number of dimensions or channels, a window larger than the padded
            image, or another type.
    """
    geometry = task.geometry
    fits = x.dim() == 4 and x.shape[1] == task.channels and _holds_window(x, geometry)
    if fits and _is_typed(x, scaled=scaled):
        return
    per_group = task.channels // geometry.groups
    F.conv2d(
        _like(_asked(x, scaled=scaled), *x.shape),
        _like(torch.float32, task.out_channels, per_group, *geometry.kernel),
        _like(torch.float32, task.out_channels),
        *(geometry.stride, geometry.padding, geometry.dilation, geometry.groups),
    )
    if not fits:
        raise _unfit(f"{tuple(x.shape)} must be (batch, {task.channels}, rows, columns)", x)


def check_product(x: torch.Tensor, y: torch.Tensor, *, scaled: bool) -> None:
    """Refuse what ``x @ y`` refuses, and vectors.

    Args:
        x: of shape ``(…, M, K)``.
        y: of shape ``(…, K, N)``.
        scaled: the operands stand for float32, in place of int8 codes.

    Raises:
        RuntimeError: the inner or batch dimensions do not agree, or the types do not.
        InputError: an operand is a vector.
    """
    are_matrices = x.dim() > 1 and y.dim() > 1
    if are_matrices and x.shape[-1] == y.shape[-2] and _broadcast(x, y):
        if _is_typed(x, scaled=scaled) and _is_typed(y, scaled=scaled):
            return
        # One type of its own in both is what PyTorch takes, but not what codes are made from.
        if not scaled or x.dtype == y.dtype:
            raise _unfit("both must be float32" if scaled else "both must be int8 codes", x)
    torch.matmul(
        _like(_asked(x, scaled=scaled), *x.shape), _like(_asked(y, scaled=scaled), *y.shape)
    )
    if not are_matrices:
        raise _unfit(f"{tuple(x.shape)} times {tuple(y.shape)} must be of two matrices", x)


def _holds_window(x: torch.Tensor, geometry: Geometry) -> bool:
    rows, columns = geometry.out_size(*x.shape[2:])
    # Of no images PyTorch takes empty ones too, where their padding alone holds the window.
    return rows > 0 and columns > 0 and (x.shape[0] == 0 or x.shape[2] * x.shape[3] > 0)


def _broadcast(x: torch.Tensor, y: torch.Tensor) -> bool:
    return x.shape[:-2] == y.shape[:-2] or all(
        a == b or a == 1 or b == 1 for a, b in zip(x.shape[-3::-1], y.shape[-3::-1], strict=False)
    )


def _is_typed(x: torch.Tensor, *, scaled: bool) -> bool:
    if not scaled:
        return x.dtype == torch.int8
    # Autocast hands its own type on, and PyTorch's operations take it.
    return x.dtype == torch.float32 or torch.is_autocast_enabled(x.device.type)


def _asked(x: torch.Tensor, *, scaled: bool) -> torch.dtype:
    """The type to ask PyTorch with: it has no products of codes."""
    return x.dtype if scaled else torch.float32


def _like(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    return torch.zeros((), dtype=dtype).expand(shape)


def _unfit(rule: str, x: torch.Tensor) -> InputError:
    return InputError(f"operands of a circuit do not fit: {rule}; the first is {x.dtype}")
