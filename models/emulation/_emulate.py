"""From a float network and an assignment to the network as the hardware would compute it."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import nn

from luts import EXACT, Arithmetic, Catalog, catalog, check_sum
from luts.errors import InputError, suggest
from models.emulation._assignment import Assignment
from models.emulation._calibrate import Calibration, allow_uncalibrated_, refuse_uncalibrated_
from models.emulation._drop_in import (
    check_agreement,
    check_inputs,
    check_network,
    keep_formats_,
)
from models.emulation._expose import check_precision, exposed
from models.emulation._fold import fold_batchnorms_
from models.emulation._fuse import fuse_
from models.emulation._fusion import Switch
from models.emulation._layers import EmulatedSite, EmulatedWeightSite, computing_in_float
from models.emulation._lazy import plain_leaves
from models.emulation._quantise import WEIGHT_SCALES, WeightScales
from models.emulation._recorder import Recorder
from models.emulation._site import Sites
from models.emulation._sites import recorded, warn_of
from models.emulation._slopes import Gradient
from models.networks import Batch, Inputs, batches_of, check_experts

DEFAULT_CALIBRATION = "percentile"
EXACT_CIRCUIT = catalog[EXACT]


class EmulatedNetwork(nn.Module):
    """A network in which every site multiplies through its own multiplier.

    Make one with `emulate`. Parameters are copies of the original's, under the same names but for
    the input projections of `nn.MultiheadAttention`, which become linear layers.

    Attributes:
        network: the emulated copy.
        sites: where multipliers are at work.
        assignment: which multiplier works where.
        weighted: the layers at sites that have weights.
    """

    def __init__(self, network: nn.Module, sites: Sites, folding: Switch) -> None:
        super().__init__()
        self._folding = folding
        self.network = network
        self.sites = sites
        self.assignment = Assignment.uniform(sites, EXACT)
        layers = [self.layer(site.name) for site in sites]
        self.weighted = tuple(m for m in layers if isinstance(m, EmulatedWeightSite))

    def __deepcopy__(self, memo: dict[int, Any]) -> "EmulatedNetwork":
        """With what its layers do for each other, which they do not copy by themselves."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        nn.Module.__setstate__(copied, copy.deepcopy(self.__dict__, memo))  # type: ignore[no-untyped-call]
        for layer in self.weighted:
            fusion = layer.fusion
            if fusion is not None and fusion.is_planned:
                readers = tuple(memo[id(reader)] for reader in fusion.readers)
                switch = copied._folding
                memo[id(layer)].fusion = dataclasses.replace(fusion, readers=readers, switch=switch)
        return copied

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Same inputs and outputs as the original; `Inputs` alone are taken apart."""
        if len(args) == 1 and not kwargs and isinstance(args[0], Inputs):
            args, kwargs = args[0].args, dict(args[0].kwargs)
        if not torch.is_grad_enabled():
            # Small operands that live long, made between large activations that do not, would
            # leave the heap full of holes.
            for layer in self.weighted:
                if not layer.computes_in_float:
                    layer.prepared()
        with self.folding():
            return plain_leaves(self.network(*args, **kwargs))

    @contextlib.contextmanager
    def folding(self) -> Iterator[None]:
        """Inside, convolutions do the work of BatchNorms that alone read them."""
        self._folding.is_on = True
        try:
            yield
        finally:
            self._folding.is_on = False

    @contextlib.contextmanager
    def unfused(self) -> Iterator[None]:
        """Inside, float32 goes from site to site; for comparison, as the results are the same."""
        before, self._folding.fuses = self._folding.fuses, False
        try:
            yield
        finally:
            self._folding.fuses = before

    @property
    def wrapped(self) -> nn.Module:
        """The network whose arguments this one takes."""
        return self.network

    def layer(self, site: str) -> EmulatedSite:
        """The emulated layer at a site."""
        layer = self.network.get_submodule(site)
        assert isinstance(layer, EmulatedSite)
        return layer

    def assign_(self, assignment: Assignment | str, *, catalog: Catalog = catalog) -> None:
        """Multiply by ``assignment`` from now on, without bias correction yet.

        Args:
            assignment: a choice for every site, or the name of one multiplier for all but the
                routers.
            catalog: where multipliers are looked up.

        Raises:
            InputError: the assignment does not fit the network or names an unknown multiplier or
                another table, or one whose sums over a site may leave 32 bits.
        """
        if isinstance(assignment, str):
            assignment = Assignment.uniform(self.sites, assignment, catalog=catalog)
        assignment.check(self.sites)
        chosen = {site.name: assignment.arithmetic(site.name, catalog) for site in self.sites}
        for site in self.sites:
            check_sum(site.fan_in, chosen[site.name].multiplier, site.name)
        for name, arithmetic in chosen.items():
            self.layer(name).assign_(arithmetic)
        self.assignment = assignment

    def use_gradient_(self, gradient: Gradient) -> None:
        """Estimate the circuits' slopes by ``gradient`` when the network is trained."""
        for site in self.sites:
            self.layer(site.name).gradient = gradient

    def learn_scales_(self, learn: bool) -> None:
        """Make all activation scales parameters, or fix them where they are now."""
        for site in self.sites:
            self.layer(site.name).learn_scale_(learn)

    def in_float(self) -> "EmulatedNetwork":
        """A float copy with the current weights and statistics."""
        copied = copy.deepcopy(self)
        for site in copied.sites:
            copied.layer(site.name).computes_in_float = True
        allow_uncalibrated_(copied.network)
        return copied.eval()

    @contextlib.contextmanager
    def exactly(self) -> Iterator[None]:
        """Inside, all sites are exact; afterwards as before, but without any correction."""
        kept = {site.name: self.layer(site.name).arithmetic for site in self.sites}
        try:
            for name in kept:
                self.layer(name).assign_(Arithmetic(catalog[EXACT]))
            yield
        finally:
            for name, arithmetic in kept.items():
                self.layer(name).assign_(arithmetic)

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Inside, anything may be assigned, corrected or trained; afterwards all is as before.

        Weights, BatchNorm's statistics, corrections, scales, choices and weight codes.
        """
        state = {key: value.clone() for key, value in self.state_dict().items()}
        layers = [self.layer(site.name) for site in self.sites]
        kept = [(layer, layer.arithmetic, layer.weight_map, layer.unscaled) for layer in layers]
        assignment = self.assignment
        try:
            yield
        finally:
            for layer, arithmetic, weight_map, unscaled in kept:
                layer.assign_(arithmetic)
                layer.unscaled = unscaled
                if isinstance(layer, EmulatedWeightSite) and weight_map is not None:
                    layer.map_weights_(weight_map)
            self.assignment = assignment
            self.load_state_dict(state)

    def plan(self) -> "Plan":
        """Which backend computes each site, and why, and what it gives in inference.

        Printing it gives a table.
        """
        rows = []
        for site in self.sites:
            layer = self.layer(site.name)
            selection, choice = layer.selection(), str(self.assignment.choices[site.name])
            fusion = layer.fusion if isinstance(layer, EmulatedWeightSite) else None
            gives = "float32" if fusion is None else str(fusion)
            backend = selection.backend.name
            rows.append(PlanRow(site.name, site.kind, choice, backend, gives, selection.reason))
        return Plan(tuple(rows), self._folding.failed)


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """How one site is computed.

    Attributes:
        site: its name.
        kind: of site.
        choice: circuit and operands.
        backend: that multiplies.
        gives: what goes to those that read it, where its output is large enough for that to pay.
        reason: for the backend.
    """

    site: str
    kind: str
    choice: str
    backend: str
    gives: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """How every site is computed.

    Attributes:
        rows: one per site.
        failed: what the network raised when its sites gave codes, so that all give float32.
    """

    rows: tuple[PlanRow, ...]
    failed: str = ""

    def __str__(self) -> str:
        cells = [tuple(f.name for f in dataclasses.fields(PlanRow))]
        cells += [dataclasses.astuple(row) for row in self.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        ]
        if self.failed:
            lines.append(f"all sites give float32, as the network raised {self.failed}")
        return "\n".join(lines)


def emulate(
    network: nn.Module,
    assignment: Assignment | str,
    *,
    calibration: Batch | Iterable[Batch],
    method: str = DEFAULT_CALIBRATION,
    weight_scales: WeightScales = "channel",
    catalog: Catalog = catalog,
) -> EmulatedNetwork:
    """An emulated copy of ``network``; the original stays as it is.

    In inference, codes go from site to site where nothing else reads them. That is proved on the
    first two calibration inputs: every code and every output must be the same in every bit.

    A layer that no calibration input reaches is no site, and refuses, in evaluation mode, an input
    that does. A warning says what is no site if that is more than 0.5 % of all products.

    Args:
        network: any network of linear layers, convolutions and attention.
        assignment: a choice for every site, or the name of one multiplier for all but the routers.
        calibration: batches as the network takes them (`models.networks.Batch`), labels allowed, on
            which sites are found and the float network's activation ranges are taken; a tensor by
            itself is one batch.
        method: how a range becomes a scale: ``"max"``, ``"percentile"`` (99.99) or ``"mse"``.
        weight_scales: one for each output ``"channel"`` of a layer, or one for its whole weight
            ``"tensor"``.
        catalog: where multipliers are looked up.

    Returns:
        The emulated network in evaluation mode.

    Raises:
        InputError: the network is scripted, exported or quantised, or computes something else once
            its layers are replaced; it holds the weights of experts in one tensor (`models.adapt`);
            unknown weight scales; no calibration batch, or one that is not float32; a network
            without sites or not in float32; a weight or activation that is infinite or not a
            number; an output that sums more products than 32 bits hold; or an assignment that does
            not fit.
    """
    if weight_scales not in WEIGHT_SCALES:
        known = suggest(weight_scales, list(WEIGHT_SCALES))
        raise InputError(f"unknown weight scales {weight_scales!r}; {known}")
    check_network(network)
    check_experts(network)
    check_precision(network)
    batches = batches_of(calibration, network)
    if not batches:
        raise InputError("calibration needs at least one input, but there was none")
    for batch in batches:
        check_inputs(batch)
    copied = exposed(network, batches[0].rows([0]))
    ranges = Calibration(copied, method)
    recorder = Recorder(copied, ranges)
    sites = recorded(recorder, batches, ranges)
    warn_of(sites, stacklevel=2)
    for site in sites:
        check_sum(site.fan_in, EXACT_CIRCUIT, site.name)
    ranges.finish(sites, recorder.functions, batches[0])
    keep_formats_(copied, batches[0].rows([0]))
    refuse_uncalibrated_(copied, sites.unreached)
    folding = fold_batchnorms_(copied, batches[0].rows(slice(2)))
    emulated = EmulatedNetwork(copied, sites, folding).eval()
    for layer in emulated.weighted:
        layer.scales_of = weight_scales
    with computing_in_float(emulated):
        check_agreement(network, emulated, batches[0].rows(slice(2)))
    fuse_(copied, batches[0].rows(slice(2)), folding)
    emulated.assign_(assignment, catalog=catalog)
    return emulated
