"""Products that a module calls as functions, as layers of that module.

``F.linear(x, self.qkv.weight)``, ``x @ self.weight``, ``q @ k.transpose(-2, -1)``: each is a site
of the module that calls it, named by the function and by the order of the calls: ``matmul_0``,
``matmul_1``. What comes from parameters and buffers alone is a weight, with a scale for every
output channel, and is held by the site as the hardware would; any other operand is an activation.
"""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from luts.errors import InputError
from models.emulation._canonical import READERS, Convolution, Matrices, Restore
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._layers import EmulatedLinear, EmulatedSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._site import SiteKind

Call = Matrices | Convolution
Held = Literal["first", "second"] | None
"""Which operand is a weight."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A call as a layer computes it.

    Attributes:
        kind: what its site is.
        x: the layer's first operand.
        y: its weight, ``(N, K)`` or ``(out, C / groups, kernel_h, kernel_w)``, or second operand.
        bias: of the layer, or None.
        restore: what was asked for, of the layer's output.
        geometry: stride, dilation and groups of a convolution.
        seen: operands that are activations, as they are observed.
    """

    kind: SiteKind
    x: torch.Tensor
    y: torch.Tensor
    bias: torch.Tensor | None
    restore: Restore
    geometry: tuple[tuple[int, int], tuple[int, int], int] | None
    seen: tuple[torch.Tensor, ...]


def form_of(call: Call, held: Held, *, holds_bias: bool) -> Form:
    """How a layer computes ``call``.

    Args:
        call: what is asked for.
        held: which operand is a weight.
        holds_bias: the bias is the layer's, not added afterwards.
    """
    bias = call.bias
    if bias is not None and not (holds_bias and held == "second"):
        call, bias = _adding(call, bias), None
    if isinstance(call, Convolution):
        geometry = call.stride, call.dilation, call.groups
        if held == "second":
            seen = call.operands[:1]
            return Form("conv", call.x, call.weight, bias, call.restore, geometry, seen)
        return _unfolded(call)
    if held is not None:
        form = _weighted(call if held == "second" else call.transposed(), bias)
        if form is not None:
            return form
    return Form("matmul", call.x, call.y, None, call.restore, None, (call.x, call.y))


def _adding(call: Call, bias: torch.Tensor) -> Call:
    restore = call.restore
    shape = (-1, 1, 1) if isinstance(call, Convolution) else (-1,)
    added: Callable[[torch.Tensor], torch.Tensor] = lambda z: restore(z + bias.view(shape))  # noqa: E731
    return dataclasses.replace(call, restore=added, bias=None)


def _weighted(call: Matrices, bias: torch.Tensor | None) -> Form | None:
    """A product whose second operand is a weight, or None if it is no layer."""
    x, w = call.x, call.y.transpose(-1, -2)
    while w.dim() > 2 and w.shape[0] == 1 and x.dim() >= w.dim():
        w = w[0]
    if w.dim() == 2:
        given = call.operands[1]
        w = given if isinstance(given, nn.Parameter) and _is_view(w, given) else w
        return Form("linear", x, w, bias, call.restore, None, (x,))
    if x.dim() < w.dim():
        x = x.expand(*w.shape[: w.dim() - x.dim()], *x.shape)
    if x.shape[-w.dim() : -2] != w.shape[:-2]:
        return None
    # One weight for each of several groups: a convolution of one pixel.
    rows, columns = x.shape[-2], w.shape[-2]
    groups = w.shape[:-2].numel()
    image = x.reshape(-1, groups, rows, x.shape[-1]).transpose(2, 3).flatten(1, 2).unsqueeze(-1)
    shape = (*x.shape[:-1], columns)

    def restore(z: torch.Tensor) -> torch.Tensor:
        z = z.reshape(len(z), groups, columns, rows).transpose(2, 3)
        return call.restore(z.reshape(shape))

    kernel = w.reshape(-1, w.shape[-1], 1, 1)
    return Form("linear", image, kernel, None, restore, ((1, 1), (1, 1), groups), (x,))


def _is_view(w: torch.Tensor, given: torch.Tensor) -> bool:
    return w.shape == given.shape and w.stride() == given.stride()


