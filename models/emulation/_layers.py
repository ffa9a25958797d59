"""Layers in which a multiplier makes every product.

Each takes and gives float32. Inside: activations are quantised with one scale per tensor, weights
with one per output channel; the circuit multiplies codes; sums are exact 32-bit integers; scale and
bias are applied in float32. The gradient is straight-through unless `use_gradient_` says otherwise.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from luts import EXACT, Arithmetic, Geometry, Scaling, Selection, Task, catalog, quantise, select
from models.emulation._plain import SameConv2d, pad_same
from models.emulation._products import (
    ConvProduct,
    LinearProduct,
    MatmulProduct,
    by_code,
    check_fan_in,
)
from models.emulation._quantise import Observer, weight_scale
from models.emulation._slopes import Gradient, Slopes, slopes_of


class Follower(Protocol):
    """A channel-wise linear map that a layer's scale and offset can include."""

    def is_foldable(self) -> bool:
        """Whether it is such a map just now."""

    def folded(self, scaling: Scaling) -> Scaling:
        """``scaling`` followed by the map."""

    def expect(self, normalised: torch.Tensor) -> torch.Tensor:
        """Take note that ``normalised`` has been mapped already; it is given back."""


class EmulatedSite(nn.Module):
    """What all emulated layers share: arithmetic, calibration, a selected backend.

    Attributes:
        arithmetic: the multiplier and operand order at work.
        observers: while calibrating, one observer per operand; the layer then computes in float.
        computes_in_float: multiply as the original network does.
        gradient: how the circuit's slopes are estimated in training.
        log_scale: logarithm of `x_scale` while that is learnt, else None.
        weight_map: code that the circuit gets for each weight code, int8 of shape ``(256,)``, or
            None for the code itself.
        x_scale: value of one code of each operand that is an activation.
        unscaled: what `x_scale` was before it was made to suit the circuit, and is again when
            another one is assigned; None if it was not changed.
    """

    operands = 1
    x_scale: torch.Tensor
    unscaled: torch.Tensor | None
    weight_map: torch.Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.arithmetic = Arithmetic(catalog[EXACT])
        self.observers: list[Observer] | None = None
        self.computes_in_float = False
        self.gradient = Gradient()
        self.log_scale: nn.Parameter | None = None
        self.register_buffer("x_scale", torch.ones(self.operands))
        self.register_buffer("unscaled", None, persistent=False)
        self.register_buffer("weight_map", None)
        self._selection: Selection | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Forward with every operand by position, where hooks look for it, however it is named."""
        return super().__call__(*args, *kwargs.values())

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
        """Multiply with ``arithmetic`` from now on, at the scales from before any rescaling."""
        self.arithmetic = arithmetic
        self._selection = None
        if self.unscaled is not None:
            self.x_scale.copy_(self.unscaled)
            self.unscaled = None

    def rescale_(self, factors: torch.Tensor) -> None:
        """Represent activations by other scales until assigned anew.

        Args:
            factors: of the scales from before any rescaling, one per operand.
        """
        if self.unscaled is None:
            self.unscaled = self.x_scale.clone()
        self.x_scale.copy_(self.unscaled * factors)

    @property
    def x_factor(self) -> torch.Tensor:
        """Factors by which the activation scales were changed to suit the circuit."""
        return self.x_scale / (self.x_scale if self.unscaled is None else self.unscaled)

    def learn_scale_(self, learn: bool) -> None:
        """Make the activation scales a parameter, or fix them where they are now."""
        self.sync_scale_()
        self.log_scale = nn.Parameter(self.x_scale.log()) if learn else None

    @torch.no_grad()
    def sync_scale_(self) -> None:
        """Take the scales from what was learnt."""
        if self.log_scale is not None:
            self.x_scale.copy_(self.log_scale.exp())

    def slopes(self) -> Slopes:
        """The slopes that backward uses."""
        return slopes_of(self.arithmetic, self.gradient, self.weight_map, self.x_scale.device)

    def observed(self, *operands: torch.Tensor) -> bool:
        """Whether to compute in float; shows the operands to observers if there are any."""
        for observer, operand in zip(self.observers or (), operands, strict=False):
            observer(operand)
        return self.observers is not None or self.computes_in_float

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
        weight_factor: of the scale that represents a channel's largest weight, float32 of shape
            ``(out,)``.
        watcher: if set, called with every output's channel means, shape ``(out,)``; what it
            returns is added to `correction` and to the output at hand.
    """

    channel_dim = -1
    correction: torch.Tensor
    weight_factor: torch.Tensor

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = bias
        self.register_buffer("correction", torch.zeros(len(weight)))
        self.register_buffer("weight_factor", torch.ones(len(weight)))
        self.watcher: Callable[[torch.Tensor], torch.Tensor | None] | None = None
        self._prepared: tuple[Any, ...] | None = None

    def assign_(self, arithmetic: Arithmetic) -> None:
        """Multiply with ``arithmetic`` from now on, without any correction yet."""
        super().assign_(arithmetic)
        self.correction.zero_()
        self.weight_map = None
        self.rescale_weights_(torch.ones_like(self.weight_factor))

    @torch.no_grad()
    def rescale_weights_(self, factors: torch.Tensor) -> None:
        """Represent weights by other scales until assigned anew.

        Args:
            factors: of the scales that represent each channel's largest weight, shape ``(out,)``.
        """
        self.weight_factor.copy_(factors)
        self._prepared = None

    def map_weights_(self, weight_map: torch.Tensor) -> None:
        """Give the circuit other weight codes than those that are meant, until assigned anew.

        Args:
            weight_map: for each code, the one to use; int8 of shape ``(256,)``.
        """
        self.weight_map = weight_map.to(self.weight.device)
        self._prepared = None

    def maps_any_code(self) -> bool:
        """Whether the circuit gets another code for some weight than the one that is meant."""
        codes, _ = self.meant_codes()
        return not torch.equal(self._mapped(codes), codes)

    def offset(self) -> torch.Tensor:
        """Bias plus correction, shape ``(out,)``."""
        return self.correction if self.bias is None else self.bias + self.correction

    def watched(self, y: torch.Tensor) -> torch.Tensor:
        """``y`` plus what the watcher adds to it."""
        if self.watcher is None or y.numel() == 0:
            return y
        others = [d for d in range(y.dim()) if d != self.channel_dim % y.dim()]
        change = self.watcher(y.detach().double().mean(dim=others).float())
        if change is None:
            return y
        self.correction += change
        return y + change.view(-1, *[1] * (-self.channel_dim - 1))

    def weight_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes that the circuit gets, int8 of the weight's shape, and scales, shape ``(out,)``."""
        codes, scale = self.meant_codes()
        return self._mapped(codes), scale

    def meant_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes nearest to the weight, before `weight_map`, and their scales."""
        weight = self.weight.detach()
        scale = weight_scale(weight) * self.weight_factor
        return quantise(weight, scale.view(-1, *[1] * (weight.dim() - 1))), scale

    def calibrated_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`meant_codes` under the scales that represent each channel's largest weight."""
        weight = self.weight.detach()
        scale = weight_scale(weight)
        return quantise(weight, scale.view(-1, *[1] * (weight.dim() - 1))), scale

    def _mapped(self, codes: torch.Tensor) -> torch.Tensor:
        return codes if self.weight_map is None else by_code(self.weight_map, codes)

    def fresh(self) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Meant codes, scales, and the backend's operand, of the weight as it is now."""
        codes, scale = self.meant_codes()
        return codes, scale, self.selection().prepare(self._mapped(codes))

    def prepared(self) -> tuple[torch.Tensor, Any]:
        """Scales and the backend's operand; kept while the weight is unchanged."""
        key = (self.weight._version, self.weight.data_ptr(), self.weight.device)
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = (key, *self.fresh()[1:])
        return self._prepared[1:]

    def scaling(self, w_scale: torch.Tensor) -> Scaling:
        """From activations to codes, and from sums to outputs."""
        return Scaling(self.x_scale, self.x_scale * w_scale, self.offset().detach())

    def learns(self, x: torch.Tensor) -> bool:
        """Whether a gradient will be asked for."""
        return torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad)

    def learning(self, product: type[torch.autograd.Function], x: torch.Tensor) -> torch.Tensor:
        """``product`` of ``x`` and the weight with gradients.

        Nothing prepared outlives it: a fused optimiser changes weights without raising their
        version.
        """
        self._prepared = None
        apply: Callable[..., torch.Tensor] = product.apply
        return apply(x, self.weight, self.offset(), self.log_scale, self)


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
        if self.observed(x):
            return F.linear(x, self.weight, self.bias)
        self.sync_scale_()
        if self.learns(x):
            return self.watched(self.learning(LinearProduct, x))
        w_scale, operand = self.prepared()
        return self.watched(self.selection().linear(x, operand, self.scaling(w_scale)))


