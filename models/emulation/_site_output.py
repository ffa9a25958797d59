"""What a site gives while nothing but sites reads it: int8 codes that stand for float32.

A `SiteOutput` looks like the float32 tensor that it stands for. ReLU, max pooling and an addition
are noted, as codes are in the order of what they stand for; a site that it was made for takes its
codes; anything else gets the tensor itself, to the last bit, as it is computed then. It keeps the
codes that its site was fed, which nobody can change, so that this is always possible.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol

import torch

from luts import Emitted, Epilogue, max_pool
from models.emulation._lazy import Lazy, plain

aten: Any = torch.ops.aten


class Reader(Protocol):
    """A site, as far as one that it reads from knows it."""

    x_scale: torch.Tensor

    def takes_codes(self) -> bool:
        """Whether it can be given codes just now."""

    def sync_scale_(self) -> None:
        """Bring `x_scale` up to date."""


@dataclasses.dataclass(eq=False)
class Reads:
    """What was seen to read one output of a site.

    Attributes:
        sites: those that read it, in order, each with whether a ReLU, and whether a pooling, was
            done before.
        floats: something else read it, or it was added to something.
        sums: how often something was added.
        before_sums: how often it was read otherwise than to add something.
    """

    sites: list[tuple[Reader, bool, bool]] = dataclasses.field(default_factory=list)
    floats: bool = False
    sums: int = 0
    before_sums: int = 0

    def note(self, x: "SiteOutput", site: Reader | None) -> None:
        """``x`` was read, by ``site`` or by something that is none."""
        self.before_sums += not x.is_sum
        if site is None:
            self.floats = True
        else:
            pools = any(operation is not RELU for operation in x.operations)
            self.sites.append((site, x.is_rectified, pools))


@dataclasses.dataclass(eq=False)
class Source:
    """One call of a site.

    Attributes:
        site: who was called.
        emit: multiplies, and does what an epilogue says.
        scale: value of one code of its readers; None if there are none.
        is_rectified: its readers take codes after a ReLU.
        pools: codes may be pooled, as none stands for what is no number.
        adds: something is expected to be added.
        keeps_values: float32 is wanted too.
        is_channels_first: what it gives lies in memory with its channels first.
        reads: where it is noted what reads it; None unless that is to be found out.
    """

    site: Any
    emit: Callable[[Epilogue], Emitted]
    scale: float | None = None
    is_rectified: bool = False
    pools: bool = False
    adds: bool = False
    keeps_values: bool = False
    is_channels_first: bool = True
    reads: Reads | None = None

    def epilogue(self, added: torch.Tensor | None = None, *, rectifies: bool = False) -> Epilogue:
        """What is wanted of it."""
        # A sum could not be computed again: what was added belongs to the network.
        keeps = self.keeps_values or self.scale is None or added is not None
        return Epilogue(added, rectifies, self.scale, self.is_rectified, keeps)


@dataclasses.dataclass(frozen=True)
class Operation:
    """A ReLU or a pooling."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Of a tensor."""
        y: torch.Tensor = self.function(x, *self.arguments)
        return y


RELU = Operation(torch.relu)


class SiteOutput(Lazy):
    """See the module; made by `site_output`.

    Attributes:
        source: the call of the site.
        emitted: what that gave; None while it waits for something to be added.
        is_sum: something has been added.
        operations: what was done since.
        codes: after those operations.
    """

    source: Source
    emitted: Emitted | None = None
    is_sum: bool = False
    operations: tuple[Operation, ...] = ()
    codes: torch.Tensor | None = None
    _is_shared: bool = False

    @property
    def is_rectified(self) -> bool:
        """Whether a ReLU was among the operations."""
        return RELU in self.operations

    @property
    def is_pending(self) -> bool:
        """Whether nothing has been computed or done."""
        return self._plain is None and self.emitted is None and not self.operations

    def codes_for(self, site: Reader) -> torch.Tensor | None:
        """Codes for ``site``; None where there are none of its scale."""
        reads = self.source.reads
        if reads is not None:
            reads.note(self, site)
            return None
        if self.codes is None or self.is_rectified != self.source.is_rectified:
            return None
        return self.codes if self.source.scale == site.x_scale.item() else None

    def value(self) -> torch.Tensor:
        """The tensor itself, for a site."""
        return super().plain()

    def plain(self) -> torch.Tensor:
        """The tensor itself."""
        if self.source.reads is not None:
            self.source.reads.note(self, None)
        return super().plain()

    def _compute(self) -> torch.Tensor:
        values = None if self.emitted is None else self.emitted.values
        is_fresh = values is None
        if values is None:
            assert not self.is_sum
            values = self.source.emit(Epilogue()).values
        assert values is not None
        if self.source.is_channels_first and not values.is_contiguous():
            values, is_fresh = values.contiguous(), True
        for operation in self.operations:
            values, is_fresh = operation(values), True
        self.emitted = self.codes = None
        return values.clone() if self._is_shared and not is_fresh else values

    def after(self, operation: Operation, shape: Any, codes: torch.Tensor | None) -> "SiteOutput":
        """What ``operation`` makes of it."""
        self._is_shared = True
        made = _new(self.source, shape, self.device)
        made.emitted, made.is_sum, made.codes = self.emitted, self.is_sum, codes
        made.operations = (*self.operations, operation)
        return made

    def rectified_in_place(self) -> "SiteOutput":
        """Itself after a ReLU."""
        self.operations = (*self.operations, RELU)
        return self

    def plus(self, added: torch.Tensor) -> "SiteOutput":
        """The sum, computed now: what is added may change later."""
        if isinstance(added, SiteOutput):
            values, rectifies = added.values_to_add()
            if values is not None:
                return self._plus(values, rectifies=rectifies)
        return self._plus(plain(added), rectifies=False)

    def values_to_add(self) -> tuple[torch.Tensor | None, bool]:
        """Its float32 if that is at hand, and whether a ReLU is still to be done."""
        reads = self.source.reads
        is_at_hand = self._plain is None and self.emitted is not None
        if not is_at_hand or self.operations not in ((), (RELU,)):
            return None, False
        if reads is not None:
            reads.note(self, None)
        assert self.emitted is not None
        return self.emitted.values, bool(self.operations)

    def _plus(self, added: torch.Tensor, *, rectifies: bool) -> "SiteOutput":
        # It keeps no codes that its site was fed, as it will not be computed again.
        source = copy.copy(self.source)
        source.emit = _never
        made = _new(source, self.shape, self.device)
        made.is_sum = True
        made.emitted = self.source.emit(self.source.epilogue(added, rectifies=rectifies))
        made.codes = made.emitted.codes
        if self.source.reads is not None:
            self.source.reads.sums += 1
        return made

    def become(self, other: "SiteOutput") -> "SiteOutput":
        """Itself, standing for what ``other`` does."""
        self.source, self.is_sum = other.source, other.is_sum
        self.emitted, self.codes = other.emitted, other.codes
        return self


