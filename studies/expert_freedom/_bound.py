"""What freedom of experts saves by the additive model, chosen on some images and tested on others.

The model adds up what each choice does at each site (`dse.scoring.screen`) and what it costs there,
both with the routing of the images at hand. Of such a model the Lagrangian sweep is the optimum, so
that its saving bounds what any search can find by it: at equal predicted distortion, the energy of
assignments in which experts may differ against those in which they may not. Both are chosen on one
half of the images and judged on the other, as the freer space fits the noise of the first half
better. The control gives every expert the circuits that were chosen for another of its layer: what
is left of the saving then is not of the experts.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

import models
from dse import Evaluator, SearchSpace, lagrangian_sweep
from dse.problem import group_key
from dse.scoring import SAMPLED_IMAGES, screen_as_seen
from energy import CostModel, Workload
from luts import catalog
from luts.console import SILENT, Reporter
from luts.errors import InputError
from models import Split, expert_work, measure_routing

Matrix = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Freedom = Literal["none", "expert"]

TIED: Literal["layer"] = "layer"
"""What freedom is measured against: all experts of a layer choose alike."""

POINTS = 64
"""Assignments of each sweep."""

LEVELS = 25
"""Distortions at which two curves are compared, evenly in their logarithm."""

MIDDLE = (0.1, 0.9)
"""Quantiles of the tied curve's distortions between which curves are compared: at the ends there is
nothing to choose."""


@dataclasses.dataclass(frozen=True, eq=False)
class HalfModel:
    """The additive model of one half of the images.

    Attributes:
        distortion: of each choice at each free site, shape ``(free sites, choices)``.
        energy: part of ``energy_rel``, same shape.
        constant: part of ``energy_rel`` that no choice changes.
        visits: fewest images or tokens that an expert has worked on.
    """

    distortion: Matrix
    energy: Matrix
    constant: float
    visits: int


@dataclasses.dataclass(frozen=True)
class Saving:
    """Energy saved by freedom, at equal distortion on images that nothing was chosen on.

    Attributes:
        tie: what still shares a choice.
        control: whether circuits went to other experts than they were chosen for.
        mean_pct: over the compared distortions, in percent of the tied energy.
        least_pct: of them.
        most_pct: of them.
    """

    tie: str
    control: bool
    mean_pct: float
    least_pct: float
    most_pct: float


def half_model(
    evaluator: Evaluator,
    space: SearchSpace,
    half: Split,
    *,
    seed: int,
    reporter: Reporter = SILENT,
) -> HalfModel:
    """The additive model of some images, as many of which are looked at as there are.

    Args:
        evaluator: of the network; recovers each choice as a search does.
        space: free sites and choices; what is tied does not matter here.
        half: images, a multiple of 64.
        seed: of the projections.
        reporter: shows the progress.

    Raises:
        InputError: the images are no multiple of 64.
    """
    if not len(half) or len(half) % SAMPLED_IMAGES:
        raise InputError(f"images are a multiple of {SAMPLED_IMAGES}, not {len(half)}")
    emulated, inputs = evaluator.emulated, half.images
    total = np.zeros((len(space.free), len(space.choices)))
    starts = range(0, len(half), SAMPLED_IMAGES)
    for start in reporter.track(list(starts), "screen"):
        found = screen_as_seen(
            emulated,
            inputs[start : start + SAMPLED_IMAGES],
            space,
            seed=seed + start,
            prepare_=lambda net, site: evaluator.reference.prepare_(net, site, evaluator.recovery),
        )
        total += found.distortion
    network = emulated.network
    routing = measure_routing(network, [inputs], source=f"{len(half)} images")
    workload = Workload(emulated.sites, routing, tuple(expert_work(network, inputs[:1])))
    model = CostModel(workload, space.every_choice)
    row = {site.name: index for index, site in enumerate(model.sites)}
    column = {choice: index for index, choice in enumerate(model.choices)}
    searched = [column[choice] for choice in space.choices]
    energy = model.contributions[[row[name] for name in space.free]][:, searched]
    kept = [model.contributions[row[name], column[c]] for name, c in space.fixed.items()]
    items = {record.layer: record.items * len(half) for record in workload.layers}
    visits = [rate * items[layer] for layer, rates in routing.rates.items() for rate in rates]
    constant = model.constant + float(np.sum(kept))
    return HalfModel(total / len(starts), energy, constant, round(min(visits, default=0)))


def savings(
    space: SearchSpace, chosen: HalfModel, tested: HalfModel, *, permutations: int, seed: int
) -> list[Saving]:
    """What untied experts save against tied ones, and the same with experts exchanged.

    Args:
        space: its free sites are the rows of both models.
        chosen: the images that assignments are chosen on.
        tested: those that they are judged on.
        permutations: of the experts of each layer, in the control.
        seed: of the permutations.
    """
    tied = _judged(_swept(space, chosen, TIED), tested)
    found = []
    freedoms: tuple[Freedom, ...] = ("none", "expert")
    for tie in freedoms:
        codes = _swept(space, chosen, tie)
        found.append(_against(tied, [_judged(codes, tested)], tie, control=False))
        rng = np.random.default_rng(seed)
        exchanged = [_exchanged(space, rng) for _ in range(permutations)]
        curves = [_judged([each[order] for each in codes], tested) for order in exchanged]
        found.append(_against(tied, curves, tie, control=True))
    return found


def _swept(space: SearchSpace, model: HalfModel, tie: Freedom | Literal["layer"]) -> list[Codes]:
    """Assignments along the optimum of a model, codes of the free sites."""
    site_of = {site.name: site for site in space.sites}
    keys = [group_key(site_of[name], tie) for name in space.free]
    groups = list(dict.fromkeys(keys))
    member = np.array([groups.index(key) for key in keys])
    pooled = [np.zeros((len(groups), len(space.choices))) for _ in range(2)]
    for table, own in zip(pooled, (model.distortion, model.energy), strict=True):
        np.add.at(table, member, own)
    swept = lagrangian_sweep(pooled[0], pooled[1], count=POINTS)
    return [codes[member] for codes in swept]


Curve = tuple[Matrix, Matrix]
"""Distortion, rising, and energy."""


def _judged(assignments: Sequence[Codes], model: HalfModel) -> Curve:
    sites = np.arange(len(model.energy))
    distortion = np.array([model.distortion[sites, codes].sum() for codes in assignments])
    energy = np.array([model.energy[sites, codes].sum() for codes in assignments]) + model.constant
    order = np.argsort(distortion, kind="stable")
    return distortion[order], energy[order]


def _exchanged(space: SearchSpace, rng: np.random.Generator) -> Codes:
    """For each free site the one whose circuit it gets: the same place in another expert."""
    site_of = {site.name: site for site in space.sites}
    places: dict[str, dict[int, int]] = {}
    for index, name in enumerate(space.free):
        site = site_of[name]
        if site.expert_layer is not None and site.expert is not None:
            places.setdefault(group_key(site, TIED), {})[site.expert] = index
    order = np.arange(len(space.free))
    shifts: dict[str, dict[int, int]] = {}
    for twins in places.values():
        layer = str(site_of[space.free[next(iter(twins.values()))]].expert_layer)
        experts = sorted(twins)
        # One exchange for all sites of a layer's experts, in which none keeps its own.
        if layer not in shifts:
            drawn = rng.permutation(experts)
            shifts[layer] = dict(zip(drawn.tolist(), np.roll(drawn, 1).tolist(), strict=True))
        for expert, index in twins.items():
            order[index] = twins[shifts[layer][expert]]
    return order


def _against(tied: Curve, curves: Sequence[Curve], tie: str, *, control: bool) -> Saving:
    low, high = (float(np.quantile(tied[0], q)) for q in MIDDLE)
    levels = np.geomspace(max(low, 1e-12), max(high, 1e-12), LEVELS)
    reference = np.interp(np.log(levels), np.log(np.maximum(tied[0], 1e-12)), tied[1])
    saved = [
        100 * (1 - np.interp(np.log(levels), np.log(np.maximum(x, 1e-12)), y) / reference)
        for x, y in curves
    ]
    mean = np.mean(saved, axis=0)
    return Saving(tie, control, float(mean.mean()), float(mean.min()), float(mean.max()))


def bound(
    network: str,
    evaluator: Evaluator,
    *,
    multipliers: str,
    images: int,
    permutations: int,
    seed: int,
    reporter: Reporter = SILENT,
) -> pd.DataFrame:
    """A row per tie and control for one network.

    Args:
        network: its name.
        evaluator: of it; the validation images are what is chosen and tested on.
        multipliers: a set of the catalogue.
        images: of each half.
        permutations: of the experts in the control.
        seed: of projections and permutations.
        reporter: shows the progress.

    Raises:
        InputError: there are too few validation images, or no experts.
    """
    validation = evaluator.data.validation
    if len(validation) < 2 * images:
        raise InputError(
            f"{images} images to choose on and {images} to test on are more than the "
            f"{len(validation)} validation images: ask for fewer"
        )
    sites = evaluator.emulated.sites
    if not any(site.expert is not None for site in sites):
        raise InputError(f"{network} has no experts, which could be free: name another network")
    space = SearchSpace.of(sites, catalog.names(multipliers), operands="rounded")
    halves = [
        half_model(evaluator, space, _rows(validation, start, images), seed=seed, reporter=reporter)
        for start in (0, images)
    ]
    found = savings(space, *halves, permutations=permutations, seed=seed)
    share = _expert_share(space, halves[0])
    return pd.DataFrame(map(dataclasses.asdict, found)).assign(
        network=network,
        images=images,
        expert_energy_pct=100 * share,
        least_visits=min(half.visits for half in halves),
    )


def _rows(split: Split, start: int, count: int) -> Split:
    return split.subset(torch.arange(start, start + count))


def _expert_share(space: SearchSpace, model: HalfModel) -> float:
    """Of the energy with the exact multiplier, what experts' sites cause."""
    site_of: dict[str, models.Site] = {site.name: site for site in space.sites}
    mine = np.array([site_of[name].expert is not None for name in space.free])
    exact = model.energy[:, 0]
    return float(exact[mine].sum() / (exact.sum() + model.constant))
