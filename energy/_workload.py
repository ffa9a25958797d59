"""What the energy model charges: a network as its sites, and how often each of them works."""

import dataclasses
import math
from collections.abc import Iterable

import torch
from torch import nn

import models
from luts.errors import InputError
from models import ExpertWork, Routing, SampledOperands, Site, Sites, Uncovered
from models.networks import Batch


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network as the energy model sees it.

    Attributes:
        sites: the network's sites, as `models.sites` lists them.
        routing: activation rate of every expert; None for a network without experts, and where
            each input brings its own.
        layers: facts about the expert layers, as `models.expert_work` lists them: their overhead
            gets rows, and activation rates are checked against them.
        dense: sites of the dense network that costs are relative to; None for the network that
            ``sites`` was upcycled from (`dense_counterpart`).
        uncovered: products that are no site; by default those that ``sites`` knows of.
        operands: codes that follow one another at the sites, which the energy model ``activity``
            takes (`models.sample_operands`).
    """

    sites: tuple[Site, ...]
    routing: Routing | None = None
    layers: tuple[ExpertWork, ...] = ()
    dense: tuple[Site, ...] | None = None
    uncovered: tuple[Uncovered, ...] | None = None
    operands: SampledOperands | None = None

    def __post_init__(self) -> None:
        if self.uncovered is None:
            object.__setattr__(self, "uncovered", uncovered_of(self.sites))
        for name in ("sites", "layers", "dense", "uncovered"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, tuple):
                object.__setattr__(self, name, tuple(value))

    @classmethod
    def of(cls, config: models.NetworkConfig) -> "Workload":
        """That of a network with random weights, which cost what trained ones do.

        Every expert works equally often.
        """
        network = models.build(config)
        example = torch.zeros(1, config.in_channels, config.image_size, config.image_size)
        return cls.of_network(network, example, models.uniform_routing(network))

    @classmethod
    def of_network(
        cls, network: nn.Module, example: Batch, routing: Routing | None = None
    ) -> "Workload":
        """That of a network for one input.

        Args:
            network: any network.
            example: one input, ``(1, …)``.
            routing: activation rate of every expert.
        """
        return cls(models.sites(network, example), routing, models.expert_work(network, example))

    def under(self, routing: Routing | None) -> "Workload":
        """The same network with other activation rates."""
        return dataclasses.replace(self, routing=routing)

    def fed(self, operands: SampledOperands | None) -> "Workload":
        """The same network with these operands at its sites."""
        return dataclasses.replace(self, operands=operands)

    @property
    def reference(self) -> tuple[Site, ...]:
        """Sites of the dense network that costs are relative to.

        Raises:
            InputError: it does not follow from the sites and was not given.
        """
        return dense_counterpart(self.sites) if self.dense is None else self.dense

    @property
    def coverage(self) -> float:
        """Part of the expected multiply-accumulates that sites do; overhead is left out."""
        covered = math.fsum(self.rate(site) * site.macs for site in self.sites)
        left = math.fsum(self.rate(piece) * piece.macs for piece in self.uncovered or ())
        return covered / (covered + left)

    def rate(self, part: Site | Uncovered) -> float:
        """Part of the items that a site, or a piece that is none, works on.

        Raises:
            InputError: the routing does not know its expert.
        """
        if part.expert is None or part.expert_layer is None or self.routing is None:
            return 1.0
        return self.routing.rate(part.expert_layer, part.expert)

    @property
    def reference_uncovered(self) -> tuple[Uncovered, ...]:
        """What that dense network multiplies beside its sites."""
        if self.dense is not None:
            return uncovered_of(self.dense)
        first: dict[str | None, int] = {}
        for piece in self.uncovered or ():
            layer, expert = piece.expert_layer, piece.expert
            if expert is not None:
                first[layer] = min(expert, first.get(layer, expert))
        return tuple(
            dataclasses.replace(piece, expert_layer=None, expert=None)
            for piece in self.uncovered or ()
            if piece.expert is None or piece.expert == first[piece.expert_layer]
        )


def uncovered_of(sites: Iterable[Site]) -> tuple[Uncovered, ...]:
    """What ``sites`` knows of products that are none: nothing, if it is a plain tuple."""
    return sites.uncovered if isinstance(sites, Sites) else ()


def dense_counterpart(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Sites of the dense network that ``sites`` was upcycled from.

    An expert is a copy of the dense block it replaced. So the dense network has every site outside
    expert layers, and of each expert layer one expert at rate 1, without router.

    Raises:
        InputError: experts of one layer differ in MACs, so that no dense block follows from them.
    """
    sites = tuple(sites)
    macs: dict[str, dict[int, int]] = {}
    for site in sites:
        if site.expert_layer is not None and site.expert is not None:
            experts = macs.setdefault(site.expert_layer, {})
            experts[site.expert] = experts.get(site.expert, 0) + site.macs
    for layer, experts in macs.items():
        if len(set(experts.values())) > 1:
            raise InputError(
                f"{layer}: its experts have {sorted(set(experts.values()))} MACs, so the dense "
                f"network does not follow from them; give the dense network's sites as `dense`"
            )
    first = {layer: min(experts) for layer, experts in macs.items()}
    return tuple(
        dataclasses.replace(site, expert_layer=None, expert=None)
        for site in sites
        if site.expert_layer is None
        or (site.expert is not None and site.expert == first[site.expert_layer])
    )