def _never(epilogue: Epilogue) -> Emitted:
    raise AssertionError("a sum keeps its values")


def _new(source: Source, shape: Any, device: torch.device) -> SiteOutput:
    strides = _strides(shape, is_channels_first=source.is_channels_first)
    made: SiteOutput = SiteOutput.of(shape, strides, torch.float32, device)
    made.source = source
    return made


def _strides(shape: Any, *, is_channels_first: bool) -> tuple[int, ...]:
    if len(shape) == 4 and not is_channels_first:
        _, c, h, w = shape
        return h * w * c, 1, w * c, c
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * max(1, size))
    return tuple(reversed(strides))


def site_output(source: Source, shape: Any, device: torch.device) -> SiteOutput:
    """The output of a site that was called just now.

    Args:
        source: the call.
        shape: of the output.
        device: of the output.
    """
    made = _new(source, shape, device)
    if source.reads is None and not source.adds:
        made.emitted = source.emit(source.epilogue())
        made.codes = made.emitted.codes
    return made


def _is_open(x: Any) -> bool:
    """Whether something can still be noted."""
    if not isinstance(x, SiteOutput) or x._plain is not None:
        return False
    return x.emitted is not None or x.source.reads is not None


def _relu(x: Any) -> Any:
    return x.after(RELU, x.shape, x.codes) if _is_open(x) else NotImplemented


def _relu_(x: Any) -> Any:
    return x.rectified_in_place() if _is_open(x) else NotImplemented


def _max_pool(
    x: Any,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
) -> Any:
    """Codes are pooled at once."""
    sizes = [_pair(n) for n in (kernel, stride or kernel, padding, dilation)]
    if not _is_open(x) or x.dim() != 4 or sizes[3] != (1, 1):
        return NotImplemented
    arguments = (*sizes, ceil_mode)
    pooling = Operation(torch.max_pool2d, arguments)
    if x.codes is not None and x.source.pools:
        codes = max_pool(x.codes, *sizes, ceil_mode=ceil_mode)
        return x.after(pooling, codes.shape, codes)
    if x.source.reads is None:
        return NotImplemented
    shape = pooling(torch.empty(x.shape, device="meta")).shape
    return x.after(pooling, shape, None)


def _max_pool_with_indices(x: Any, *args: Any, **kwargs: Any) -> Any:
    pooled = _max_pool(x, *args, **kwargs)
    if pooled is NotImplemented:
        return pooled
    indices: Lazy = Lazy.of(pooled.shape, pooled.stride(), torch.int64, x.device)
    indices._compute = lambda: aten.max_pool2d_with_indices(x.plain(), *args, **kwargs)[1]  # type: ignore[method-assign]
    return pooled, indices


def _pair(value: Any) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def _add(x: Any, y: Any, *, alpha: Any = 1) -> Any:
    for one, other in ((x, y), (y, x)):
        if alpha == 1 and _can_add(one, other):
            return one.plus(other)
    return NotImplemented


def _add_(x: Any, y: Any, *, alpha: Any = 1) -> Any:
    if alpha == 1 and _can_add(x, y):
        return x.become(x.plus(y))
    return NotImplemented


def _can_add(x: Any, y: Any) -> bool:
    if not isinstance(x, SiteOutput) or not x.is_pending:
        return False
    if type(y) not in (torch.Tensor, torch.nn.Parameter, SiteOutput):
        return False
    is_alike = x.shape == y.shape and y.dtype == torch.float32 and x.device == y.device
    return is_alike and x is not y and y.layout == torch.strided and not y.requires_grad


def _dropout(x: Any, p: Any, train: Any) -> Any:
    return NotImplemented if train else x


SiteOutput.known = {
    aten.relu.default: _relu,
    aten.relu_.default: _relu_,
    aten.max_pool2d.default: _max_pool,
    aten.max_pool2d_with_indices.default: _max_pool_with_indices,
    aten.add.Tensor: _add,
    aten.add_.Tensor: _add_,
    aten.dropout.default: _dropout,
}
