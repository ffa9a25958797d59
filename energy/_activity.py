"""How much of a network's work one input causes."""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from energy._workload import Workload
from luts.errors import InputError
from models import ExpertWork, Routing, Site

SUM_TOLERANCE = 1e-3
"""How far activation rates may sum away from what their layer runs (files hold rounded numbers)."""


@dataclasses.dataclass(frozen=True)
class Activity:
    """How often a site works for one input.

    Attributes:
        site: the site.
        rate: part of the layer's items that it works on.
        used: probability that an input, or a batch of them, needs it at all.
    """

    site: Site
    rate: float = 1.0
    used: float = 1.0


def activities(
    workload: Workload, *, used: Routing | None = None, batch_size: int = 1
) -> tuple[Activity, ...]:
    """Activity of every site.

    Outside experts it is 1. An expert works on the part of the items that the routing says. It is
    needed by a batch unless no input of the batch needs it: with probability ``1 − (1 − τ)^batch``,
    where τ is what ``used`` says, or for independent items of activation rate ρ
    ``1 − (1 − ρ)^items``.

    Args:
        workload: the network.
        used: in the place of activation rates, the part of the inputs that need the expert.
        batch_size: inputs in a batch.

    Raises:
        InputError: a site without MACs, or activation rates that do not fit the sites or do not
            sum to top-k; all such faults together.
    """
    sites, routing, layers = workload.sites, workload.routing, workload.layers
    faults = [*_site_faults(sites), *_routing_faults(sites, routing, layers)]
    if faults:
        raise InputError("; ".join(faults))
    work = {record.layer: record for record in layers}
    items = _items(sites) | {record.layer: record.items for record in layers}
    active = []
    for site in sites:
        layer = site.expert_layer
        if layer is None or site.expert is None:
            active.append(Activity(site))
            continue
        assert routing is not None  # checked above
        rate = routing.rate(layer, site.expert)
        if used is not None:
            needed = used.rate(layer, site.expert)
        elif layer in work and work[layer].fixed:
            needed = float(rate > 0)
        else:
            needed = 1 - (1 - min(1.0, rate)) ** items[layer]
        active.append(Activity(site, rate, 1 - (1 - min(1.0, needed)) ** batch_size))
    return tuple(active)


def _items(sites: Iterable[Site]) -> dict[str, int]:
    """Items of one input by expert layer: 1 for experts with convolutions, else their tokens."""
    items: dict[str, int] = {}
    for site in sites:
        if site.expert_layer is not None and site.expert is not None:
            tokens = 1 if site.kind == "conv" else max(1, site.macs // max(1, site.weights))
            items[site.expert_layer] = min(tokens, items.get(site.expert_layer, tokens))
    return items


def _site_faults(sites: Sequence[Site]) -> Iterator[str]:
    if not sites:
        yield "a cost takes at least one site, not 0"
    for site in sites:
        if site.macs <= 0:
            yield f"site {site.name}: a site has MACs above 0, not {site.macs}"


def _routing_faults(
    sites: Sequence[Site], routing: Routing | None, layers: Sequence[ExpertWork]
) -> Iterator[str]:
    experts: dict[str, int] = {}
    for site in sites:
        if site.expert_layer is not None and site.expert is not None:
            layer = site.expert_layer
            experts[layer] = max(experts.get(layer, 0), site.expert + 1)
    rates = {} if routing is None else routing.rates
    work = {record.layer: record for record in layers}
    for layer, count in experts.items():
        if layer not in rates:
            yield f"no routing rates for layer {layer!r}; there are: {', '.join(rates) or 'none'}"
        elif len(rates[layer]) != count:
            yield f"{layer} has {count} experts, but {len(rates[layer])} routing rates"
        elif fault := _sum_fault(layer, rates[layer], work.get(layer)):
            yield fault
    for layer in rates:
        # What mixes the weights of its experts has rates, and one site for all of them.
        mixes = layer in work and work[layer].fixed
        if layer not in experts and not mixes:
            yield f"routing rates for {layer!r}, which is not an expert layer of these sites"


def _sum_fault(layer: str, rates: tuple[float, ...], work: ExpertWork | None) -> str | None:
    """What is wrong with the sum of a layer's rates.

    Without facts about the layer, rates that differ are taken to come from choosing k experts an
    item, so that they sum to a whole number; rates all alike may be Soft MoE's.
    """
    total = math.fsum(rates)
    if work is None:
        whole = total > 0 and abs(total - max(1, round(total))) <= SUM_TOLERANCE
        if whole or len(set(rates)) == 1:
            return None
        return f"{layer}: routing rates sum to top-k, a whole number, not {total:g}"
    if work.capacity is not None and total <= work.executions:
        return None
    if abs(total - work.executions) <= SUM_TOLERANCE:
        return None
    rule = "at most " if work.capacity is not None else ""
    return f"{layer}: routing rates sum to {rule}{work.executions:g} (top-k), not {total:g}"
