"""timm's layers as the plain layers that compute the same.

`timm.layers.Linear` differs from PyTorch's under TorchScript alone; ``Conv2dSame`` pads by the size
of its input; ``StdConv2d`` and its kin standardise their weight at every call (Qiao et al., arXiv
1903.10520; Brock et al., arXiv 2101.08692), and the hardware holds the weight that comes out.
"""

import sys
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from models.networks._timm import timm

Kind = TypeVar("Kind", bound=nn.Module)


class SameConv2d(nn.Conv2d):
    """`torch.nn.Conv2d` behind TensorFlow's "same" padding, which depends on the input's size."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` → ``(B, out, ⌈H / stride⌉, ⌈W / stride⌉)``."""
        return super().forward(pad_same(input, self))


def pad_same(x: torch.Tensor, layer: Any) -> torch.Tensor:
    """``x`` with the zeros that ``layer`` needs around it.

    Args:
        x: shape ``(…, H, W)``.
        layer: says its ``kernel_size``, ``stride`` and ``dilation``.
    """
    padded: torch.Tensor = timm().layers.pad_same(
        x, layer.kernel_size, layer.stride, layer.dilation
    )
    return padded


def is_layer(module: nn.Module) -> bool:
    """Whether ``module`` is a linear layer or a convolution and computes as such."""
    return is_plain(module, nn.Linear, nn.Conv2d, SameConv2d)


def is_plain(module: nn.Module, *kinds: type[Kind]) -> TypeGuard[Kind]:
    """Whether ``module`` is of one of ``kinds`` and computes as that kind does."""
    if "forward" in vars(module):  # somebody's own, put there at run time
        return False
    return any(
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and getattr(type(module), "_conv_forward", None) is getattr(kind, "_conv_forward", None)
        for kind in kinds
    )


def linear_of(weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    """A linear layer with copies of ``weight``, ``(out, in)``, and ``bias``, ``(out,)``."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.detach().clone(), requires_grad=weight.requires_grad)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return made


def look_like_(layer: nn.Module, source: nn.Module) -> None:
    """Give ``layer`` whatever ``source`` has beside its own parameters and hooks."""
    inner = vars(nn.Module())
    for name, value in vars(source).items():
        if name not in inner and name not in vars(layer):
            setattr(layer, name, value)
    for kind in ("_parameters", "_buffers", "_modules"):
        held = vars(layer)[kind]
        held.update({k: v for k, v in vars(source)[kind].items() if not hasattr(layer, k)})


def move_hooks_(source: nn.Module, layer: nn.Module) -> None:
    """Let ``layer`` call the hooks of ``source`` around its forward and backward."""
    for name, value in vars(source).items():
        if "_hooks" in name and name in vars(layer):
            getattr(layer, name).update(value)


def has_channels_last(x: torch.Tensor) -> bool:
    """Whether an image lies in memory with its channels last, and could not be read otherwise."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    return last and not x.is_contiguous()


def make_plain_(module: nn.Module) -> None:
    """Turn a layer of timm into `nn.Linear`, `nn.Conv2d` or `SameConv2d`; leave others alone."""
    layers = sys.modules.get("timm.layers")
    if layers is None:  # then nobody has a layer of timm
        return
    standardised = (layers.StdConv2d, layers.StdConv2dSame)
    scaled = (layers.ScaledStdConv2d, layers.ScaledStdConv2dSame)
    if is_plain(module, layers.Linear):
        module.__class__ = nn.Linear
    elif is_plain(module, layers.Conv2dSame):
        module.__class__ = SameConv2d
    elif is_plain(module, *standardised, *scaled):
        assert isinstance(module, nn.Conv2d)
        learns = module.weight.requires_grad
        module.weight = nn.Parameter(_convolved_with(module), requires_grad=learns)
        module.__class__ = SameConv2d if getattr(module, "same_pad", False) else nn.Conv2d


@torch.no_grad()
def _convolved_with(layer: nn.Conv2d) -> torch.Tensor:
    """The weight that forward convolves with, whatever it makes it from."""
    kernel = zip(layer.kernel_size, layer.dilation, strict=True)
    size = [dilation * (taps - 1) + 1 for taps, dilation in kernel]
    seen = _Convolution()
    with seen:
        layer.forward(layer.weight.new_zeros(1, layer.in_channels, *size))
    return seen.weight


class _Convolution(TorchFunctionMode):
    """Inside, keeps the weight of the latest convolution."""

    weight: torch.Tensor

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Look, and pass everything on."""
        if func is F.conv2d:
            self.weight = args[1]
        return func(*args, **(kwargs or {}))
