"""Products of emulated layers with their gradients.

Forward goes through the circuit. Backward takes the slopes that the layer's `Gradient` names, and
passes nothing where an activation was clipped (straight-through: Bengio et al., arXiv 1308.3432).
A learnt activation scale gets its gradient after Esser et al., "Learned step size quantization",
ICLR 2020, arXiv 1902.08153, Eq. 3, relative to the scale.

Where the forward ran under autocast, the products of the backward are taken in its precision; the
circuit's own sums are exact integers in either case.

What a float product keeps for backward is kept here as well: the activations as they came, which
the layer before often keeps anyhow. Their codes are made once more in backward.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from luts import MAX_CODE, Dequantised, quantise
from models.emulation._conv_gradients import Convolution, conv2d_gradients
from models.emulation._slopes import Slopes, SlopeTerms
from models.emulation._widened import widened_products

# (grad, x values, w values, which of x, w and offset are wanted) → their gradients
Differentiate = Callable[..., tuple[torch.Tensor | None, ...]]


def _unwatched(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, whose thousands of small operations no mode is asked about."""

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        with torch._C.DisableTorchFunction():
            return function(*args)

    return run


class LinearProduct(torch.autograd.Function):
    """``(…, in)`` times a weight ``(out, in)``, plus an offset."""

    @staticmethod
    @_unwatched
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        offset: torch.Tensor,
        log_scale: torch.Tensor | None,
        site: Any,
    ) -> torch.Tensor:
        """Through the circuit."""
        return _forward(ctx, site, x, site.selection().linear)

    @staticmethod
    @_unwatched
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """By slopes."""

        def differentiate(
            grad: torch.Tensor, x: torch.Tensor, w: torch.Tensor, wanted: tuple[bool, ...]
        ) -> tuple[torch.Tensor | None, ...]:
            rows = grad.reshape(-1, grad.shape[-1])
            return (
                grad @ w if wanted[0] else None,
                rows.t() @ x.reshape(-1, x.shape[-1]) if wanted[1] else None,
                rows.sum(dim=0) if wanted[2] else None,
            )

        return _backward(ctx, grad, differentiate)


class ConvProduct(torch.autograd.Function):
    """``(B, C, H, W)`` convolved with a weight, plus an offset."""

    @staticmethod
    @_unwatched
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        offset: torch.Tensor,
        log_scale: torch.Tensor | None,
        site: Any,
    ) -> torch.Tensor:
        """Through the circuit."""
        return _forward(ctx, site, x, site.selection().convolve)

    @staticmethod
    @_unwatched
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """By slopes."""
        site = ctx.site

        def differentiate(
            grad: torch.Tensor, x: torch.Tensor, w: torch.Tensor, wanted: tuple[bool, ...]
        ) -> tuple[torch.Tensor | None, ...]:
            how = Convolution(site.stride, site.edge, site.dilation, site.groups)
            gradients: tuple[torch.Tensor | None, ...] = conv2d_gradients(grad, x, w, how, wanted)
            return gradients

        return _backward(ctx, grad, differentiate)


class MatmulProduct(torch.autograd.Function):
    """``(…, M, K)`` times ``(…, K, N)``, both of them activations."""

    @staticmethod
    @_unwatched
    def forward(
        ctx: Any, x: torch.Tensor, y: torch.Tensor, log_scale: torch.Tensor | None, site: Any
    ) -> torch.Tensor:
        """Through the circuit."""
        _note(ctx, site, x)
        ctx.save_for_backward(x, y, site.x_scale.clone())
        return _no_view(site.selection().batched(x, y, site.scaling()))

    @staticmethod
    @_unwatched
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """By slopes."""
        x, y, scales = ctx.saved_tensors
        needs_x, needs_y = (needed or ctx.learns_scale for needed in ctx.needs_input_grad[:2])
        first = _Activation(x, scales[0:1], ctx.precision, clips=needs_x)
        second = _Activation(y, scales[1:2], ctx.precision, clips=needs_y)
        lowered, low = grad.to(ctx.precision), ctx.precision
        grad_x = grad_y = grad_scales = None
        if needs_x:
            grad_x = _gradient(
                *(ctx.slopes.along_x, first, second),
                lambda y: _product(lowered, y.to(low).transpose(-2, -1)),
            )
        if needs_y:
            grad_y = _gradient(
                *(_turned(ctx.slopes.along_w), second, first),
                lambda x: _product(x.to(low).transpose(-2, -1), lowered),
            )
        if ctx.learns_scale:
            assert grad_x is not None and grad_y is not None
            grad_scales = torch.cat([first.scale_gradient(grad_x), second.scale_gradient(grad_y)])
        return first.passed_(grad_x), second.passed_(grad_y), grad_scales, None


def by_code(values: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """``values[code]`` for int8 ``codes``; ``values`` has shape ``(256,)``."""
    return values[codes.view(torch.uint8).long()]


class _Weight:
    """A weight in backward: its codes, and what they stand for."""

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor) -> None:
        self.codes = codes
        self.scale = scale.view(-1, *[1] * (codes.dim() - 1))

    @functools.cached_property
    def values(self) -> torch.Tensor:
        return self.codes * self.scale


