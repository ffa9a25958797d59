"""From a float network and an assignment to the network as the hardware would compute it."""

import contextlib
import copy
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import nn

from luts import EXACT, Arithmetic, Catalog, catalog
from luts.errors import InputError
from models.emulation._assignment import Assignment
from models.emulation._attention import AttentionProducts, MatrixProduct
from models.emulation._expose import exposed, names_of, replace_everywhere_
from models.emulation._fold import Switch, fold_batchnorms_
from models.emulation._layers import (
    EmulatedConv2d,
    EmulatedLinear,
    EmulatedMatmul,
    EmulatedSite,
    EmulatedWeightSite,
)
from models.emulation._products import check_fan_in
from models.emulation._sites import Site, sites_of_exposed
from models.emulation._slopes import Gradient
from models.networks import every_expert_sees_everything

DEFAULT_CALIBRATION = "percentile"

Batch = torch.Tensor | Sequence[torch.Tensor]


class EmulatedNetwork(nn.Module):
    """A network in which every site multiplies through its own multiplier.

    Make one with `emulate`. Parameters are copies of the original's, under the same names but for
    the input projections of `nn.MultiheadAttention`, which become linear layers.

    Attributes:
        network: the emulated copy.
        sites: where multipliers are at work.
        assignment: which multiplier works where.
    """

    def __init__(self, network: nn.Module, sites: tuple[Site, ...], folding: Switch) -> None:
        super().__init__()
        self._folding = folding
        self.network = network
        self.sites = sites
        self.assignment = Assignment.uniform(sites, EXACT)
        layers = [self.layer(site.name) for site in sites]
        self._weighted = tuple(m for m in layers if isinstance(m, EmulatedWeightSite))

    def forward(self, *args: torch.Tensor) -> torch.Tensor:
        """Same inputs and outputs as the original."""
        if not torch.is_grad_enabled():
            # Small operands that live long, made between large activations that do not, would
            # leave the heap full of holes.
            for layer in self._weighted:
                if not layer.computes_in_float:
                    layer.prepared()
        self._folding.is_on = True
        try:
            output: torch.Tensor = self.network(*args)
        finally:
            self._folding.is_on = False
        return output

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
                another table.
        """
        if isinstance(assignment, str):
            assignment = Assignment.uniform(self.sites, assignment, catalog=catalog)
        assignment.check(self.sites)
        chosen = {site.name: assignment.arithmetic(site.name, catalog) for site in self.sites}
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
        """Which backend computes each site, and why; printing it gives a table."""
        rows = []
        for site in self.sites:
            selection = self.layer(site.name).selection()
            choice = str(self.assignment.choices[site.name])
            rows.append(
                PlanRow(site.name, site.kind, choice, selection.backend.name, selection.reason)
            )
        return Plan(tuple(rows))


@dataclasses.dataclass(frozen=True)
class PlanRow:
    """How one site is computed."""

    site: str
    kind: str
    choice: str
    backend: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """How every site is computed."""

    rows: tuple[PlanRow, ...]

    def __str__(self) -> str:
        cells = [tuple(f.name for f in dataclasses.fields(PlanRow))]
        cells += [dataclasses.astuple(row) for row in self.rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in cells
        )


def emulate(
    network: nn.Module,
    assignment: Assignment | str,
    *,
    calibration: Iterable[Batch],
    method: str = DEFAULT_CALIBRATION,
    catalog: Catalog = catalog,
) -> EmulatedNetwork:
    """An emulated copy of ``network``; the original stays as it is.

    Args:
        network: any network of linear layers, convolutions and attention.
        assignment: a choice for every site, or the name of one multiplier for all but the routers.
        calibration: batches of inputs, or of tuples that begin with the inputs, on which the float
            network's activation ranges are taken.
        method: how a range becomes a scale: ``"max"``, ``"percentile"`` (99.99) or ``"mse"``.
        catalog: where multipliers are looked up.

    Returns:
        The emulated network in evaluation mode.

    Raises:
        InputError: no calibration batch, a network without sites or not in float32, a weight or
            activation that is infinite or not a number, an output that sums more products than 32
            bits hold, or an assignment that does not fit.
    """
    batches = [inputs_of(batch) for batch in calibration]
    batches = [batch for batch in batches if len(batch)]
    if not batches:
        raise InputError("calibration needs at least one input, but there was none")
    copied = exposed(network, batches[0][:1])
    sites = sites_of_exposed(copied, batches[0][:1])
    for site in sites:
        check_fan_in(site.fan_in, site.name)
    _replace_(copied, sites)
    _calibrate_(copied, batches, method)
    emulated = EmulatedNetwork(copied, sites, fold_batchnorms_(copied, batches[0][:2])).eval()
    emulated.assign_(assignment, catalog=catalog)
    return emulated


def inputs_of(batch: Batch) -> torch.Tensor:
    """The inputs of a batch that may carry labels.

    Raises:
        InputError: the batch is neither a tensor nor a sequence that begins with one.
    """
    first = batch if isinstance(batch, torch.Tensor) else next(iter(batch), None)
    if not isinstance(first, torch.Tensor):
        raise InputError(
            f"a batch is a tensor of inputs or a tuple that begins with one, not {type(batch)!r}"
        )
    return first


def _replace_(network: nn.Module, sites: tuple[Site, ...]) -> None:
    names = names_of(network)
    modules = dict(network.named_modules())
    for site in sites:
        module = modules.get(site.name)
        if isinstance(module, MatrixProduct):
            replace_everywhere_(network, names[module], EmulatedMatmul())
        elif isinstance(module, nn.Conv2d):
            replace_everywhere_(network, names[module], EmulatedConv2d(module))
        elif isinstance(module, nn.Linear):
            replace_everywhere_(network, names[module], EmulatedLinear(module))
        elif site.kind == "qk":
            owner_name = site.name.rpartition(".")[0]
            owner = network.get_submodule(owner_name)
            for taken in (name for name in ("qk", "av") if hasattr(owner, name)):
                raise InputError(f"{owner_name} has an attribute {taken!r}, which emulation needs")
            AttentionProducts(EmulatedMatmul(), EmulatedMatmul()).attach_(owner)
        else:
            assert site.kind == "av"  # attached together with its qk


@torch.no_grad()
def _calibrate_(network: nn.Module, batches: list[torch.Tensor], method: str) -> None:
    layers = [m for m in network.modules() if isinstance(m, EmulatedSite)]
    _check_parameters(network)
    for layer in layers:
        layer.start_calibration(method)
    for batch in batches:
        network(batch)
    if not all(layer.is_observed() for layer in layers):
        # An expert that the router never chose: take its ranges from the whole layer's items.
        with every_expert_sees_everything(network):
            network(batches[0])
    for layer in layers:
        layer.finish_calibration()


def _check_parameters(network: nn.Module) -> None:
    for layer_name, layer in network.named_modules():
        if isinstance(layer, EmulatedWeightSite):
            for name, parameter in layer.named_parameters(prefix=layer_name):
                if not bool(torch.isfinite(parameter).all()):
                    raise InputError(
                        f"calibration met a weight that is infinite or not a number, in {name}: "
                        f"load or train a network whose weights are finite"
                    )