class EmulatedConv2d(EmulatedWeightSite):
    """`torch.nn.Conv2d` through a multiplier; a zero of the padding is an operand like any other.

    Attributes:
        follower: the BatchNorm that alone reads this output, whose work can be done here; in a
            tuple, so that it is not a submodule.

    Args:
        source: the layer to emulate; its parameters are shared.
    """

    channel_dim = -3

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__(source.weight, source.bias)
        self.kernel_size = _pair(source.kernel_size)
        self.stride = _pair(source.stride)
        self.dilation = _pair(source.dilation)
        self.groups = source.groups
        self.padding_mode = source.padding_mode
        self.channels = source.in_channels
        # As torch.nn.functional.pad wants it: left, right, top, bottom.
        left, right, top, bottom = source._reversed_padding_repeated_twice
        even = self.padding_mode == "zeros" and left == right and top == bottom
        self.padding = (top, left) if even else (0, 0)
        self.pads = (0, 0, 0, 0) if even else (left, right, top, bottom)
        self.pads_same = isinstance(source, SameConv2d)
        self.follower: tuple[Follower] | None = None

    def task(self) -> Task:
        """What this layer asks of a backend."""
        geometry = Geometry(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)
        return Task(self.weight.device, self.channels, len(self.weight), geometry)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` → ``(B, out, H', W')``, or one item without B."""
        if x.dim() == 3:
            return self._convolved(x.unsqueeze(0), folds=False).squeeze(0)
        return self._convolved(x, folds=True)

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` with all that pads it, or one item without B as a batch of one."""
        rows, columns = self.padding
        x = self._unevenly_padded(x.unsqueeze(0) if x.dim() == 3 else x)
        return F.pad(x, (columns, columns, rows, rows))

    def _unevenly_padded(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with the padding that no backend does."""
        if self.pads_same:
            return pad_same(x, self)
        if not any(self.pads):
            return x
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, self.pads, mode=mode)

    def _convolved(self, x: torch.Tensor, *, folds: bool) -> torch.Tensor:
        x = self._unevenly_padded(x)
        if self.observed(x):
            rest = (self.stride, self.padding, self.dilation, self.groups)
            return F.conv2d(x, self.weight, self.bias, *rest)
        self.sync_scale_()
        if self.learns(x):
            return self.watched(self.learning(ConvProduct, x))
        w_scale, operand = self.prepared()
        scaling = self.scaling(w_scale)
        folds = folds and self.watcher is None and not self._forward_hooks
        if folds and self.follower is not None:
            (follower,) = self.follower
            if follower.is_foldable():
                y = self.selection().convolve(x, operand, follower.folded(scaling))
                return follower.expect(y)
        return self.watched(self.selection().convolve(x, operand, scaling))


class EmulatedMatmul(EmulatedSite):
    """A product of two activations (attention) through a multiplier."""

    operands = 2

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """``(…, M, K)`` times ``(…, K, N)`` → ``(…, M, N)``."""
        if self.observed(x, y):
            return x @ y
        check_fan_in(x.shape[-1], "an attention product")
        self.sync_scale_()
        if torch.is_grad_enabled() and (x.requires_grad or y.requires_grad):
            apply: Callable[..., torch.Tensor] = MatmulProduct.apply
            return apply(x, y, self.log_scale, self)
        return self.selection().batched(x, y, self.scaling())

    def task(self) -> Task:
        """What this layer asks of a backend; the operands' sizes do not matter to it."""
        return Task(self.x_scale.device, channels=64, out_channels=64, batched=True)

    def scaling(self) -> Scaling:
        """From activations to codes, and from sums to outputs."""
        x_scale, y_scale = torch.split(self.x_scale, 1)
        return Scaling(x_scale, x_scale * y_scale, y=y_scale)


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns
