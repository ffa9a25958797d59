"""Finding out what reads what a site gives, and proving that codes can go there.

The network runs once to see who reads each site's output, after what. It then runs as it did and
with codes between its sites: every code that a site is fed, and every output, must be the same in
every bit. What differs is not fused, and a network that cannot run so is left as it is.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from models.emulation._fusion import Fusion, Switch
from models.emulation._layers import EmulatedLinear, EmulatedWeightSite
from models.emulation._lazy import plain_leaves
from models.emulation._site_output import Reads
from models.networks import Inputs, every_expert_sees_everything

Fed = list[tuple[torch.Tensor, Any]]


@torch.no_grad()
def fuse_(network: nn.Module, inputs: Inputs, switch: Switch) -> None:
    """Let sites give codes where sites alone read them.

    Args:
        network: with emulated layers.
        inputs: a few, to see what reads what and to compare with.
        switch: that of the network.
    """
    layers = [m for m in network.modules() if isinstance(m, EmulatedWeightSite)]
    for layer in layers:
        layer.fusion = Fusion(switch)
    least, switch.least = switch.least, 0
    try:
        seen = _seen(network, inputs, switch)
        for layer in layers:
            layer.fusion = _planned(layer, seen.get(layer, []), switch)
        _prove_(network, inputs, switch, layers)
    except Exception as error:  # a network's own forward may raise anything
        # It does with its tensors what those that stand for others do not know.
        switch.failed = f"{type(error).__name__}: {error}".splitlines()[0]
        for layer in layers:
            layer.fusion = Fusion(switch)
    finally:
        switch.reads = switch.fed = None
        switch.is_on, switch.fuses, switch.least = False, True, least


def _seen(
    network: nn.Module, inputs: Inputs, switch: Switch
) -> dict[EmulatedWeightSite, list[Reads]]:
    """What was seen to read each call of each site."""
    switch.reads = []
    with every_expert_sees_everything(network):
        _outputs(network, inputs, switch)
    seen: dict[EmulatedWeightSite, list[Reads]] = {}
    for layer, reads in switch.reads:
        seen.setdefault(layer, []).append(reads)
    switch.reads = None
    return seen


def _planned(layer: EmulatedWeightSite, calls: Sequence[Reads], switch: Switch) -> Fusion:
    """What ``layer`` does from now on; only what suits all its calls."""
    plans = {_plan(reads) for reads in calls if reads.sums or reads.before_sums}
    if len(plans) != 1:
        return Fusion(switch)
    ((readers, is_rectified, pools, adds),) = plans
    if is_rectified is None or (isinstance(layer, EmulatedLinear) and not readers):
        return Fusion(switch)
    keeps = any(reads.floats for reads in calls)
    return Fusion(switch, readers, is_rectified, pools, adds, keeps)


def _plan(reads: Reads) -> tuple[Any, bool | None, bool, bool]:
    """Sites that read; whether after a ReLU, None if some do; whether pooled; whether summed."""
    readers = tuple(dict.fromkeys(site for site, _, _ in reads.sites))
    rectified = {is_rectified for _, is_rectified, _ in reads.sites} or {False}
    pools = any(pools for _, _, pools in reads.sites)
    is_clear = len(rectified) == 1 and reads.sums <= 1
    is_clear &= not (reads.sums and (reads.before_sums or pools))
    return readers, next(iter(rectified)) if is_clear else None, pools, bool(reads.sums)


def _prove_(
    network: nn.Module, inputs: Inputs, switch: Switch, layers: Sequence[EmulatedWeightSite]
) -> None:
    """Take back what changes a bit anywhere."""
    switch.fuses = False
    expected = _compared(network, inputs, switch)
    switch.fuses = True
    while any(layer.fusion is not None and layer.fusion.is_planned for layer in layers):
        guilty = _first_difference(expected, _compared(network, inputs, switch))
        if guilty is None:
            return
        for layer in layers if guilty == "unknown" else [guilty]:
            assert layer.fusion is not None
            layer.fusion.forget_()


def _compared(network: nn.Module, inputs: Inputs, switch: Switch) -> tuple[Fed, list[torch.Tensor]]:
    """Codes that sites were fed, and outputs."""
    switch.fed = []
    outputs = _outputs(network, inputs, switch)
    fed, switch.fed = switch.fed, None
    return fed, outputs


def _outputs(network: nn.Module, inputs: Inputs, switch: Switch) -> list[torch.Tensor]:
    switch.is_on = True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        outputs = plain_leaves(inputs.call(network))
    switch.is_on = False
    return [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def _first_difference(
    expected: tuple[Fed, list[torch.Tensor]], got: tuple[Fed, list[torch.Tensor]]
) -> Any:
    """The site whose output was wrong; "unknown" if that cannot be said; None if all are equal."""
    for one, other in itertools.zip_longest(expected[0], got[0]):
        if one is None or other is None:
            return "unknown"
        if not _same(one[0], other[0]):
            return other[1] or "unknown"
    if len(expected[1]) != len(got[1]):
        return "unknown"
    same = all(_same(x, y) for x, y in zip(expected[1], got[1], strict=True))
    return None if same else "unknown"


def _same(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two tensors are equal in every bit."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if not x.is_floating_point():
        return torch.equal(x, y)
    nan = x.isnan()
    same = torch.equal(nan, y.isnan()) and torch.equal(x.masked_fill(nan, 0), y.masked_fill(nan, 0))
    return same and torch.equal(x.signbit() & ~nan, y.signbit() & ~nan)
