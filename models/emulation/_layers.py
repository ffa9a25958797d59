"""Layers in which a multiplier makes every product.

Each takes and gives float32. Inside: activations are quantised with one scale a tensor, weights
with one an output channel; the circuit multiplies codes; sums are exact 32-bit integers; scale and
bias are applied in float32. The gradient is straight-through: backward is the exact product of the
de-quantised operands, and none passes where an activation was clipped (Bengio et al., arXiv
1308.3432).
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luts import EXACT, Arithmetic, Geometry, Scaling, Selection, Task, catalog, quantise, select
from models.emulation._quantise import MAX_CODE, Observer, weight_scale


class EmulatedSite(nn.Module):
    """What all emulated layers share: arithmetic, calibration, a selected backend.

    Attributes:
        arithmetic: the multiplier and operand order at work.
        observers: while calibrating, one observer an operand; the layer then computes in float.
    """

    operands = 1

    def __init__(self) -> None:
        super().__init__()
        self.arithmetic = Arithmetic(catalog[EXACT])
        self.observers: list[Observer] | None = None
        self.register_buffer("x_scale", torch.ones(self.operands))
        self._selection: Selection | None = None

    def start_calibration(self, method: str) -> None:
        """Compute in float and observe the activations until `finish_calibration`."""
        self.observers = [Observer(method) for _ in range(self.operands)]

    def is_observed(self) -> bool:
        """Whether every operand has been seen since `start_calibration`."""
        return self.observers is None or all(o.seen for o in self.observers)

    def finish_calibration(self) -> None:
        """Take the scales from what was observed; an operand never seen keeps its scale."""
        assert self.observers is not None
        for index, observer in enumerate(self.observers):
            if observer.seen:
                self.x_scale[index] = observer.scale()
        self.observers = None

    def assign_(self, arithmetic: Arithmetic) -> None:
        """Multiply with ``arithmetic`` from now on."""
        self.arithmetic = arithmetic
        self._selection = None

    def task(self) -> Task:
        """What this layer asks of a backend."""
        raise NotImplementedError

    def selection(self) -> Selection:
        """The backend that computes here, and why."""
        task = self.task()
        if self._selection is None or self._selection.task != task:
            self._selection = select(self.arithmetic, task)
        return self._selection


class EmulatedWeightSite(EmulatedSite):
    """A layer with weights.

    Attributes:
        correction: added to every output of a channel (bias correction), float32 of shape
            ``(out,)``.
        watcher: if set, called with every output's channel means, shape ``(out,)``; what it
            returns is added to `correction` and to the output at hand.
    """

    channel_dim = -1

    def __init__(self, weight: nn.Parameter, bias: nn.Parameter | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.register_buffer("correction", torch.zeros(len(weight)))
        self.watcher: Callable[[torch.Tensor], torch.Tensor | None] | None = None
        self._prepared: tuple[Any, ...] | None = None

    def assign_(self, arithmetic: Arithmetic) -> None:
        """Multiply with ``arithmetic`` from now on, without any correction yet."""
        super().assign_(arithmetic)
        self.correction.zero_()
        self._prepared = None

    def offset(self) -> torch.Tensor:
        """Bias plus correction, shape ``(out,)``."""
        return self.correction if self.bias is None else self.bias + self.correction

    def watched(self, y: torch.Tensor) -> torch.Tensor:
        """``y`` after the watcher has had its say."""
        if self.watcher is None or y.numel() == 0:
            return y
        others = [d for d in range(y.dim()) if d != self.channel_dim % y.dim()]
        change = self.watcher(y.detach().double().mean(dim=others).float())
        if change is None:
            return y
        self.correction += change
        return y + change.view(-1, *[1] * (-self.channel_dim - 1))

    def weight_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes, int8 of the weight's shape, and their scales, shape ``(out,)``."""
        weight = self.weight.detach()
        scale = weight_scale(weight)
        return quantise(weight, scale.view(-1, *[1] * (weight.dim() - 1))), scale

    def prepared(self) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Codes, scales, and the backend's operand; computed once while the weight is unchanged."""
        key = (self.weight._version, self.weight.data_ptr(), self.weight.device)
        if self._prepared is None or self._prepared[0] != key:
            codes, scale = self.weight_codes()
            self._prepared = (key, codes, scale, self.selection().prepare(codes))
        return self._prepared[1:]

    def scaling(self, w_scale: torch.Tensor) -> Scaling:
        """From activations to codes, and from sums to outputs."""
        return Scaling(self.x_scale, self.x_scale * w_scale, self.offset().detach())

    def learns(self, x: torch.Tensor) -> bool:
        """Whether a gradient will be asked for."""
        return torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)


