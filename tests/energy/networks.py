"""Small networks as lists of sites, written by hand."""

import functools
from typing import Any

import numpy as np

from energy import Workload
from models import ExpertWork, OperandSteps, Routing, SampledOperands, Site

LAYER = "moe"


def two_layers(experts: int = 2) -> tuple[Site, ...]:
    """A dense layer of 100 MACs, then experts of 40 MACs each behind a router of 8."""
    return (
        Site("first", "linear", macs=100, fan_in=10, weights=50, inputs=20),
        Site("moe.router", "router", macs=8, fan_in=2, weights=4, inputs=4, expert_layer=LAYER),
        *(
            Site(
                f"moe.experts.{index}",
                "linear",
                macs=40,
                fan_in=5,
                weights=20,
                expert_layer=LAYER,
                expert=index,
                inputs=10,
            )
            for index in range(experts)
        ),
    )


def work(experts: int = 2, **facts: float) -> tuple[ExpertWork, ...]:
    """Facts about the expert layer: two tokens an input, top-1."""
    return (
        ExpertWork(LAYER, **{"experts": experts, "items": 2, "executions": 1.0, **facts}),  # type: ignore[arg-type]
    )


def routed(*rates: float) -> Routing:
    """A routing of the one expert layer."""
    return Routing(rates={LAYER: rates}, source="by hand")


def load(*rates: float, **parts: Any) -> Workload:
    """`two_layers` under these activation rates; under none where each input brings its own."""
    parts = {"operands": operands(two_layers())} | parts
    return Workload(two_layers(), routed(*rates) if rates else None, **parts)


@functools.cache
def operands(sites: tuple[Site, ...], *, steps: int = 64) -> SampledOperands:
    """Operands at every site: the later one, the smaller."""
    drawn = {}
    for index, site in enumerate(sites):
        codes = np.random.default_rng(index).integers(-127, 128, (3, steps)) >> min(index, 5)
        drawn[site.name] = OperandSteps(*codes.astype(np.int8).view(np.uint8), index + 1)
    return SampledOperands(drawn, "by hand")
