r"""The energy model: the one place that says what a site costs and what ``energy_rel`` is.

A site s does ``macs_s`` multiply-accumulates for one input if every item comes to it; a part
``ρ_s`` of the items does (1 outside experts, the expert's activation rate inside). It holds ``w_s``
weights, reads ``a_s`` activations and writes ``b_s = macs_s / fan_in_s``; an expert is needed by a
batch of B inputs with probability ``τ_s`` (1 outside experts). Its multiplier m has the relative
energy ``p(m)``: power(m) / power(exact) at equal clock, or the ratio of power × delay. Its ports
look at ``k_x(m)`` of the 8 bits of an activation and at ``k_w(m)`` of those of a weight; e_weight
and e_activation are energies of 8 bit. ::

    E_s = ρ_s·macs_s·p(m_s)·α_s(m_s)·e_product        multiplier         in every model
        + ρ_s·macs_s·e_accumulation                   adder              in datapath and memory
        + τ_s·w_s·k_w(m_s)/8·e_weight / B             weight traffic     in memory
        + ρ_s·(a_s·k_x(m_s)/8 + b_s)·e_activation     activation traffic in memory

    energy_rel = Σ_s E_s / Σ_{s in the dense network} E_s, the latter with ρ = 1 and m exact

α is 1 except under ``activity``, where it is how much the circuit switches for the codes that meet
at this site, relative to uniform operands (`energy._switching`). The denominator is then the exact
multiplier's energy at the operands of the same sites, so that ``energy_rel`` tells how circuits
compare where they work; accumulations and traffic are not counted.

In q·kᵀ and attn·v the second operands among ``a_s``, k and v, are read with ``k_w`` bits. Which low
bits a port ignores its truth table says (`luts.ignored_bits`); operand order decides which port it
is. That they are not charged assumes memories that hold operands packed, weights by the bits that
their site keeps and activations by bit planes, so that a site moves the bits that its circuit looks
at and no others. What is written is charged whole: which sites read it, one site does not know.

Under the default model ``multipliers`` the unit e_product cancels, and ``energy_rel`` is the
normalised power of the literature (AxMoE, arXiv 2605.04754; TransAxx, arXiv 2402.07545)::

    energy_rel = Σ_s ρ_s·macs_s·power(m_s) / (dense macs · power(exact))

It means the same in all four topologies; they differ in ρ and in their rows. ``dense``: ρ = 1.
``hard`` and ``cluster``: ρ is the expert's part of the tokens or images and sums to top-k over a
layer. ``soft``: for tokens ρ = slots of the expert / tokens; for images every expert runs, ρ = 1.
A learned router is a site: it runs in int8, by the exact multiplier unless an assignment names
another. What an expert layer multiplies beside its sites is a row of kind ``overhead``, all of it
in float32 when a network runs:

- ``soft``, tokens: slot logits, dispatch and combine; images: products of outputs and gates.
- ``cluster``: products with the centroids.
- ``hard``: nothing, for the gate is 1; with top-k above 1 products of outputs and gates.

What no site covers (`models.Uncovered`: `torch.cdist`, say) is a row of kind ``uncovered``, in
the dense network too: products by the exact multiplier and, where they are counted, their
accumulations; no traffic, which nobody can tell.

Overhead is charged as run, with e_float_product instead of p(m)·e_product and e_float_accumulation
instead of e_accumulation. Both are charged under ``activity`` by the mean α of the exact dense
network, as nobody knows how much they switch.

Under ``multipliers`` e_product does not cancel where a row is in float32: such a product counts as
3.7 pJ / 0.2 pJ = 18.5 exact ones. Arithmetic of routers and overhead is booked as `router`.

Left out, being the same for every assignment: biases, normalisation, softmax, GELU, traffic of the
overhead, and the registers between memory and multiplier.
"""

import dataclasses
from typing import Literal, get_args

from energy._activity import Activity, activities
from energy._breakdown import UNCOVERED, CostBreakdown, SiteCost
from energy._figures import OPERAND_BITS, Figures, published_figures
from energy._switching import ACTIVITY, Switching
from energy._workload import Workload
from luts.errors import InputError, suggest
from models import Assignment, Choice, Routing, Uncovered

EnergyModel = Literal["multipliers", "datapath", "memory", "activity"]

MODELS: dict[str, str] = {
    "multipliers": "products only: the normalised power of the literature",
    "datapath": "products and accumulations",
    "memory": "products, accumulations, traffic of the operand bits that circuits keep",
    ACTIVITY: "products only, each by the toggles that its site's own operands cause",
}
"""What each energy model counts, by name."""


