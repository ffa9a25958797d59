"""What the energy model charges: a network as its sites, and how often each of them works."""

import dataclasses
from collections.abc import Iterable

import torch
from torch import nn

import models
from luts.errors import InputError
from models import ExpertWork, Routing, SampledOperands, Site


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
        operands: codes that follow one another at the sites, which the energy model ``activity``
            takes (`models.sample_operands`).
    """

    sites: tuple[Site, ...]
    routing: Routing | None = None
    layers: tuple[ExpertWork, ...] = ()
    dense: tuple[Site, ...] | None = None
    operands: SampledOperands | None = None

    def __post_init__(self) -> None:
        for name in ("sites", "layers", "dense"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else tuple(value))

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
        cls, network: nn.Module, example: torch.Tensor, routing: Routing | None = None
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
        if site.expert_layer is None or site.expert == first[site.expert_layer]
    )
