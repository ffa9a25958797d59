"""The assignments that both cost models are asked about, and what one image computes in each."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch

import energy
import luts
import models
from luts.settings import setting


@dataclasses.dataclass(frozen=True)
class EnergyCheck:
    """The configuration."""

    arch: Annotated[str, setting("architecture of the networks")]
    image_size: Annotated[int, setting("height and width", unit="pixels", ge=1)]
    patch_size: Annotated[int, setting("of a transformer", unit="pixels", ge=1)]
    num_classes: Annotated[int, setting("that are told apart", ge=2)]
    expert_counts: Annotated[tuple[int, ...], setting("of the networks, in turn; 1 is dense", ge=1)]
    concentration: Annotated[float, setting("of routing's Dirichlet distribution", gt=0)]
    assignments: Annotated[int, setting("that are ranked", ge=2)]
    seed: Annotated[int, setting("of routing and assignments", ge=0)]
    accelerator: Annotated[str, setting("among ZigZag's own inputs, with its mapping")]
    lpf_limit: Annotated[int, setting("temporal loops whose orders ZigZag tries", ge=1)]


@dataclasses.dataclass(frozen=True)
class LayerProduct:
    """A site as matrix products ``(rows, inner) · (inner, columns)``, ``count`` of them."""

    rows: int
    inner: int
    columns: int
    count: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all of them."""
        return self.rows * self.inner * self.columns * self.count


@dataclasses.dataclass(frozen=True)
class Case:
    """One assignment on one network under its own routing."""

    sites: tuple[models.Site, ...]
    layers: tuple[models.ExpertWork, ...]
    routing: models.Routing
    assignment: models.Assignment

    def ours(self, figures: energy.Figures) -> energy.CostBreakdown:
        """Its cost by our model."""
        return energy.cost(
            energy.Workload(self.sites, self.routing, self.layers),
            self.assignment,
            figures=figures,
            used=energy.usage([self.routing]),
            model="memory",
        )

    def products(self) -> dict[str, LayerProduct]:
        """What one image computes at every site that works for it."""
        products = {site.name: product_of(site, self.sites, self.routing) for site in self.sites}
        return {name: product for name, product in products.items() if product.rows}


def drawn_cases(study: EnergyCheck, rng: np.random.Generator) -> list[Case]:
    """Assignments from nearly exact to mostly harsh, on networks with and without experts."""
    counts = study.expert_counts
    described = [_sites_and_layers(study, experts) for experts in counts]
    cases = []
    for index, harshness in enumerate(np.linspace(0, 1, study.assignments)):
        sites, layers = described[index % len(counts)]
        routing = whole_token_routing(layers, study.concentration, rng)
        cases.append(Case(sites, layers, routing, mixed_assignment(sites, harshness, rng)))
    return cases


def _sites_and_layers(
    study: EnergyCheck, experts: int
) -> tuple[tuple[models.Site, ...], tuple[models.ExpertWork, ...]]:
    config = models.NetworkConfig(
        arch=study.arch,
        num_classes=study.num_classes,
        image_size=study.image_size,
        patch_size=study.patch_size,
    )
    if experts > 1:
        config = dataclasses.replace(config, topology="hard", experts=experts)
    network = models.build(config)
    example = torch.zeros(1, 3, study.image_size, study.image_size)
    return models.sites(network, example), models.expert_work(network, example)


def whole_token_routing(
    layers: Sequence[models.ExpertWork], concentration: float, rng: np.random.Generator
) -> models.Routing:
    """Uneven activation rates that are whole numbers of one image's tokens."""
    rates = {}
    for layer in layers:
        parts = rng.dirichlet([concentration] * layer.experts)
        tokens = rng.multinomial(layer.items, parts)
        rates[layer.layer] = tuple(tokens / layer.items)
    return models.Routing(rates=rates, source="drawn by the study")


def mixed_assignment(
    sites: Sequence[models.Site], harshness: float, rng: np.random.Generator
) -> models.Assignment:
    """A mix of multipliers around the one at ``harshness`` (0…1) in the order of power."""
    names = luts.catalog.names("mul8s")
    codes = rng.normal(harshness * (len(names) - 1), 3, len(sites))
    codes = np.clip(np.rint(codes), 0, len(names) - 1).astype(int)
    choices = {}
    for site, code in zip(sites, codes, strict=True):
        choices[site.name] = models.Choice(luts.EXACT if site.kind == "router" else names[code])
    return models.Assignment.of(choices)


def product_of(
    site: models.Site, sites: Sequence[models.Site], routing: models.Routing
) -> LayerProduct:
    """What one image computes at ``site``."""
    if site.kind in ("qk", "av"):
        attention = site.name.rsplit(".", 1)[0]
        qk = next(s for s in sites if s.name == f"{attention}.qk")
        av = next(s for s in sites if s.name == f"{attention}.av")
        tokens, width = av.fan_in, qk.fan_in
        heads = site.macs // (tokens * tokens * width)
        inner, columns = (width, tokens) if site.kind == "qk" else (tokens, width)
        return LayerProduct(tokens, inner, columns, heads)
    rows = site.macs // site.weights
    if site.expert_layer is not None and site.expert is not None:
        rows = round(rows * routing.rate(site.expert_layer, site.expert))
    return LayerProduct(rows, site.fan_in, site.weights // site.fan_in)