def _unfolded(call: Convolution) -> Form:
    """A convolution of two activations as a product of matrices."""
    kernel = call.weight.shape[2:]
    columns = F.unfold(call.x, kernel, call.dilation, 0, call.stride)
    fan_in = call.weight[0].numel()
    rows = columns.view(len(columns), call.groups, fan_in, -1).transpose(-1, -2)
    weight = call.weight.reshape(call.groups, -1, fan_in).transpose(-1, -2)
    sizes = [
        (n - d * (k - 1) - 1) // s + 1
        for n, k, d, s in zip(call.x.shape[2:], kernel, call.dilation, call.stride, strict=True)
    ]

    def restore(z: torch.Tensor) -> torch.Tensor:
        z = z.transpose(-1, -2).flatten(1, 2)
        return call.restore(z.view(*z.shape[:2], *sizes))

    return Form("matmul", rows, weight, None, restore, None, call.operands)


@dataclasses.dataclass(eq=False)
class Product:
    """One product that a module calls.

    Attributes:
        name: under which the module holds its layer.
        held: which operand is a weight.
        holds_bias: the bias is constant too.
        weight: the weight that was seen first, or None.
        layer: what computes it once the network is emulated.
        shape: of the layer's weight.
    """

    name: str
    held: Held
    holds_bias: bool
    weight: torch.Tensor | None = None
    layer: EmulatedSite | None = None
    shape: tuple[int, ...] = ()

    def form(self, call: Call) -> Form:
        """How its layer computes ``call``."""
        return form_of(call, self.held, holds_bias=self.holds_bias)

    def made_of(self, form: Form) -> EmulatedSite:
        """The layer that computes calls of this form."""
        if form.kind == "matmul":
            return EmulatedMatmul("matmul")
        self.shape = tuple(form.y.shape)
        source: nn.Linear | nn.Conv2d
        if form.geometry is None:
            source = nn.Linear(form.y.shape[1], form.y.shape[0], device="meta")
            source.weight, source.bias = _parameter(form.y), _bias(form.bias)
            return EmulatedLinear(source)
        stride, dilation, groups = form.geometry
        out, part, *kernel = form.y.shape
        source = nn.Conv2d(
            *(part * groups, out, (kernel[0], kernel[1]), stride, 0, dilation, groups),
            device="meta",
        )
        source.weight, source.bias = _parameter(form.y), _bias(form.bias)
        layer = EmulatedConv2d(source)
        layer.keeps_format = True
        return layer

    def compute(self, call: Call) -> torch.Tensor:
        """What was asked for, by the layer."""
        form = self.form(call)
        if isinstance(self.layer, EmulatedMatmul):
            return form.restore(self.layer(form.x, form.y))
        assert self.layer is not None
        if tuple(form.y.shape) != self.shape:
            raise InputError(
                f"{self.name} multiplies by a weight of shape {tuple(form.y.shape)}, but in "
                f"calibration by one of {self.shape}: calibrate with inputs of "
                f"every kind"
            )
        return form.restore(self.layer(form.x))


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    if isinstance(tensor, nn.Parameter):
        return tensor
    return nn.Parameter(tensor.detach().clone())


