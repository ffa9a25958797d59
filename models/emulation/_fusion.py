"""What a site does for those that read its output, and when."""

import copy
import dataclasses
import math
import sys
from collections.abc import Callable
from typing import Any

import torch

from luts import Emitted, Epilogue, Scaling, isa
from models.emulation._site_output import Reader, Reads, SiteOutput, Source, site_output

Emit = Callable[[Epilogue], Emitted]

LEAST_ELEMENTS = 2**16
"""Of an output for which a stand-in pays: Python takes its time to make one, a few dozen
microseconds, in which the processor goes over so many floats."""

VECTORISED = ("amx", "avx512")
"""Kernels that emit codes as fast as sums. With the others it was measured not to pay."""


def least_elements() -> int:
    """Elements of an output from which giving codes pays on this processor."""
    return LEAST_ELEMENTS if isa() in VECTORISED else sys.maxsize


@dataclasses.dataclass
class Switch:
    """Whether the whole network is running, and not a layer by itself.

    Attributes:
        is_on: it is.
        fuses: codes go from site to site.
        least: elements of an output from which that pays.
        reads: while it is found out what reads what, every call of a site with what was seen to
            read its output.
        fed: while two ways to compute are compared, the codes that sites were fed, call by call,
            and the site whose output they were made of, if that made them.
        failed: what the network raised on what stands for a site's output, so that nothing fuses.
    """

    is_on: bool = False
    fuses: bool = True
    least: int = dataclasses.field(default_factory=least_elements)
    reads: list[tuple[Any, Reads]] | None = None
    fed: list[tuple[torch.Tensor, Any]] | None = None
    failed: str = ""


@dataclasses.dataclass(eq=False)
class Fusion:
    """What one site does for those that read its output.

    Attributes:
        switch: of the network.
        readers: sites that read codes.
        is_rectified: they do after a ReLU.
        pools: and a pooling.
        adds: something is added before.
        keeps_values: something else reads float32.
    """

    switch: Switch
    readers: tuple[Reader, ...] = ()
    is_rectified: bool = False
    pools: bool = False
    adds: bool = False
    keeps_values: bool = False

    def __str__(self) -> str:
        if not self.is_planned:
            return "float32"
        steps = ["sum"] * self.adds + ["ReLU"] * self.is_rectified + ["pooling"] * self.pools
        codes = ["codes"] * bool(self.readers)
        values = ["float32"] * (self.keeps_values or self.adds)
        after = f" after {', '.join(steps)}" if steps else ""
        return " and ".join(codes + values) + after

    def __deepcopy__(self, memo: dict[int, Any]) -> "Fusion":
        """Of a layer alone: without its readers, which are no part of it."""
        return Fusion(copy.deepcopy(self.switch, memo))

    @property
    def is_planned(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.readers) or self.adds

    def forget_(self) -> None:
        """Give float32 from now on."""
        self.readers, self.adds = (), False

    def is_at_work(self, shape: tuple[int, ...]) -> bool:
        """Whether codes of this shape may be given just now."""
        switch = self.switch
        if not (switch.is_on and switch.fuses) or torch.is_grad_enabled():
            return False
        if torch.is_autocast_enabled("cpu"):
            return False
        if switch.reads is not None:
            return True
        if not self.is_planned or math.prod(shape) < switch.least:
            return False
        return all(reader.takes_codes() for reader in self.readers)

    def output(
        self, site: Any, emit: Emit, scaling: Scaling, shape: Any, *, is_channels_first: bool
    ) -> SiteOutput:
        """What ``site`` gives, called just now.

        Args:
            site: whose fusion this is.
            emit: multiplies, and does what an epilogue says.
            scaling: of its sums.
            shape: of its output.
            is_channels_first: how its output lies in memory.
        """
        source = Source(site, emit, is_channels_first=is_channels_first)
        if self.switch.reads is not None:
            source.reads = Reads()
            self.switch.reads.append((site, source.reads))
        else:
            scales = self._scales(scaling)
            source.scale = scales[0] if scales else None
            source.is_rectified, source.pools = self.is_rectified, self.pools
            source.adds = self.adds
            # Those that read by another scale than the first are given float32.
            source.keeps_values = self.keeps_values or len(set(scales)) > 1
        return site_output(source, shape, scaling.factor.device)

    def _scales(self, scaling: Scaling) -> list[float]:
        """Values of one code of those that read; none if pooling might pool a NaN."""
        if self.pools and not _is_finite(scaling):
            return []
        for reader in self.readers:
            reader.sync_scale_()
        return [reader.x_scale.item() for reader in self.readers]


def _is_finite(scaling: Scaling) -> bool:
    total = scaling.factor.abs().sum()
    if scaling.offset is not None:
        total = total + scaling.offset.abs().sum()
    return bool(total.isfinite())


def taken(x: torch.Tensor, site: Any) -> torch.Tensor:
    """What ``site`` multiplies: codes, int8, where ``x`` stands for codes of its scale; else ``x``.

    Args:
        x: what it was called with.
        site: an emulated layer with weights.
    """
    if not isinstance(x, SiteOutput):
        return x
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or not site.takes_codes():
        return x.plain()
    site.sync_scale_()
    codes = x.codes_for(site)
    return x.value() if codes is None else codes


def is_codes(x: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether ``x`` is the codes that `taken` found in ``given``."""
    return x is not given and x.dtype == torch.int8


def values_of(emit: Emit) -> torch.Tensor:
    """The output itself."""
    values = emit(Epilogue()).values
    assert values is not None
    return values