BEYOND_PRODUCTS = ("datapath", "memory")
"""Energy models that count accumulations too."""

FLOAT = "float32"
"""What stands in the place of a multiplier's name where products are in float32."""

FLOAT_BITS = 32


def cost(
    workload: Workload,
    assignment: Assignment | str,
    figures: Figures | None = None,
    *,
    used: Routing | None = None,
    model: EnergyModel = "multipliers",
) -> CostBreakdown:
    """What ``assignment`` costs for one input, in expectation over the routing.

    Args:
        workload: the network.
        assignment: a choice for every site, or the name of one multiplier for all but the routers.
        figures: power and energies; by default the published ones.
        used: part of the inputs that need an expert at all, which decides its weight traffic, as
            `usage` measures it; by default that of independent items.
        model: what is counted, one of `MODELS`.

    Raises:
        InputError: sites, assignment, routing and figures do not fit together.
    """
    check_model(model)
    figures = published_figures() if figures is None else figures
    active = activities(workload, used=used, batch_size=figures.batch_size)
    if isinstance(assignment, str):
        assignment = Assignment.uniform(workload.sites, assignment)
    assignment.check(workload.sites)
    switching = switching_of(workload, figures, model)
    choices = assignment.choices
    rows = [site_cost(a, choices[a.site.name], figures, model, switching) for a in active]
    routing = workload.routing
    return CostBreakdown(
        rows=(*rows, *constant_costs(workload, figures, model, switching)),
        dense_energy_pj=dense_energy_pj(workload, figures, model, switching),
        dense_macs=sum(site.macs for site in workload.reference)
        + sum(piece.macs for piece in workload.reference_uncovered),
        model=model,
        convention=figures.convention,
        routing_source="no experts" if routing is None else routing.source,
    )


def under_each_model(
    workload: Workload, assignment: Assignment | str, figures: Figures | None = None
) -> dict[str, float]:
    """``energy_rel`` of one assignment under every energy model, weights read for each input.

    ``activity`` is left out where the workload has no operands, or a circuit no netlist.

    Args:
        workload: the network.
        assignment: as `cost` takes it.
        figures: power and energies; by default the published ones. Their batch size is set to 1.

    Returns:
        Relative energies by the names of `MODELS`, in their order.

    Raises:
        InputError: sites, assignment, routing and figures do not fit together.
    """
    figures = published_figures() if figures is None else figures
    single = dataclasses.replace(figures, batch_size=1)
    models: tuple[EnergyModel, ...] = get_args(EnergyModel)
    if isinstance(assignment, str):
        assignment = Assignment.uniform(workload.sites, assignment)
    used = {choice.multiplier for choice in assignment.choices.values()} | {figures.exact}
    if workload.operands is None or any(not figures.multiplier(n).netlist for n in used):
        models = tuple(model for model in models if model != ACTIVITY)
    return {name: cost(workload, assignment, single, model=name).energy_rel for name in models}


def check_model(model: str) -> None:
    """Raise an `InputError` unless ``model`` is one of `MODELS`."""
    if model not in MODELS:
        raise InputError(f"unknown energy model {model!r}; {suggest(model, [*MODELS])}")


def switching_of(workload: Workload, figures: Figures, model: EnergyModel) -> Switching | None:
    """How much circuits switch at the workload's sites; None for models that do not ask.

    Raises:
        InputError: the model asks and the workload has no operands, or not of every site.
    """
    return Switching.of(workload, figures) if model == ACTIVITY else None


def site_cost(
    activity: Activity,
    choice: Choice,
    figures: Figures,
    model: EnergyModel,
    switching: Switching | None = None,
) -> SiteCost:
    """The row of one site: the equation above."""
    site = activity.site
    macs = activity.rate * site.macs
    factor = 1.0 if switching is None else switching.factor(site, choice)
    products_pj = macs * figures.product_pj(choice.multiplier) * factor
    additions_pj = macs * figures.accumulation_pj if model in BEYOND_PRODUCTS else 0.0
    is_router = site.kind == "router"
    activation_bits, weight_bits = figures.operand_bits(choice)
    weights_pj = activations_pj = 0.0
    if model == "memory":
        read = site.weights * weight_bits / OPERAND_BITS
        weights_pj = activity.used * read * figures.weight_byte_pj / figures.batch_size
        first = site.inputs - site.second_inputs
        bits = first * activation_bits + site.second_inputs * weight_bits
        moved = bits / OPERAND_BITS + site.macs / site.fan_in
        activations_pj = activity.rate * moved * figures.activation_byte_pj
    return SiteCost(
        site=site.name,
        kind=site.kind,
        expert_layer=site.expert_layer,
        expert=site.expert,
        multiplier=choice.multiplier,
        swapped=choice.swapped,
        macs=site.macs,
        rate=activity.rate,
        activation_bits=activation_bits,
        weight_bits=weight_bits,
        rounded=choice.rounded,
        switching=factor,
        multiplier_pj=0.0 if is_router else products_pj,
        adder_pj=0.0 if is_router else additions_pj,
        router_pj=products_pj + additions_pj if is_router else 0.0,
        weight_traffic_pj=weights_pj,
        activation_traffic_pj=activations_pj,
    )


def constant_costs(
    workload: Workload, figures: Figures, model: EnergyModel, switching: Switching | None = None
) -> tuple[SiteCost, ...]:
    """Rows that no choice changes: what is no site, and what expert layers do besides."""
    assert workload.uncovered is not None
    factor = mean_factor(workload, figures, switching)
    left = [
        uncovered_cost(piece, workload.rate(piece), figures, model, factor)
        for piece in workload.uncovered
    ]
    return (*left, *overhead_costs(workload, figures, model, switching))


def uncovered_cost(
    piece: Uncovered, rate: float, figures: Figures, model: EnergyModel, factor: float = 1.0
) -> SiteCost:
    """The row of products that are no site, by the exact multiplier.

    Args:
        piece: what is no site.
        rate: part of the items that it works on.
        figures: power and energies.
        model: what is charged.
        factor: toggles relative to those of uniform operands.
    """
    macs = rate * piece.macs
    return SiteCost(
        site=f"{piece.name}.uncovered".removeprefix("."),
        kind=UNCOVERED,
        expert_layer=piece.expert_layer,
        expert=piece.expert,
        multiplier=figures.exact,
        swapped=False,
        macs=piece.macs,
        rate=rate,
        switching=factor,
        multiplier_pj=macs * figures.product_pj(figures.exact) * factor,
        adder_pj=macs * figures.accumulation_pj if model in BEYOND_PRODUCTS else 0.0,
    )


def mean_factor(workload: Workload, figures: Figures, switching: Switching | None) -> float:
    """What stands for the toggles of products whose operands nobody sampled."""
    if switching is None:
        return 1.0
    return switching.mean(workload.reference, Choice(figures.exact))


def overhead_costs(
    workload: Workload, figures: Figures, model: EnergyModel, switching: Switching | None = None
) -> tuple[SiteCost, ...]:
    """One row for each expert layer that multiplies outside its sites, which it does in float32."""
    rows = []
    for layer in workload.layers:
        if not layer.overhead_macs:
            continue
        factor = mean_factor(workload, figures, switching)
        per_mac = figures.float_product_pj * factor
        if model in BEYOND_PRODUCTS:
            per_mac += figures.float_accumulation_pj
        rows.append(
            SiteCost(
                site=f"{layer.layer}.overhead",
                kind="overhead",
                expert_layer=layer.layer,
                expert=None,
                multiplier=FLOAT,
                swapped=False,
                macs=layer.overhead_macs,
                rate=1.0,
                activation_bits=FLOAT_BITS,
                weight_bits=FLOAT_BITS,
                switching=factor,
                router_pj=layer.overhead_macs * per_mac,
            )
        )
    return tuple(rows)


def dense_energy_pj(
    workload: Workload, figures: Figures, model: EnergyModel, switching: Switching | None = None
) -> float:
    """Energy of the dense network with the exact multiplier, in picojoule.

    Raises:
        InputError: the dense network has experts, or a site without MACs.
    """
    dense = workload.reference
    if any(site.expert_layer is not None for site in dense):
        raise InputError("`dense` takes the sites of a network without experts")
    exact = Choice(figures.exact)
    active = activities(Workload(dense))
    rows = [site_cost(a, exact, figures, model, switching) for a in active]
    factor = mean_factor(workload, figures, switching)
    rows += [
        uncovered_cost(piece, 1.0, figures, model, factor) for piece in workload.reference_uncovered
    ]
    return CostBreakdown(tuple(rows), 1.0, 0, model, figures.convention, "").energy_pj
