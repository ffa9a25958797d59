"""Choosing how a site is computed, and computing it that way."""

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from luts._arithmetic import Arithmetic
from luts._multiplier import Multiplier
from luts._shapes import check_convolution, check_linear, check_product
from luts._task import Emitted, Epilogue, Scaling, Task
from luts.backends import BACKENDS, LOOKUP, NATIVE, REFERENCE, TRITON, Backend
from luts.backends._native import cheapest_terms
from luts.errors import InputError


@dataclasses.dataclass(frozen=True)
class Selection:
    """The chosen backend, why preferred ones refused, and the site that it computes.

    First operands are float32 where a scaling is given, else int8 codes; the result is float32 or
    int32 sums accordingly.

    Attributes:
        backend: the one chosen.
        reason: one line for a person.
        arithmetic: the multiplier and operand order.
        task: the site.
    """

    backend: Backend
    reason: str
    arithmetic: Arithmetic
    task: Task

    def prepare(self, w: torch.Tensor) -> Any:
        """A layer's weight codes, int8 of shape ``(out, in / groups, …kernel)``, made ready."""
        if w.numel() == 0:
            return w  # no backend is asked for products of nothing
        task = self.task
        shape = (task.out_channels, task.channels // task.geometry.groups, *task.geometry.kernel)
        return self.backend.prepare(w.reshape(shape), self.arithmetic, task)

    def convolve(
        self, x: torch.Tensor, prepared: Any, scaling: Scaling | None = None
    ) -> torch.Tensor:
        """``(batch, in, rows, columns)`` → ``(batch, out, out rows, out columns)``.

        Raises:
            RuntimeError: PyTorch would not convolve this either.
        """
        check_convolution(x, self.task, scaled=scaling is not None)
        if x.numel() == 0 or self.task.out_channels == 0:
            size = self.task.geometry.out_size(*x.shape[2:])
            return _nothing((len(x), self.task.out_channels, *size), x, scaling, channel_dim=-3)
        return self.backend.layer(x, prepared, self.arithmetic, self.task, scaling)

    def linear(
        self, x: torch.Tensor, prepared: Any, scaling: Scaling | None = None
    ) -> torch.Tensor:
        """``(…, in)`` → ``(…, out)``.

        Raises:
            RuntimeError: PyTorch would not multiply these either.
        """
        check_linear(x, self.task, scaled=scaling is not None)
        if x.numel() == 0 or self.task.out_channels == 0:
            shape = (*x.shape[:-1], self.task.out_channels)
            return _nothing(shape, x, scaling, channel_dim=-1)
        rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1], 1, 1)
        y = self.backend.layer(rows, prepared, self.arithmetic, self.task, scaling)
        return y[:, :, 0, 0].reshape(*x.shape[:-1], self.task.out_channels)

    def emit_convolved(
        self, codes: torch.Tensor, prepared: Any, scaling: Scaling, epilogue: Epilogue
    ) -> Emitted:
        """What `convolve` gives for codes, int8 ``(batch, in, rows, columns)``; then ``epilogue``.

        Raises:
            RuntimeError: PyTorch would not convolve this either.
        """
        check_convolution(codes, self.task, scaled=False)
        if codes.numel() == 0 or self.task.out_channels == 0:
            size = self.task.geometry.out_size(*codes.shape[2:])
            shape = len(codes), self.task.out_channels, *size
            return epilogue.apply(_nothing(shape, codes, scaling, channel_dim=-3))
        return self.backend.emit(codes, prepared, self.arithmetic, self.task, scaling, epilogue)

    def emit_linear(
        self, codes: torch.Tensor, prepared: Any, scaling: Scaling, epilogue: Epilogue
    ) -> Emitted:
        """What `linear` gives for codes, int8 ``(…, in)``; then ``epilogue``.

        Raises:
            RuntimeError: PyTorch would not multiply these either.
        """
        check_linear(codes, self.task, scaled=False)
        shape = *codes.shape[:-1], self.task.out_channels
        if codes.numel() == 0 or self.task.out_channels == 0:
            return epilogue.apply(_nothing(shape, codes, scaling, channel_dim=-1))
        rows, added = math.prod(codes.shape[:-1]), epilogue.added
        if added is not None:
            epilogue = dataclasses.replace(
                epilogue, added=added.reshape(rows, self.task.out_channels, 1, 1)
            )
        pixels = codes.reshape(rows, codes.shape[-1], 1, 1)
        task = self.task
        given = self.backend.emit(pixels, prepared, self.arithmetic, task, scaling, epilogue)
        return Emitted(
            None if given.values is None else given.values[:, :, 0, 0].reshape(shape),
            None if given.codes is None else given.codes[:, :, 0, 0].reshape(shape),
        )

    def batched(
        self, x: torch.Tensor, y: torch.Tensor, scaling: Scaling | None = None
    ) -> torch.Tensor:
        """``(…, M, K)`` times ``(…, K, N)``.

        Raises:
            RuntimeError: PyTorch would not multiply these either.
        """
        check_product(x, y, scaled=scaling is not None)
        if x.numel() == 0 or y.numel() == 0:
            batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
            return _nothing((*batch, x.shape[-2], y.shape[-1]), x, scaling, channel_dim=-1)
        return self.backend.batched(x, y, self.arithmetic, scaling)