class EmulatedLinear(EmulatedWeightSite):
    """`torch.nn.Linear` through a multiplier.

    Args:
        source: the layer to emulate; its parameters are shared.
    """

    def __init__(self, source: nn.Linear) -> None:
        super().__init__(source.weight, source.bias)
        self.in_features = source.in_features
        self.out_features = source.out_features

    def task(self) -> Task:
        """What this layer asks of a backend."""
        return Task(self.weight.device, self.in_features, self.out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, in)`` → ``(…, out)``."""
        if self.observers is not None:
            self.observers[0](x)
            return F.linear(x, self.weight, self.bias)
        if self.learns(x):
            return self.watched(_LinearProduct.apply(x, self.weight, self.offset(), self))
        _, w_scale, operand = self.prepared()
        return self.watched(self.selection().linear(x, operand, self.scaling(w_scale)))


class EmulatedConv2d(EmulatedWeightSite):
    """`torch.nn.Conv2d` through a multiplier; a zero of the padding is an operand like any other.

    Args:
        source: the layer to emulate; its parameters are shared.
    """

    channel_dim = -3

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__(source.weight, source.bias)
        self.kernel_size = source.kernel_size
        self.stride = source.stride
        self.dilation = source.dilation
        self.groups = source.groups
        self.padding_mode = source.padding_mode
        self.channels = source.in_channels
        # As torch.nn.functional.pad wants it: left, right, top, bottom.
        left, right, top, bottom = source._reversed_padding_repeated_twice
        even = self.padding_mode == "zeros" and left == right and top == bottom
        self.padding = (top, left) if even else (0, 0)
        self.pads = (0, 0, 0, 0) if even else (left, right, top, bottom)

    def task(self) -> Task:
        """What this layer asks of a backend."""
        geometry = Geometry(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        return Task(self.weight.device, self.channels, len(self.weight), geometry)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` → ``(B, out, H', W')``."""
        if any(self.pads):
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x = F.pad(x, self.pads, mode=mode)
        if self.observers is not None:
            self.observers[0](x)
            rest = (self.stride, self.padding, self.dilation, self.groups)
            return F.conv2d(x, self.weight, self.bias, *rest)
        if self.learns(x):
            return self.watched(_ConvProduct.apply(x, self.weight, self.offset(), self))
        _, w_scale, operand = self.prepared()
        return self.watched(self.selection().convolve(x, operand, self.scaling(w_scale)))


class EmulatedMatmul(EmulatedSite):
    """A product of two activations (attention) through a multiplier."""

    operands = 2

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``(…, M, K)`` times ``(…, K, N)`` → ``(…, M, N)``."""
        if self.observers is not None:
            self.observers[0](x)
            self.observers[1](y)
            return x @ y
        if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
            return _MatmulProduct.apply(x, y, self)
        return self.selection().batched(x, y, self.scaling())

    def task(self) -> Task:
        """What this layer asks of a backend; the operands' sizes do not matter to it."""
        return Task(self.x_scale.device, channels=64, out_channels=64, batched=True)

    def scaling(self) -> Scaling:
        """From activations to codes, and from sums to outputs."""
        x_scale, y_scale = self.x_scale.split(1)
        return Scaling(x_scale, x_scale * y_scale, y=y_scale)


class _LinearProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, site: EmulatedLinear
    ) -> torch.Tensor:
        codes = quantise(x, site.x_scale)
        w_codes, w_scale, operand = site.prepared()
        sums = site.selection().linear(codes, operand)
        _save(ctx, site, x, codes, w_codes, w_scale)
        return site.scaling(w_scale).apply(sums, channel_dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x_values, w_values, inside = _restored(ctx)
        grad_x = (grad @ w_values) * inside if ctx.needs_input_grad[0] else None
        rows = grad.reshape(-1, grad.shape[-1])
        grad_w = rows.t() @ x_values.reshape(-1, x_values.shape[-1])
        return grad_x, grad_w, rows.sum(dim=0), None


class _ConvProduct(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, offset: torch.Tensor, site: EmulatedConv2d
    ) -> torch.Tensor:
        codes = quantise(x, site.x_scale)
        w_codes, w_scale, operand = site.prepared()
        sums = site.selection().convolve(codes, operand)
        _save(ctx, site, x, codes, w_codes, w_scale)
        return site.scaling(w_scale).apply(sums, channel_dim=-3)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x_values, w_values, inside = _restored(ctx)
        site = ctx.site
        grad_x, grad_w, grad_offset = torch.ops.aten.convolution_backward(
            grad,
            x_values,
            w_values,
            [len(w_values)],
            *(site.stride, site.padding, site.dilation),
            *(False, (0, 0), site.groups),
            (ctx.needs_input_grad[0], True, True),
        )
        return None if grad_x is None else grad_x.mul_(inside), grad_w, grad_offset, None


class _MatmulProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor, site: EmulatedMatmul) -> torch.Tensor:
        x_scale, y_scale = site.x_scale
        x_codes, y_codes = quantise(x, x_scale), quantise(y, y_scale)
        sums = site.selection().batched(x_codes, y_codes)
        ctx.site = site
        limits = (MAX_CODE + 0.5) * x_scale, (MAX_CODE + 0.5) * y_scale
        ctx.save_for_backward(
            x_codes, y_codes, x_scale, y_scale, x.abs() <= limits[0], y.abs() <= limits[1]
        )
        return site.scaling().apply(sums, channel_dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        x_codes, y_codes, x_scale, y_scale, x_inside, y_inside = ctx.saved_tensors
        x_values, y_values = x_codes * x_scale, y_codes * y_scale
        grad_x = (grad @ y_values.transpose(-2, -1)) * x_inside
        grad_y = (x_values.transpose(-2, -1) @ grad) * y_inside
        return grad_x, grad_y, None


def _save(
    ctx: Any,
    site: EmulatedWeightSite,
    x: torch.Tensor,
    codes: torch.Tensor,
    w_codes: torch.Tensor,
    w_scale: torch.Tensor,
) -> None:
    ctx.site = site
    inside = x.abs() <= (MAX_CODE + 0.5) * site.x_scale if ctx.needs_input_grad[0] else codes
    ctx.save_for_backward(codes, site.x_scale, w_codes, w_scale, inside)


def _restored(ctx: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """De-quantised activations and weights, and where activations were not clipped."""
    codes, x_scale, w_codes, w_scale, inside = ctx.saved_tensors
    w_values = w_codes * w_scale.view(-1, *[1] * (w_codes.dim() - 1))
    return codes * x_scale, w_values, inside