class _Activation:
    """An activation in backward.

    Args:
        x: what the layer was given.
        scale: of its codes, one element.
        dtype: of the products.
        clips: whether its gradient is wanted.
    """

    def __init__(
        self, x: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype, *, clips: bool
    ) -> None:
        self.x, self.scale = x.detach(), scale
        self._dequantised = Dequantised.of(x, scale, dtype, clips=clips)
        self.values = self._dequantised.values

    @functools.cached_property
    def codes(self) -> torch.Tensor:
        return quantise(self.x, self.scale)

    def passed_(self, grad: torch.Tensor | None) -> torch.Tensor | None:
        """The gradient without what was clipped."""
        return None if grad is None else self._dequantised.passed_(grad)

    def scale_gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """Of the logarithm of the scale, damped as LSQ does by the number of values.

        ``round(x/s) − x/s`` is the change of a quantised value with the scale, ±127 if clipped.
        """
        is_inside = self.x.abs() <= (MAX_CODE + 0.5) * self.scale
        residual = self.codes - torch.where(is_inside, self.x / self.scale, 0.0)
        damping: float = (residual.numel() * MAX_CODE) ** 0.5
        return (grad * residual).sum() * self.scale / damping


def _forward(
    ctx: Any, site: Any, x: torch.Tensor, product: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """The scaled ``product``; operands are kept for backward."""
    w_codes, w_scale, operand = site.fresh()
    _note(ctx, site, x)
    # With a frozen weight a float layer keeps nothing, so that its input may be changed in place.
    kept = x if ctx.needs_input_grad[1] else x.clone()
    ctx.save_for_backward(kept, site.x_scale.clone(), w_codes, w_scale)
    return _no_view(product(x, operand, site.scaling(w_scale)))


def _no_view(y: torch.Tensor) -> torch.Tensor:
    """``y`` over the same memory, but no view: such an output may be changed in place."""
    if not y._is_view():
        return y
    return y.new_empty(0).set_(y.untyped_storage(), y.storage_offset(), y.shape, y.stride())


def _note(ctx: Any, site: Any, x: torch.Tensor) -> None:
    """What backward has to know; saved scales are copies, as learnt ones change in place."""
    kind = x.device.type
    is_low = torch.is_autocast_enabled(kind)
    ctx.site = site
    ctx.slopes = site.slopes()
    ctx.precision = torch.get_autocast_dtype(kind) if is_low else torch.float32
    ctx.learns_scale = site.log_scale is not None


def _product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Of matrices that are rounded already, in float32."""
    with widened_products():
        return (x @ y).float()


def _in_precision(differentiate: Differentiate, dtype: torch.dtype) -> Differentiate:
    """The same derivatives from operands rounded to ``dtype``, as autocast rounds them."""
    if dtype == torch.float32:
        return differentiate

    def lowered(
        grad: torch.Tensor, x: torch.Tensor, w: torch.Tensor, wanted: tuple[bool, ...]
    ) -> tuple[torch.Tensor | None, ...]:
        with widened_products():
            gradients = differentiate(grad.to(dtype), x.to(dtype), w.to(dtype), wanted)
        return tuple(None if part is None else part.float() for part in gradients)

    return lowered


def _backward(ctx: Any, grad: torch.Tensor, differentiate: Differentiate) -> Any:
    differentiate = _in_precision(differentiate, ctx.precision)
    x, x_scale, w_codes, w_scale = ctx.saved_tensors
    slopes: Slopes = ctx.slopes
    wants_x, wants_w, wants_offset = ctx.needs_input_grad[:3]
    needs_x = wants_x or ctx.learns_scale
    first = _Activation(x, x_scale, ctx.precision, clips=wants_x)
    second = _Weight(w_codes, w_scale)
    straight = needs_x and slopes.along_x is None, wants_w and slopes.along_w is None, wants_offset
    grad_x, grad_w, grad_offset = differentiate(grad, first.values, second.values, straight)
    if needs_x and slopes.along_x is not None:
        grad_x = _gradient(
            *(slopes.along_x, first, second),
            lambda w: differentiate(grad, first.values, w, (True, False, False))[0],
        )
    if wants_w and slopes.along_w is not None:
        grad_w = _gradient(
            *(_turned(slopes.along_w), second, first),
            lambda x: differentiate(grad, x, second.values, (False, True, False))[1],
        )
    grad_scale = None
    if ctx.learns_scale:
        assert grad_x is not None
        grad_scale = first.scale_gradient(grad_x)
    return first.passed_(grad_x) if wants_x else None, grad_w, grad_offset, grad_scale, None


def _turned(terms: SlopeTerms | None) -> SlopeTerms | None:
    return None if terms is None else SlopeTerms(terms.v, terms.u)


def _gradient(
    terms: SlopeTerms | None,
    own: _Weight | _Activation,
    other: _Weight | _Activation,
    backward: Callable[[torch.Tensor], torch.Tensor | None],
) -> torch.Tensor:
    """``Σ_r u_r[own] · backward(scale · v_r[other])``: gradient of the operand ``own``."""
    if terms is None:
        whole = backward(other.values)
        assert whole is not None
        return whole
    total: torch.Tensor | None = None
    for term in range(terms.count):
        if terms.v is None:
            values = other.scale.expand(other.codes.shape)
        else:
            values = by_code(terms.v[term], other.codes) * other.scale
        part = backward(values)
        assert part is not None
        if terms.u is not None:
            part = part * by_code(terms.u[term], own.codes)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total
