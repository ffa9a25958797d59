"""Matrix products in which a multiplier makes every product."""

import dataclasses

import torch

from luts._arithmetic import Arithmetic
from luts._multiplier import Multiplier
from luts.backends import BACKENDS, REFERENCE, Backend
from luts.errors import InputError

MAX_K = 65_536
"""Longest inner dimension whose sums are sure to fit 32 bits."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which backend computes a product, and why none before it does.

    Attributes:
        backend: the one chosen.
        reason: one line for a person.
    """

    backend: Backend
    reason: str


def select(arithmetic: Arithmetic, *, device: torch.device, batched: bool = False) -> Selection:
    """The first backend that can compute with ``arithmetic`` on ``device``.

    Args:
        arithmetic: the multiplier and operand order.
        device: where the operands lie.
        batched: the second operand has batch dimensions.
    """
    refusals: list[str] = []
    for backend in BACKENDS:
        refusal = backend.refusal(arithmetic, device=device, batched=batched)
        if refusal is None:
            terms = arithmetic.factorisation.terms if arithmetic.factorisation else 0
            kind = f"{terms} product{'s' * (terms != 1)}" if terms else "table look-ups"
            return Selection(backend, "; ".join([kind, *refusals]))
        refusals.append(f"not {backend.name}: {refusal}")
    raise AssertionError("the reference backend refuses nothing")


def matmul(
    x: torch.Tensor, w: torch.Tensor, multiplier: Multiplier, *, swapped: bool = False
) -> torch.Tensor:
    """``Y[..., m, n] = Σ_k T[x[..., m, k], w[..., k, n]]``, exact.

    Args:
        x: first operands (activations), int8 of shape ``(..., M, K)``.
        w: second operands (weights), int8 of shape ``(K, N)``, or ``(..., K, N)`` with batch
            dimensions that broadcast against those of ``x``.
        multiplier: the circuit that makes every product.
        swapped: give ``w`` to the circuit's first port: ``T[w, x]``.

    Returns:
        int32 of shape ``(..., M, N)``.

    Raises:
        InputError: an operand is not int8, the inner dimensions differ, or K is above 65,536.
    """
    _check(x, w)
    arithmetic = Arithmetic(multiplier, swapped)
    backend = select(arithmetic, device=x.device, batched=w.dim() > 2).backend
    return backend.multiply(x, backend.prepare(w, arithmetic), arithmetic).to(torch.int32)


def matmul_reference(
    x: torch.Tensor, w: torch.Tensor, multiplier: Multiplier, *, swapped: bool = False
) -> torch.Tensor:
    """`matmul` by looking every product up: slow and obvious."""
    _check(x, w)
    return REFERENCE.multiply(x, w, Arithmetic(multiplier, swapped))


def _check(x: torch.Tensor, w: torch.Tensor) -> None:
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
    if x.shape[-1] > MAX_K:
        raise InputError(f"K must be at most {MAX_K} for exact 32-bit sums, not {x.shape[-1]}")
