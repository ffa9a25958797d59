"""BatchNorm of inference, folded into the scale and the offset of the convolution before it.

An accelerator does the same: the sum of integers is scaled once. The sums are the same integers
either way; the two ways differ by float32 rounding alone. In training, while anything is observed,
where something else reads what the convolution gives, or when a layer is called by itself,
BatchNorm computes for itself.
"""

import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from luts import Scaling
from models.emulation._conv2d import EmulatedConv2d
from models.emulation._fusion import Switch
from models.networks import Inputs, every_expert_sees_everything


class FoldableBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` that passes on what the convolution before it has normalised."""

    switch: Switch

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` → the same shape."""
        normalised: weakref.ref[torch.Tensor] | None = self.__dict__.pop("_normalised", None)
        if normalised is not None and normalised() is input:
            return input
        return super().forward(input)

    def is_foldable(self) -> bool:
        """Whether it maps every channel linearly just now, and nobody watches its input."""
        if not self.switch.is_on or torch.is_grad_enabled():
            return False
        if self.training or self.running_mean is None:
            return False
        return not (self._forward_hooks or self._forward_pre_hooks)

    def folded(self, scaling: Scaling) -> Scaling:
        """``scaling`` followed by this."""
        mean, variance, weight, bias = self.running_mean, self.running_var, self.weight, self.bias
        assert mean is not None and variance is not None
        gain = (variance + self.eps).rsqrt_()
        if weight is not None:
            gain.mul_(weight.detach())
        offset = (-mean if scaling.offset is None else scaling.offset - mean).mul_(gain)
        if bias is not None:
            offset.add_(bias.detach())
        return Scaling(scaling.x, scaling.factor * gain, offset)

    def expect(self, normalised: torch.Tensor) -> torch.Tensor:
        """``normalised``, which the next forward passes on unchanged if it is given that tensor."""
        self.__dict__["_normalised"] = weakref.ref(normalised)  # it is no parameter or module
        return normalised


@torch.no_grad()
def fold_batchnorms_(network: nn.Module, inputs: Inputs) -> Switch:
    """Let each convolution whose output is read by one BatchNorm alone do that one's work.

    Args:
        network: with emulated layers.
        inputs: a few, to see what reads what.

    Returns:
        The switch that turns this on.
    """
    reads = _Reads()
    handles = [
        module.register_forward_hook(reads.gave)
        for module in network.modules()
        if isinstance(module, EmulatedConv2d)
    ]
    handles += [
        module.register_forward_pre_hook(reads.normalises, with_kwargs=True)
        for module in network.modules()
        if type(module) is nn.BatchNorm2d
    ]
    try:
        with reads, every_expert_sees_everything(network):
            inputs.call(network)
    finally:
        for handle in handles:
            handle.remove()
    switch = Switch()
    for layer, batchnorm in reads.pairs():
        batchnorm.__class__ = FoldableBatchNorm2d
        assert isinstance(batchnorm, FoldableBatchNorm2d)
        batchnorm.switch = switch
        layer.follower = (batchnorm,)
    return switch


class _Reads(TorchFunctionMode):
    """Inside, notes which tensors go from a convolution to a BatchNorm, and what else reads them.

    Tensors are kept, so that an identity names one tensor alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given: dict[int, tuple[EmulatedConv2d, torch.Tensor]] = {}
        self.readers: Counter[int] = Counter()
        self.normalised: dict[int, nn.Module] = {}
        self.other_inputs: set[nn.Module] = set()

    def gave(self, layer: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
        """A convolution's forward hook."""
        assert isinstance(layer, EmulatedConv2d)
        self.given[id(output)] = (layer, output)

    def normalises(self, batchnorm: nn.Module, args: Any, kwargs: Any) -> None:
        """A BatchNorm's hook before forward."""
        key = id((*args, *kwargs.values())[0])
        if key in self.given:
            self.normalised[key] = batchnorm
        else:
            self.other_inputs.add(batchnorm)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Count, and pass everything on; what gives no tensor (a shape, say) reads nothing."""
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, torch.Tensor) for leaf in tree_leaves(result)):
            for leaf in tree_leaves((args, kwargs)):
                self.readers[id(leaf)] += id(leaf) in self.given
        return result

    def pairs(self) -> list[tuple[EmulatedConv2d, nn.BatchNorm2d]]:
        """Convolutions and BatchNorms that have only each other."""
        followers: dict[EmulatedConv2d, set[nn.Module | None]] = {}
        for key, (layer, _) in self.given.items():
            alone = self.readers[key] == 1
            followers.setdefault(layer, set()).add(self.normalised.get(key) if alone else None)
        only = {layer: next(iter(b)) for layer, b in followers.items() if len(b) == 1}
        times = Counter(only.values())
        return [
            (layer, batchnorm)
            for layer, batchnorm in only.items()
            if isinstance(batchnorm, nn.BatchNorm2d)
            and times[batchnorm] == 1
            and batchnorm not in self.other_inputs
        ]
