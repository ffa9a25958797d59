"""Products of emulated layers with their gradients.

Forward goes through the circuit. Backward takes the slopes that the layer's `Gradient` names, and
passes nothing where an activation was clipped (straight-through: Bengio et al., arXiv 1308.3432).
A learnt activation scale gets its gradient after Esser et al., "Learned step size quantization",
ICLR 2020, arXiv 1902.08153, Eq. 3, relative to the scale.

Where the forward ran under autocast, the products of the backward are taken in its precision; the
circuit's own sums are exact integers in either case.
"""

from collections.abc import Callable
from typing import Any

import torch

from luts import MAX_CODE, Scaling, quantise
from models.emulation._conv_gradients import Convolution, conv2d_gradients
from models.emulation._slopes import Slopes, SlopeTerms

# (grad, x values, w values, which of x, w and offset are wanted) → their gradients
Differentiate = Callable[..., tuple[torch.Tensor | None, ...]]


class LinearProduct(torch.autograd.Function):
    """``(…, in)`` times a weight ``(out, in)``, plus an offset."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        offset: torch.Tensor,
        log_scale: torch.Tensor | None,
        site: Any,
    ) -> torch.Tensor:
        """Through the circuit."""
        return _forward(ctx, site, x, site.selection().linear, channel_dim=-1)

    @staticmethod
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
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        offset: torch.Tensor,
        log_scale: torch.Tensor | None,
        site: Any,
    ) -> torch.Tensor:
        """Through the circuit."""
        return _forward(ctx, site, x, site.selection().convolve, channel_dim=-3)

    @staticmethod
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
    def forward(
        ctx: Any, x: torch.Tensor, y: torch.Tensor, log_scale: torch.Tensor | None, site: Any
    ) -> torch.Tensor:
        """Through the circuit."""
        x_scale, y_scale = site.x_scale.clone()
        x_codes, y_codes = quantise(x, x_scale), quantise(y, y_scale)
        sums = site.selection().batched(x_codes, y_codes)
        ctx.slopes = site.slopes()
        ctx.precision = _autocast_dtype(x)
        ctx.learns_scale = site.log_scale is not None
        residuals = (
            (_residual(x, x_codes, x_scale), _residual(y, y_codes, y_scale))
            if ctx.learns_scale
            else (_inside(x, x_scale), _inside(y, y_scale))
        )
        ctx.save_for_backward(x_codes, y_codes, x_scale, y_scale, *residuals)
        if ctx.learns_scale:
            ctx.inside = _inside(x, x_scale), _inside(y, y_scale)
        output: torch.Tensor = site.scaling().apply(sums, channel_dim=-1)
        return output

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        """By slopes."""
        x_codes, y_codes, x_scale, y_scale, *kept = ctx.saved_tensors
        slopes: Slopes = ctx.slopes

        def differentiate(
            grad: torch.Tensor, x: torch.Tensor, y: torch.Tensor, wanted: tuple[bool, ...]
        ) -> tuple[torch.Tensor | None, ...]:
            return (
                grad @ y.transpose(-2, -1) if wanted[0] else None,
                x.transpose(-2, -1) @ grad if wanted[1] else None,
            )

        differentiate = _in_precision(differentiate, ctx.precision)
        grad_x = _sum_of_terms(
            slopes.along_x,
            x_codes,
            y_codes,
            y_scale,
            lambda y: differentiate(grad, x_codes, y, (True, False))[0],
        )
        grad_y = _sum_of_terms(
            _turned(slopes.along_w),
            y_codes,
            x_codes,
            x_scale,
            lambda x: differentiate(grad, x, y_codes, (False, True))[1],
        )
        if not ctx.learns_scale:
            return grad_x * kept[0], grad_y * kept[1], None, None
        scales = torch.stack(
            [_scale_gradient(grad_x, kept[0], x_scale), _scale_gradient(grad_y, kept[1], y_scale)]
        )
        return grad_x * ctx.inside[0], grad_y * ctx.inside[1], scales, None


def by_code(values: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """``values[code]`` for int8 ``codes``; ``values`` has shape ``(256,)``."""
    return values[codes.view(torch.uint8).long()]


def _forward(
    ctx: Any,
    site: Any,
    x: torch.Tensor,
    product: Callable[[torch.Tensor, Any], torch.Tensor],
    *,
    channel_dim: int,
) -> torch.Tensor:
    """Codes of both operands, kept for backward, and their scaled ``product``."""
    codes = quantise(x, site.x_scale)
    w_codes, w_scale, operand = site.fresh()
    _save(ctx, site, x, codes, w_codes, w_scale)
    scaling: Scaling = site.scaling(w_scale)
    return scaling.apply(product(codes, operand), channel_dim=channel_dim)


def _save(
    ctx: Any,
    site: Any,
    x: torch.Tensor,
    codes: torch.Tensor,
    w_codes: torch.Tensor,
    w_scale: torch.Tensor,
) -> None:
    ctx.site = site
    ctx.slopes = site.slopes()
    ctx.precision = _autocast_dtype(x)
    ctx.learns_scale = site.log_scale is not None
    # The scale is cloned, as a learnt one changes in place when the layer is called again.
    scale = site.x_scale.clone()
    inside = _inside(x, scale) if ctx.needs_input_grad[0] or ctx.learns_scale else None
    residual = _residual(x, codes, scale) if ctx.learns_scale else None
    ctx.save_for_backward(codes, scale, w_codes, w_scale, inside, residual)


def _autocast_dtype(x: torch.Tensor) -> torch.dtype:
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32


def _in_precision(differentiate: Differentiate, dtype: torch.dtype) -> Differentiate:
    """The same derivatives from operands rounded to ``dtype``, as autocast rounds them."""
    if dtype == torch.float32:
        return differentiate

    def lowered(
        grad: torch.Tensor, x: torch.Tensor, w: torch.Tensor, wanted: tuple[bool, ...]
    ) -> tuple[torch.Tensor | None, ...]:
        gradients = differentiate(grad.to(dtype), x.to(dtype), w.to(dtype), wanted)
        return tuple(None if part is None else part.float() for part in gradients)

    return lowered


def _backward(ctx: Any, grad: torch.Tensor, differentiate: Differentiate) -> Any:
    differentiate = _in_precision(differentiate, ctx.precision)
    codes, x_scale, w_codes, w_scale, inside, residual = ctx.saved_tensors
    slopes: Slopes = ctx.slopes
    per_channel = w_scale.view(-1, *[1] * (w_codes.dim() - 1))
    needs_x = ctx.needs_input_grad[0] or ctx.learns_scale
    x_values, w_values = codes * x_scale, w_codes * per_channel
    grad_x, grad_w, grad_offset = differentiate(
        grad,
        x_values,
        w_values,
        (needs_x and slopes.along_x is None, slopes.along_w is None, True),
    )
    if needs_x and slopes.along_x is not None:
        grad_x = _sum_of_terms(
            slopes.along_x,
            codes,
            w_codes,
            per_channel,
            lambda w: differentiate(grad, x_values, w, (True, False, False))[0],
        )
    if slopes.along_w is not None:
        grad_w = _sum_of_terms(
            _turned(slopes.along_w),
            w_codes,
            codes,
            x_scale,
            lambda x: differentiate(grad, x, w_values, (False, True, False))[1],
        )
    grad_scale = None
    if ctx.learns_scale:
        assert grad_x is not None
        grad_scale = _scale_gradient(grad_x, residual, x_scale[0]).view(1)
    if not ctx.needs_input_grad[0]:
        return None, grad_w, grad_offset, grad_scale, None
    assert grad_x is not None
    return grad_x.mul_(inside), grad_w, grad_offset, grad_scale, None


def _turned(terms: SlopeTerms | None) -> SlopeTerms | None:
    return None if terms is None else SlopeTerms(terms.v, terms.u)


def _sum_of_terms(
    terms: SlopeTerms | None,
    own: torch.Tensor,
    other: torch.Tensor,
    other_scale: torch.Tensor,
    backward: Callable[[torch.Tensor], torch.Tensor | None],
) -> torch.Tensor:
    """``Σ_r u_r[own] · backward(scale · v_r[other])``: gradient of the operand ``own``."""
    if terms is None:
        whole = backward(other * other_scale)
        assert whole is not None
        return whole
    total: torch.Tensor | None = None
    for term in range(terms.count):
        if terms.v is None:
            values = other_scale.expand(other.shape)
        else:
            values = by_code(terms.v[term], other) * other_scale
        part = backward(values)
        assert part is not None
        if terms.u is not None:
            part = part * by_code(terms.u[term], own)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total


def _inside(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return x.abs() <= (MAX_CODE + 0.5) * scale


def _residual(x: torch.Tensor, codes: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Change of the quantised value with the scale: ``round(x/s) − x/s``, or ±127 if clipped."""
    return codes - torch.where(_inside(x, scale), x / scale, 0.0)


def _scale_gradient(
    grad_x: torch.Tensor, residual: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Of the logarithm of the scale, damped as LSQ does by the number of values."""
    damping: float = (residual.numel() * MAX_CODE) ** 0.5
    return (grad_x * residual).sum() * scale / damping
