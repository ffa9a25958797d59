"""Matrix products in which a multiplier makes every product."""

import numpy as np
import torch

from luts._arithmetic import Arithmetic
from luts._multiplier import Multiplier
from luts._select import check_sum, select
from luts._task import Task
from luts.backends import REFERENCE
from luts.errors import InputError


def matmul(
    x: torch.Tensor,
    w: torch.Tensor,
    multiplier: Multiplier,
    *,
    swapped: bool = False,
    rounded: bool = False,
) -> torch.Tensor:
    """``Y[..., m, n] = Σ_k T[x[..., m, k], w[..., k, n]]``, exact.

    Args:
        x: first operands (activations), int8 of shape ``(..., M, K)``.
        w: second operands (weights), int8 of shape ``(K, N)``, or ``(..., K, N)`` with batch
            dimensions that broadcast against those of ``x``.
        multiplier: the circuit that makes every product.
        swapped: give ``w`` to the circuit's first port: ``T[w, x]``.
        rounded: round the operands to the bits that the circuit does not ignore.

    Returns:
        int32 of shape ``(..., M, N)``.

    Raises:
        InputError: an operand is not int8, inner or batch dimensions differ, or K is above
            `Multiplier.max_products`.
    """
    _check(x, w, multiplier)
    batched = w.dim() > 2
    task = Task(x.device, x.shape[-1], w.shape[-1], batched=batched)
    selection = select(Arithmetic(multiplier, swapped, rounded), task)
    if batched:
        return selection.batched(x, w)
    return selection.linear(x, selection.prepare(w.t()))


def matmul_reference(
    x: torch.Tensor,
    w: torch.Tensor,
    multiplier: Multiplier,
    *,
    swapped: bool = False,
    rounded: bool = False,
) -> torch.Tensor:
    """`matmul` by looking every product up: slow and obvious."""
    _check(x, w, multiplier)
    return REFERENCE.multiply(x, w, Arithmetic(multiplier, swapped, rounded))


def _check(x: torch.Tensor, w: torch.Tensor, multiplier: Multiplier) -> None:
    for name, operand in (("x", x), ("w", w)):
        if operand.dtype != torch.int8:
            raise InputError(f"{name} must be int8 codes, not {operand.dtype}")
        if operand.dim() < 2:
            raise InputError(f"{name} must have at least 2 dimensions, not {operand.dim()}")
    if x.shape[-1] != w.shape[-2]:
        raise InputError(
            f"inner dimensions differ: x is {tuple(x.shape)}, w is {tuple(w.shape)}; "
            f"x[..., M, K] needs w[..., K, N]"
        )
    try:
        np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
    except ValueError:
        raise InputError(
            f"batch dimensions differ: x is {tuple(x.shape)}, w is {tuple(w.shape)}; each must be "
            f"equal or 1"
        ) from None
    check_sum(x.shape[-1], multiplier)
