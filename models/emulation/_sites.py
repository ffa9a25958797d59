"""Where in a network a multiplier can be chosen."""

import dataclasses
import math
import warnings
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from luts.errors import InputError
from models.emulation._calibrate import Calibration
from models.emulation._drop_in import check_network
from models.emulation._expose import exposed
from models.emulation._recorder import Recorder, Tally, Who
from models.emulation._site import WHOLE, Site, Sites, Uncovered
from models.networks import Batch, Inputs, batches_of, check_experts, every_expert_sees_everything


def sites(network: nn.Module, example_input: Batch | Sequence[Batch]) -> Sites:
    """The sites of ``network``, in the order in which it uses them, and what is no site.

    Every `nn.Linear`, every `nn.Conv2d` (timm's ``Linear``, ``Conv2dSame`` and ``StdConv2d`` too),
    and both products of every `scaled_dot_product_attention` are sites, and so are the projections
    and products of `nn.MultiheadAttention`: ``in_proj`` (where query, key and value are one tensor;
    else ``q_proj``, ``k_proj``, ``v_proj``), ``qk``, ``av`` and ``out_proj``; those of recurrent
    layers (``ih_l0``, ``hh_l0``, …) and `nn.Bilinear`; and products that a module calls as
    functions (`models.emulation._canonical.READERS`), named by function and order of the calls:
    ``matmul_0``. A module with two names has one site. All other products are counted as
    ``uncovered``, and named in a warning where they are more than 0.5 % of all.

    What is found does not depend on the order of the inputs. Where not every batch uses the same
    sites, these are in the order of `torch.nn.Module.named_modules`.

    Args:
        network: any network of linear layers, convolutions and attention.
        example_input: one batch as the network takes it (`models.networks.Batch`), or a list of
            batches. MACs are the mean over all inputs.

    Raises:
        InputError: there is no input, the network has no site, it is scripted, exported or
            quantised, it holds the weights of experts in one tensor (`models.adapt`), or a layer is
            not in float32.
    """
    check_network(network)
    check_experts(network)
    several = isinstance(example_input, list)
    given: Any = example_input if several else [example_input]
    batches = batches_of(given, network)
    if not batches:
        raise InputError("finding sites takes an example batch of at least one input, not 0")
    found = recorded(Recorder(exposed(network, batches[0].rows([0]))), batches)
    warn_of(found, stacklevel=2)
    return found


def warn_of(found: Sites, *, stacklevel: int) -> None:
    """Warn of products that are no site, layers that no input reached, and what is not counted."""
    lines = found.notes()
    if found.coverage >= WHOLE:
        del lines[0]
    if lines:
        warnings.warn("; ".join(lines), stacklevel=stacklevel + 1)


@torch.no_grad()
def recorded(
    recorder: Recorder, batches: Sequence[Inputs], calibration: Calibration | None = None
) -> Sites:
    """As `sites`, of what `exposed` made; calibrates it in the same pass over the batches.

    Raises:
        InputError: the network has no site.
    """
    network = recorder.network
    total = _Total(recorder)
    for batch in batches:
        total.show(batch)
    if calibration is not None:
        calibration.observe()
    for index, batch in enumerate(batches):
        total.add(batch)
        if calibration is not None and index == 0:
            calibration.warn_of_shared()
    found = total.sites()
    if not found:
        raise InputError(
            f"{type(network).__name__} has no site: no linear layer, convolution or attention "
            f"product ran on the example input"
        )
    return Sites(
        found,
        uncovered=total.uncovered(),
        unreached=recorder.unreached(),
        foreign=sorted(recorder.foreign),
        coverage=total.covered / (total.covered + total.missed),
    )