def _bias(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else _parameter(tensor)


def read(func: Any, args: Any, kwargs: Any) -> Call | None:
    """The call of a function of `READERS`; None if it multiplies nothing that a circuit would."""
    _, reader, names = READERS[func]
    kwargs = dict(kwargs)
    if kwargs.pop("out", None) is not None:
        return None
    named = [kwargs.pop(name) for name in names[len(args) :] if name in kwargs]
    try:
        call = reader(*args, *named, **kwargs)
    except (TypeError, ArithmeticError):  # an option that is not known here: counted, and no site
        return None
    if call is None or not all(tensor.is_floating_point() for tensor in call.operands):
        return None
    fan_in = call.x.shape[-1] if isinstance(call, Matrices) else call.weight[0].numel()
    return call if fan_in > 1 and call.x.numel() else None


def macs_of(call: Call, output: torch.Tensor) -> int:
    """Multiply-accumulates of a call, without those of zeros that stand between pixels."""
    if isinstance(call, Matrices):
        x, y = call.x[..., :1, 0], call.y[..., :1, 0]
        matrices = torch.broadcast_tensors(x, y)[0].numel()  # type: ignore[no-untyped-call]
        return int(matrices) * call.x.shape[-2] * call.x.shape[-1] * call.y.shape[-1]
    if call.is_transposed:
        return call.operands[0].numel() * call.operands[1][0].numel()
    return output.numel() * call.weight[0].numel()


def is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two weights are equal; quick for views of one memory."""
    if one.shape != other.shape:
        return False
    if one.data_ptr() == other.data_ptr() and one.stride() == other.stride():
        return True
    return torch.equal(one, other)


Calls = dict[tuple[str, int], Product | None]
"""What a module calls, by function and number of the call; None for what stays as it is."""


@dataclasses.dataclass
class _Frame:
    """One call of a module.

    Attributes:
        modes: what intercepts its calls.
        calls: so far, by name of the function.
        pauses: modules inside that are at work.
    """

    modes: contextlib.ExitStack
    calls: Counter[str] = dataclasses.field(default_factory=Counter)
    pauses: int = 0


_MULTIPLY_NOTHING = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GELU, nn.ReLU, nn.Dropout)
"""Modules that call no product; with hooks, BatchNorm is not folded."""


class Functions:
    """What a module calls, each computed by a layer.

    Args:
        owner: name of the module.
        products: what it was seen to call.
    """

    def __init__(self, owner: str, products: Calls) -> None:
        self.owner = owner
        self.products = products
        self._frames: list[_Frame] = []

    def attach_(self, owner: nn.Module) -> None:
        """Make ``owner`` compute its products here, by hooks around its forward."""
        inside = [module for module in owner.modules() if module is not owner]
        for product in self.products.values():
            if product is not None:
                assert product.layer is not None
                product.weight = None  # the layer has it
                owner.add_module(product.name, product.layer)
        owner.register_forward_pre_hook(self._enter)
        owner.register_forward_hook(self._leave, always_call=True)
        for module in inside:
            if isinstance(module, EmulatedSite):
                module.guards = (*module.guards, self.paused)
            elif not isinstance(module, _MULTIPLY_NOTHING):
                module.register_forward_pre_hook(self._pause)
                module.register_forward_hook(self._resume, always_call=True)

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        frame = _Frame(contextlib.ExitStack())
        frame.modes.enter_context(Interceptor(self._divert))
        self._frames.append(frame)

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self._frames.pop().modes.close()

    def _pause(self, module: nn.Module, inputs: Any) -> None:
        if self._frames:
            self._frames[-1].pauses += 1

    def _resume(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._frames:
            self._frames[-1].pauses -= 1

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Inside, products are those of another module."""
        frame = self._frames[-1] if self._frames else None
        if frame is None:
            yield
            return
        frame.pauses += 1
        try:
            yield
        finally:
            frame.pauses -= 1

    def _divert(self, func: Any, args: Any, kwargs: Any) -> Any:
        frame = self._frames[-1]
        if func not in READERS or frame.pauses:
            return func(*args, **kwargs)
        name = READERS[func][0]
        key = name, frame.calls[name]
        frame.calls[name] += 1
        call = read(func, args, kwargs)
        if call is None:
            return func(*args, **kwargs)
        if key not in self.products:
            if torch.is_grad_enabled():  # what is there for training alone
                return func(*args, **kwargs)
            raise InputError(
                f"{self.owner or 'the network'} calls {name} more often than with any calibration "
                f"input, so that there is no scale: calibrate with inputs that do"
            )
        product = self.products[key]
        return func(*args, **kwargs) if product is None else product.compute(call)


class Interceptor(TorchFunctionMode):
    """Inside, every function of PyTorch goes to ``handler(func, args, kwargs)``."""

    def __init__(self, handler: Callable[[Any, Any, Any], Any]) -> None:
        super().__init__()
        self.handler = handler

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Hand over."""
        return self.handler(func, args, kwargs or {})