def check_sum(products: int, multiplier: Multiplier, place: str = "this product") -> None:
    """Check that 32 bits hold any sum of so many products.

    Args:
        products: of one sum.
        multiplier: makes each of them.
        place: who sums, for the message.

    Raises:
        InputError: they do not.
    """
    most = multiplier.max_products
    if products > most:
        raise InputError(
            f"{place} sums {products:,} products into an output, and 32-bit sums of products of "
            f"{multiplier.name} are exact up to {most:,}: split it, or take another multiplier"
        )


def select(arithmetic: Arithmetic, task: Task) -> Selection:
    """The first backend that can compute ``task`` with ``arithmetic``.

    Raises:
        InputError: 32 bits do not hold every sum.
    """
    check_sum(task.inner, arithmetic.multiplier)
    refusals: list[str] = []
    for backend in _in_order(task):
        refusal = backend.refusal(arithmetic, task)
        if refusal is None:
            reason = "; ".join([_kind(backend, arithmetic, task), *refusals])
            return Selection(backend, reason, arithmetic, task)
        refusals.append(f"not {backend.name}: {refusal}")
    raise AssertionError("the reference backend refuses nothing")


def _nothing(
    shape: tuple[int, ...], x: torch.Tensor, scaling: Scaling | None, *, channel_dim: int
) -> torch.Tensor:
    """Sums of no products, or no sums: backends are spared them."""
    sums = torch.zeros(shape, dtype=torch.int32, device=x.device)
    return sums if scaling is None else scaling.apply(sums, channel_dim=channel_dim)


def _in_order(task: Task) -> tuple[Backend, ...]:
    """Narrow channel groups (depthwise layers) are looked up: a product would be mostly padding."""
    if NATIVE.is_narrow(task):
        return (LOOKUP, *(backend for backend in BACKENDS if backend is not LOOKUP))
    return BACKENDS


def _kind(backend: Backend, arithmetic: Arithmetic, task: Task) -> str:
    factors = arithmetic.factorisation
    if backend is NATIVE:
        terms = cheapest_terms(arithmetic, task)
        cells = terms.depth * (terms.depth + 1) // 2
        return _products(terms.count) + (f" less {cells} products of single bits" if cells else "")
    if factors is None or backend in (LOOKUP, REFERENCE, TRITON):
        return "table look-ups"
    return _products(factors.terms)


def _products(count: int) -> str:
    return f"{count} product{'s' * (count != 1)}"