class _Total:
    """What a network computes for several batches, for one input in the mean.

    An expert is charged as if every item went to it: for every shape of input, one is shown to all
    experts. What is computed once for a whole batch (a table of positions, say) is charged to each
    input: it is the same for one input and for two.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.seen: dict[str, Site] = {}
        self.covered = self.missed = 0
        self._inputs = 0
        self._macs: Counter[str] = Counter()
        self._read: Counter[str] = Counter()
        self._read_second: Counter[str] = Counter()
        self._left: Counter[nn.Module] = Counter()
        self._alone: dict[Hashable, tuple[Tally, Tally]] = {}
        self._orders: set[tuple[str, ...]] = set()

    def show(self, batch: Inputs) -> None:
        """Run the network on one input of this shape, and on two, with all experts at work."""
        if batch.shape not in self._alone:
            with every_expert_sees_everything(self.recorder.network):
                few = [self.recorder.run(batch.rows(rows)) for rows in ([0], [0, 0])]
            self._alone[batch.shape] = few[0], few[1]

    def add(self, batch: Inputs) -> None:
        """Run the network on one more batch, of a shape that was shown."""
        tally = self.recorder.run(batch)
        one, two = self._alone[batch.shape]
        size = len(batch)
        self._inputs += size
        experts = [site for site in one.sites.values() if site.expert is not None]
        for name, site in tally.sites.items():
            if not site.macs:  # called, but with no item
                continue
            alike = site.macs == _macs(one, name) == _macs(two, name)
            self._add(site, size if alike else 1)
        for site in experts:
            self._add(site, size)
        outside = [name for name, site in one.sites.items() if site.expert is None]
        is_usual = [*tally.sites] == outside and all(site.macs for site in one.sites.values())
        self._orders.add(tuple(one.sites) if is_usual else ())
        self._count(tally, one, two, size)

    def _add(self, site: Site, times: int) -> None:
        known = self.seen.setdefault(site.name, site)
        if site.fan_in > known.fan_in:  # longer sequences are summed over more products
            self.seen[site.name] = site
        self._macs[site.name] += times * site.macs
        self._read[site.name] += times * site.inputs
        self._read_second[site.name] += times * site.second_inputs

    def _count(self, tally: Tally, one: Tally, two: Tally, size: int) -> None:
        """Add to what sites do and what they do not."""
        one_left, two_left = one.uncovered(), two.uncovered()
        for who, macs in tally.uncovered().items():
            alike = one_left.get(who) == two_left.get(who) == macs
            self.missed += macs * (size if alike else 1)
            if not self._is_expert(who):
                self._left[who[0]] += macs * (size if alike else 1)
        for who, macs in one_left.items():
            if who[1]:
                self._left[who[0]] += macs * size
        for who, macs in tally.noted.items():
            alike = one.noted[who] == two.noted[who] == macs
            self.covered += macs * (size if alike else 1)

    def _is_expert(self, who: Who) -> bool:
        return self.recorder.expert_of.get(who[0], (None, None))[1] is not None

    def sites(self) -> tuple[Site, ...]:
        """The sites in order."""
        order = next(iter(self._orders)) if len(self._orders) == 1 else ()
        if not order:
            order = tuple(sorted(self.seen, key=self._place))
        return tuple(
            dataclasses.replace(
                self.seen[name],
                macs=math.ceil(self._macs[name] / self._inputs),
                inputs=math.ceil(self._read[name] / self._inputs),
                second_inputs=math.ceil(self._read_second[name] / self._inputs),
            )
            for name in order
        )

    def _place(self, name: str) -> tuple[int, str]:
        """Where a site's module stands in the network, and its name there."""
        places = {known: place for place, known in enumerate(self.recorder.names.values())}
        return places.get(name, places.get(name.rpartition(".")[0], 0)), name

    def uncovered(self) -> Iterator[Uncovered]:
        """What no site does, the most first."""
        for module, macs in self._left.most_common():
            layer, expert = self.recorder.expert_of.get(module, (None, None))
            yield Uncovered(
                name=self.recorder.names[module],
                module=type(module).__name__,
                macs=math.ceil(macs / self._inputs),
                expert_layer=None if layer is None else self.recorder.names[layer],
                expert=expert,
            )


def _macs(tally: Tally, name: str) -> int:
    return tally.sites[name].macs if name in tally.sites else 0
