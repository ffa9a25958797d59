"""A convolution through a multiplier."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn

from luts import Geometry, Scaling, Task
from models.emulation._layers import EmulatedWeightSite
from models.emulation._plain import SameConv2d, has_channels_last, look_like_, pad_same
from models.emulation._products import ConvProduct


class Follower(Protocol):
    """A channel-wise linear map that a layer's scale and offset can include."""

    def is_foldable(self) -> bool:
        """Whether it is such a map just now."""

    def folded(self, scaling: Scaling) -> Scaling:
        """``scaling`` followed by the map."""

    def expect(self, normalised: torch.Tensor) -> torch.Tensor:
        """Take note that ``normalised`` has been mapped already; it is given back."""


class EmulatedConv2d(EmulatedWeightSite, nn.Conv2d):
    """`torch.nn.Conv2d` through a multiplier; a zero of the padding is an operand like any other.

    Attributes:
        keeps_format: give what PyTorch gives, with channels first unless the input has them last;
            else with channels last, which the kernels are quicker with.
        follower: the BatchNorm that alone reads this output, whose work can be done here; in a
            tuple, so that it is not a submodule.

    Args:
        source: the layer to emulate; its parameters are shared.
    """

    channel_dim = -3

    def __init__(self, source: nn.Conv2d) -> None:
        super().__init__(source.weight, source.bias)
        look_like_(self, source)
        # As torch.nn.functional.pad wants it: left, right, top, bottom.
        left, right, top, bottom = source._reversed_padding_repeated_twice
        even = self.padding_mode == "zeros" and left == right and top == bottom
        self.edge = (top, left) if even else (0, 0)
        self.pads = (0, 0, 0, 0) if even else (left, right, top, bottom)
        self.pads_same = isinstance(source, SameConv2d)
        self.keeps_format = False
        self.follower: tuple[Follower] | None = None

    def task(self) -> Task:
        """What this layer asks of a backend."""
        sizes = _pair(self.kernel_size), _pair(self.stride), self.edge, _pair(self.dilation)
        geometry = Geometry(*sizes, self.groups)
        return Task(self.weight.device, self.in_channels, len(self.weight), geometry)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` → ``(B, out, H', W')``, or one item without B."""
        if x.dim() == 3:
            return self._convolved(x.unsqueeze(0), folds=False).squeeze(0)
        return self._convolved(x, folds=True)

    def padded(self, x: torch.Tensor) -> torch.Tensor:
        """``(B, C, H, W)`` with all that pads it, or one item without B as a batch of one."""
        rows, columns = self.edge
        x = self.unevenly_padded(x.unsqueeze(0) if x.dim() == 3 else x)
        return F.pad(x, (columns, columns, rows, rows))

    def unevenly_padded(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` with the padding that no backend does."""
        if self.pads_same:
            return pad_same(x, self)
        if not any(self.pads):
            return x
        mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
        return F.pad(x, self.pads, mode=mode)

    def _convolved(self, x: torch.Tensor, *, folds: bool) -> torch.Tensor:
        x = self.unevenly_padded(x)
        if self.observed(x):
            rest = (self.stride, self.edge, self.dilation, self.groups)
            return F.conv2d(x, self.weight, self.bias, *rest)
        self.sync_scale_()
        if self.learns(x):
            return self._formatted(x, self.watched(self.learning(ConvProduct, x)))
        w_scale, operand = self.prepared()
        scaling = self.scaling(w_scale)
        folds = folds and self.watcher is None and not self._forward_hooks
        if folds and self.follower is not None:
            (follower,) = self.follower
            if follower.is_foldable():
                y = self.selection().convolve(x, operand, follower.folded(scaling))
                return follower.expect(self._formatted(x, y))
        return self._formatted(x, self.watched(self.selection().convolve(x, operand, scaling)))

    def _formatted(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y if not self.keeps_format or has_channels_last(x) else y.contiguous()


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns
