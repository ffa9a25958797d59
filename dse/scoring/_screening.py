"""Analytic screening: predict from one gradient pass what every choice at every site would do.

For every site and choice the error of the site's output is computed with the truth table under the
site's own operands (a sample of them), less its channel mean, which bias correction removes. To
first order it moves the logits by ``J·δ``, with ``J`` the Jacobian of the logits. One backward
pass of a random ±1 projection ``r`` of the logits gives ``g = Jᵀr``, and ``E[(g·δ)²] = ‖J·δ‖²``:
an unbiased estimate of the squared change of the logits (Hutchinson's trick), which, unlike the
gradient of the loss, does not vanish on a trained network. Contributions of sites are added up.

The model is linearised at the exact network, far from where aggressive assignments lie: it
proposes, measurement decides. Closed forms without the network behind the site (``K·var``) rank
assignments worse, and searches that start from them find worse fronts (`studies/screening`).
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dse.problem import Codes, Offer, SearchSpace, group_key
from luts import EXACT, Arithmetic
from luts.console import SILENT, Reporter
from luts.errors import InputError
from models import EmulatedNetwork, Routing, Site
from models.emulation import EmulatedConv2d, EmulatedSite
from models.networks import Inputs, expert_layers, logits_of

SAMPLED_ROWS = 192
SAMPLED_IMAGES = 64

Matrix = npt.NDArray[np.float64]

PRIOR_VISITS = 4.0

Prepare = Callable[[EmulatedNetwork, Site], None]
"""Does what recovery does at a site once its circuit is assigned."""

Call = tuple[tuple[torch.Tensor, ...], torch.Tensor]
"""A site's operands in one call, and the gradient at its output."""


def as_assigned(emulated: EmulatedNetwork, site: Site) -> None:
    """Nothing is recovered."""


@dataclasses.dataclass(frozen=True)
class Screening:
    """What the additive model predicts.

    Attributes:
        distortion: predicted mean squared change of the logits, float64 of shape
            ``(free sites, choices)``.
    """

    distortion: Matrix

    def predict(self, codes: Codes) -> float:
        """Predicted mean squared change of the logits under an assignment."""
        return float(self.distortion[np.arange(len(codes)), codes].sum())


def decided_by_of(
    space: SearchSpace, *, seed: int, routing: Routing | None, offer: Offer | None
) -> dict[str, Any]:
    """What decides a screening beside the network and its recovery, as values that JSON can hold.

    Args:
        space: see `screen`.
        seed: see `screen`.
        routing: see `screen`.
        offer: see `screen`.
    """
    return {
        "sites": space.free,
        "choices": [dataclasses.asdict(choice) for choice in space.choices],
        "tables": [space.catalog[choice.multiplier].sha256 for choice in space.choices],
        "groups": space.groups,
        "seed": seed,
        "sampled": [SAMPLED_IMAGES, SAMPLED_ROWS],
        "routing": None if routing is None else routing.rates,
        "offer": None if offer is None else offer.mask.tolist(),
    }


def screen(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor | Inputs,
    space: SearchSpace,
    *,
    seed: int,
    routing: Routing | None = None,
    prepare_: Prepare = as_assigned,
    offer: Offer | None = None,
    reporter: Reporter = SILENT,
) -> Screening:
    """Predict the distortion of every choice at every free site.

    Args:
        emulated: the exact network, with the statistics that it was trained with; as it was
            afterwards.
        inputs: calibration images, ``(B, …)``; the first 64 are used.
        space: sites and choices.
        seed: of the random projection.
        routing: how often each expert works; that of the inputs used if it is not given.
        prepare_: what recovery does at a site once its circuit is assigned.
        offer: the choices that are predicted at each group, and at experts of the same layer; NaN
            stands for the others. All by default.
        reporter: shows progress, one step per site.

    Raises:
        InputError: a site is not exact: what is predicted are changes of the exact network.
    """
    seen = screen_as_seen(
        emulated, inputs, space, seed=seed, prepare_=prepare_, offer=offer, reporter=reporter
    )
    counted = seen.images if routing is None else len(inputs)
    return Screening(_per_visit(seen.distortion, space, seen.visits, routing, counted))


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What some images alone say of every choice at every free site.

    Attributes:
        distortion: as in `Screening`; experts that the images did not reach have 0.
        visits: items that each expert worked on, and items, by expert layer.
        images: how many there were.
    """

    distortion: Matrix
    visits: Mapping[str, tuple[np.ndarray, int]]
    images: int


def screen_as_seen(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor | Inputs,
    space: SearchSpace,
    *,
    seed: int,
    prepare_: Prepare = as_assigned,
    offer: Offer | None = None,
    reporter: Reporter = SILENT,
) -> Seen:
    """As `screen`, but nothing is assumed of experts that the images seldom reach.

    Args:
        emulated: see `screen`.
        inputs: the first 64 are used.
        space: see `screen`.
        seed: of the random projection.
        prepare_: see `screen`.
        offer: see `screen`.
        reporter: shows progress, one step per site.

    Raises:
        InputError: a site is not exact.
    """
    for name, choice in emulated.assignment.choices.items():
        if choice.multiplier != EXACT:
            raise InputError(f"screening starts at the exact network, but {name} has {choice}")
    batch = inputs[:SAMPLED_IMAGES]
    arithmetics = [choice.arithmetic(space.catalog) for choice in space.choices]
    wanted = _wanted(space, offer)
    site_of = {site.name: site for site in space.sites}
    rows = []
    with emulated.restored():
        calls = one_gradient_pass(emulated, batch, space.free, seed=seed)
        visits = _visits(emulated)
        for name in reporter.track(space.free, "screen"):
            # An expert that the batch did not reach has no call, a shared layer several.
            row, layer = np.full(len(arithmetics), np.nan), emulated.layer(name)
            own = np.flatnonzero(wanted[name])
            row[own] = 0.0
            judged = [arithmetics[code] for code in own]

            def assign_(
                arithmetic: Arithmetic, layer: EmulatedSite = layer, site: Site = site_of[name]
            ) -> None:
                layer.assign_(arithmetic)
                prepare_(emulated, site)

            for operands, gradient in calls.get(name, ()):
                row[own] += _distortions(layer, operands, gradient, judged, assign_)
            rows.append(row / len(batch))
    return Seen(np.stack(rows), visits, len(batch))


def _wanted(space: SearchSpace, offer: Offer | None) -> dict[str, npt.NDArray[np.bool_]]:
    """Which choices are predicted at each free site: alike at those that are averaged."""
    if offer is None:
        return dict.fromkeys(space.free, np.ones(len(space.choices), dtype=bool))
    own = {name: row for row, group in zip(offer.mask, space.groups, strict=True) for name in group}
    site_of = {site.name: site for site in space.sites}
    together: dict[str, npt.NDArray[np.bool_]] = {}
    for name in space.free:
        key = group_key(site_of[name], "layer")
        together[key] = together.get(key, np.zeros(len(space.choices), dtype=bool)) | own[name]
    return {name: together[group_key(site_of[name], "layer")] for name in space.free}


def _visits(emulated: EmulatedNetwork) -> dict[str, tuple[np.ndarray, int]]:
    """Of the last batch: items that each expert worked on, and items, by expert layer."""
    return {
        name: (layer.work.numpy().copy(), layer.items)
        for name, layer in expert_layers(emulated.network).items()
    }


def _per_visit(
    distortion: Matrix,
    space: SearchSpace,
    visits: Mapping[str, tuple[np.ndarray, int]],
    routing: Routing | None,
    inputs: int,
) -> Matrix:
    """The distortion of experts' sites from what a visit of them does and how often that is.

    The few images of a batch reach some experts seldom or never, which does not make these
    harmless: what a visit does is drawn towards the mean over the layer's experts, which are alike,
    as if `PRIOR_VISITS` more had been seen of each.
    """
    by_name = {site.name: site for site in space.sites}
    siblings: dict[str, list[int]] = {}
    for index, name in enumerate(space.free):
        if by_name[name].expert_layer in visits:
            siblings.setdefault(group_key(by_name[name], "layer"), []).append(index)
    found = distortion.copy()
    for rows in siblings.values():
        sites = [by_name[space.free[row]] for row in rows]
        layer = str(sites[0].expert_layer)
        work, items = visits[layer]
        seen = np.array([work[site.expert] for site in sites])[:, None]
        common = distortion[rows].sum(axis=0) / max(1.0, float(seen.sum()))
        visit = (distortion[rows] + PRIOR_VISITS * common) / (seen + PRIOR_VISITS)
        rates = seen / items
        if routing is not None:
            known = [routing.rate(layer, int(site.expert or 0)) for site in sites]
            rates = np.array(known)[:, None]
        # Never among the inputs is not never.
        found[rows] = visit * items * np.maximum(rates, 1 / (2 * inputs))
    return found


def one_gradient_pass(
    emulated: EmulatedNetwork, batch: torch.Tensor | Inputs, names: tuple[str, ...], *, seed: int
) -> dict[str, list[Call]]:
    """Operands of every call of a site, and the gradient of a random projection of the logits."""
    operands: dict[tuple[str, int], tuple[torch.Tensor, ...]] = {}
    gradients: dict[tuple[str, int], torch.Tensor] = {}

    def watch(name: str) -> torch.utils.hooks.RemovableHandle:
        def note(
            module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
        ) -> None:
            call = (name, sum(site == name for site, _ in operands))
            operands[call] = tuple(x.detach() for x in inputs)
            output.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: gradients.update({call: gradient})
            )

        return emulated.layer(name).register_forward_hook(note)

    handles = [watch(name) for name in names]
    try:
        with torch.enable_grad():
            logits = logits_of(emulated(batch))
            generator = torch.Generator().manual_seed(seed)
            signs = torch.randint(0, 2, logits.shape, generator=generator).to(logits) * 2 - 1
            (logits * signs).sum().backward()  # type: ignore[no-untyped-call]
    finally:
        for handle in handles:
            handle.remove()
        emulated.zero_grad(set_to_none=True)
    calls: dict[str, list[Call]] = {}
    for (name, number), inputs in operands.items():
        if (name, number) in gradients:
            calls.setdefault(name, []).append((inputs, gradients[name, number]))
    return calls


@torch.no_grad()
def _distortions(
    layer: EmulatedSite,
    operands: tuple[torch.Tensor, ...],
    gradient: torch.Tensor,
    arithmetics: list[Arithmetic],
    assign_: Callable[[Arithmetic], None],
) -> npt.NDArray[np.float64]:
    """Summed squared first-order change of the projected logits, one per arithmetic."""
    sampled, gradient, factor = _sample(layer, operands, gradient)
    channel = -3 if isinstance(layer, EmulatedConv2d) else -1
    exact = layer.arithmetic
    reference = layer(*sampled)
    changes = []
    for arithmetic in arithmetics:
        assign_(arithmetic)
        error = layer(*sampled) - reference
        others = [d for d in range(error.dim()) if d != channel % error.dim()]
        error = error - error.mean(dim=others, keepdim=True)
        change = (gradient * error).sum(dim=channel)
        changes.append(float((change.double() ** 2).sum()) * factor)
    layer.assign_(exact)
    return np.array(changes)


def _sample(
    layer: EmulatedSite, operands: tuple[torch.Tensor, ...], gradient: torch.Tensor
) -> tuple[tuple[torch.Tensor, ...], torch.Tensor, float]:
    """Fewer rows of the operands and the gradient, and how many rows each stands for."""
    if len(operands) == 1 and not isinstance(layer, EmulatedConv2d):
        rows = operands[0].reshape(-1, operands[0].shape[-1])
        gradient = gradient.reshape(-1, gradient.shape[-1])
        step = -(-len(rows) // SAMPLED_ROWS)
        kept = rows[::step]
        return (kept,), gradient[::step], len(rows) / max(1, len(kept))
    if isinstance(layer, EmulatedConv2d) and gradient.dim() == 3:  # one item, without a batch
        return operands, gradient, 1.0
    count = len(gradient)
    step = -(-count // 16)
    kept_all = tuple(x[::step] for x in operands)
    return kept_all, gradient[::step], count / max(1, len(kept_all[0]))
