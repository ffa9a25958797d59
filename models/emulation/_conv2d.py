"""A convolution through a multiplier."""

import functools
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import nn

from luts import Geometry, Scaling, Task
from models.emulation._fusion import is_codes, taken, values_of
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
        self._task: tuple[Any, Task] | None = None

    def task(self) -> Task:
        """What this layer asks of a backend."""
        weight = self.weight
        sizes = self.kernel_size, self.stride, self.edge, self.dilation, self.groups
        key = weight.device, self.in_channels, weight.shape[0], *sizes
        if self._task is None or self._task[0] != key:
            pairs = _pair(self.kernel_size), _pair(self.stride), self.edge, _pair(self.dilation)
            self._task = key, Task(*key[:3], Geometry(*pairs, self.groups))
        return self._task[1]

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

    def takes_codes(self) -> bool:
        """Whether it can be given codes just now, and nobody would see them."""
        return super().takes_codes() and not self.pads_same and not any(self.pads)

    def _convolved(self, x: torch.Tensor, *, folds: bool) -> torch.Tensor:
        given, x = x, taken(x, self)
        fed_codes = is_codes(x, given)
        if not fed_codes:
            given = x = self.unevenly_padded(x)
        if not fed_codes and self.observed(x):
            rest = (self.stride, self.edge, self.dilation, self.groups)
            return F.conv2d(x, self.weight, self.bias, *rest)
        self.sync_scale_()
        if self.learns(x):
            return self._formatted(x, self.watched(self.learning(ConvProduct, x)))
        self.fed(x, given)
        w_scale, operand = self.prepared()
        scaling, follower = self.scaling(w_scale), None
        if folds and self.watcher is None and not self._forward_hooks and self.follower is not None:
            (follower,) = self.follower
            if not follower.is_foldable():
                # What follows is not what was seen when it was found out who reads this.
                follower, folds = None, False
        if follower is not None:
            scaling = follower.folded(scaling)
        y = self._scaled(x, given, operand, scaling, fuses=folds)
        return y if follower is None else follower.expect(y)

    def _scaled(
        self, x: torch.Tensor, given: torch.Tensor, operand: Any, scaling: Scaling, *, fuses: bool
    ) -> torch.Tensor:
        selection = self.selection()
        shape: tuple[int, ...] = ()
        if fuses and x.dim() == 4 and x.shape[1] == self.in_channels:
            size = selection.task.geometry.out_size(*x.shape[2:])
            shape = x.shape[0], selection.task.out_channels, *size
        # What does not fit is refused at once, not where its output is read.
        fuses = min(shape, default=0) > 0 and self.fuses(shape)
        if not fuses and not is_codes(x, given):
            return self._formatted(x, self.watched(selection.convolve(x, operand, scaling)))
        emit = functools.partial(selection.emit_convolved, self.codes(x), operand, scaling)
        if not fuses:
            return self._formatted(given, self.watched(values_of(emit)))
        first = self.keeps_format and not has_channels_last(given)
        assert self.fusion is not None
        return self.fusion.output(self, emit, scaling, shape, is_channels_first=first)

    def _formatted(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return y if not self.keeps_format or has_channels_last(x) else y.contiguous()


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    rows, columns = values
    return rows, columns
