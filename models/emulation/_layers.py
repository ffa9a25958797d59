"""Layers in which a multiplier makes every product.

Each takes and gives float32. Inside: activations are quantised with one scale per tensor, weights
with one per output channel; the circuit multiplies codes; sums are exact 32-bit integers; scale and
bias are applied in float32. The gradient is straight-through unless `use_gradient_` says otherwise.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from luts import (
    EXACT,
    Arithmetic,
    Scaling,
    Selection,
    Task,
    catalog,
    quantise,
    select,
)
from luts.errors import InputError
from models.emulation._fusion import Fusion, is_codes, taken, values_of
from models.emulation._plain import look_like_
from models.emulation._products import LinearProduct
from models.emulation._quantise import Observer, WeightScales, mapped_codes, weight_scale
from models.emulation._site_output import SiteOutput
from models.emulation._slopes import Gradient, Slopes, slopes_of

Guard = Callable[[], contextlib.AbstractContextManager[None]]


class EmulatedSite(nn.Module):
    """What all emulated layers share: arithmetic, calibration, a selected backend.

    Attributes:
        arithmetic: the multiplier and operand order at work.
        observers: while calibrating, one observer per operand; the layer then computes in float.
        computes_in_float: multiply as the original network does.
        guards: contexts that forward runs in, of those who look at what functions are called.
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
        # Layers that are a torch.nn.Linear or Conv2d too have the parameters of their source.
        nn.Module.__init__(self)
        self.arithmetic = Arithmetic(catalog[EXACT])
        self.observers: list[Observer] | None = None
        self.computes_in_float = False
        self.gradient = Gradient()
        self.log_scale: nn.Parameter | None = None
        self.register_buffer("x_scale", torch.ones(self.operands))
        self.register_buffer("unscaled", None, persistent=False)
        self.register_buffer("weight_map", None)
        self.guards: tuple[Guard, ...] = ()
        self._selection: Selection | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Forward with every operand by position, where hooks look for it, however it is named."""
        if not self.guards:
            return super().__call__(*args, *kwargs.values())
        with contextlib.ExitStack() as stack:
            for guard in self.guards:
                stack.enter_context(guard())
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

    def sync_scale_(self) -> None:
        """Take the scales from what was learnt."""
        if self.log_scale is not None:
            with torch.no_grad():
                self.x_scale.copy_(self.log_scale.exp())

    def slopes(self) -> Slopes:
        """The slopes that backward uses."""
        return slopes_of(self.arithmetic, self.gradient, self.weight_map, self.x_scale.device)

    def observed(self, *operands: torch.Tensor) -> bool:
        """Whether to compute in float; shows the operands to observers if there are any."""
        if self.observers is not None or self.computes_in_float:
            for observer, operand in zip(self.observers or (), operands, strict=False):
                observer(operand)
            return True
        self.check(*operands)
        return False

    def check(self, *operands: torch.Tensor) -> None:
        """Refuse what the kernels would read as something else.

        Raises:
            InputError: an operand is not float32, or the call is being traced or exported.
        """
        if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[attr-defined, no-untyped-call]
            raise InputError(
                "an emulated network cannot be traced or exported, as its kernels are no "
                "PyTorch operators: do that with what emulated.in_float() gives"
            )
        for x in (*operands, self.x_scale):
            if x.dtype != torch.float32 and not torch.is_autocast_enabled(x.device.type):
                raise InputError(
                    f"emulated layers take float32, not {x.dtype}: convert the inputs with "
                    f".float(), and leave the network as it is"
                )

    def task(self) -> Task:
        """What this layer asks of a backend."""
        raise NotImplementedError

    def selection(self) -> Selection:
        """The backend that computes here, and why."""
        task = self.task()
        selection = self._selection
        if selection is None or (selection.task is not task and selection.task != task):
            self._selection = selection = select(self.arithmetic, task)
        return selection


@contextlib.contextmanager
def computing_in_float(network: nn.Module) -> Iterator[None]:
    """Inside, all emulated layers of ``network`` compute as in the original."""
    layers = [m for m in network.modules() if isinstance(m, EmulatedSite)]
    before = [layer.computes_in_float for layer in layers]
    for layer in layers:
        layer.computes_in_float = True
    try:
        yield
    finally:
        for layer, was_in_float in zip(layers, before, strict=True):
            layer.computes_in_float = was_in_float


class EmulatedWeightSite(EmulatedSite):
    """A layer with weights.

    Attributes:
        correction: added to every output of a channel (bias correction), float32 of shape
            ``(out,)``.
        weight_factor: of the scale that represents a channel's largest weight, float32 of shape
            ``(out,)``.
        scales_of: what has a scale of its own: a channel of the weight, or only the whole.
        watcher: if set, called with every output's channel means, shape ``(out,)``; what it
            returns is added to `correction` and to the output at hand.
        fusion: what it does for those that read its output; None before that was found out.
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
        self.scales_of: WeightScales = "channel"
        self.watcher: Callable[[torch.Tensor], torch.Tensor | None] | None = None
        self.fusion: Fusion | None = None
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
        change = change.view(-1, *[1] * (-self.channel_dim - 1))
        return y + change if y.requires_grad else y.add_(change)

    def takes_codes(self) -> bool:
        """Whether it can be given codes just now, and nobody would see them."""
        return not (self.computes_in_float or self.observers or self._forward_pre_hooks)

    def fuses(self, shape: tuple[int, ...]) -> bool:
        """Whether it can give codes of this shape just now, and nobody would see them."""
        fusion = self.fusion
        if fusion is None or self.training or self.watcher is not None or self._forward_hooks:
            return False
        return self.x_scale.is_cpu and fusion.is_at_work(shape)

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` as codes, if it is not."""
        return x if x.dtype == torch.int8 else quantise(x, self.x_scale)

    def fed(self, x: torch.Tensor, source: torch.Tensor) -> None:
        """Show what it multiplies to those who compare.

        Args:
            x: codes, or what becomes codes.
            source: what it was called with.
        """
        if self.fusion is not None and self.fusion.switch.fed is not None:
            site = source.source.site if isinstance(source, SiteOutput) else None
            self.fusion.switch.fed.append((self.codes(x), site))

    def weight_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes that the circuit gets, int8 of the weight's shape, and scales, shape ``(out,)``."""
        codes, scale = self.meant_codes()
        return self._mapped(codes), scale

    def meant_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Codes nearest to the weight, before `weight_map`, and their scales."""
        weight = self.weight.detach()
        scale = weight_scale(weight, self.scales_of) * self.weight_factor
        return quantise(weight, scale.view(-1, *[1] * (weight.dim() - 1))), scale

    def calibrated_codes(self) -> tuple[torch.Tensor, torch.Tensor]:
        """`meant_codes` under the scales that represent each channel's largest weight."""
        weight = self.weight.detach()
        scale = weight_scale(weight, self.scales_of)
        return quantise(weight, scale.view(-1, *[1] * (weight.dim() - 1))), scale

    def _mapped(self, codes: torch.Tensor) -> torch.Tensor:
        return codes if self.weight_map is None else mapped_codes(codes, self.weight_map)

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


class EmulatedLinear(EmulatedWeightSite, nn.Linear):  # type: ignore[misc]
    """`torch.nn.Linear` through a multiplier.

    Args:
        source: the layer to emulate; its parameters are shared.
    """

    def __init__(self, source: nn.Linear) -> None:
        super().__init__(source.weight, source.bias)
        look_like_(self, source)

    def task(self) -> Task:
        """What this layer asks of a backend."""
        return Task(self.weight.device, self.in_features, self.out_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(…, in)`` → ``(…, out)``."""
        given, x = x, taken(x, self)
        if not is_codes(x, given) and self.observed(x):
            return F.linear(x, self.weight, self.bias)
        self.sync_scale_()
        if self.learns(x):
            return self.watched(self.learning(LinearProduct, x))
        self.fed(x, given)
        w_scale, operand = self.prepared()
        scaling, selection = self.scaling(w_scale), self.selection()
        shape = *x.shape[:-1], self.out_features
        # What does not fit is refused at once, not where its output is read.
        fuses = x.shape[-1:] == (self.in_features,) and self.fuses(shape)
        if not fuses and not is_codes(x, given):
            return self.watched(selection.linear(x, operand, scaling))
        emit = functools.partial(selection.emit_linear, self.codes(x), operand, scaling)
        if not fuses:
            return self.watched(values_of(emit))
        assert self.fusion is not None
        return self.fusion.output(self, emit, scaling, shape, is_channels_first=True)
