"""Which port of the circuit gets the activation, chosen site by site."""

import dataclasses
from collections.abc import Collection, Mapping

import torch

from luts import EXACT, Arithmetic, catalog
from models.emulation._assignment import Assignment, Choice
from models.emulation._emulate import EmulatedNetwork
from models.emulation._expected import Histograms
from models.emulation._hooks import looking_at
from models.emulation._layers import EmulatedSite
from models.emulation._matmul import EmulatedMatmul
from models.emulation._rescale import expected_error
from models.networks import Inputs

ProductOperands = Mapping[str, tuple[torch.Tensor, ...]]
"""By site, real operands of products of two activations."""


@torch.no_grad()
def product_operands(emulated: EmulatedNetwork, inputs: torch.Tensor | Inputs) -> ProductOperands:
    """The operands of every product of two activations, in one forward pass.

    Args:
        emulated: the network under the arithmetic at hand.
        inputs: one batch; all that it leads to is kept.
    """
    operands_of: dict[str, tuple[torch.Tensor, ...]] = {}
    handles = []

    def watch(name: str) -> None:
        def keep(module: torch.nn.Module, operands: tuple[torch.Tensor, ...]) -> None:
            operands_of[name] = tuple(operand.detach() for operand in operands)

        handles.append(emulated.layer(name).register_forward_pre_hook(keep))

    for site in emulated.sites:
        if isinstance(emulated.layer(site.name), EmulatedMatmul):
            watch(site.name)
    with looking_at(emulated, handles):
        emulated(inputs)
    return operands_of


@torch.no_grad()
def _measured_error(
    layer: EmulatedSite,
    arithmetic: Arithmetic,
    operands: tuple[torch.Tensor, ...],
    *,
    corrected: bool,
) -> float:
    """Mean squared error of outputs ``(B, heads, M, N)``; corrected: less every channel's mean."""
    kept = layer.arithmetic
    try:
        layer.assign_(Arithmetic(catalog[EXACT]))
        exact = layer(*operands)
        layer.assign_(arithmetic)
        error = (layer(*operands) - exact).double()
        if corrected:
            error = error - error.mean(dim=(0, -2), keepdim=True)
        return float(error.square().mean())
    finally:
        layer.assign_(kept)


def choose_operand_order(
    emulated: EmulatedNetwork,
    histograms: Histograms,
    *,
    operands: ProductOperands,
    corrected: Collection[str] = (),
    tune: str | None = None,
    rescale: str = "none",
) -> Assignment:
    """The network's assignment with the operand order of less expected error at every site.

    Where both operands are activations (attention), the error is measured on some: what a row of
    attention multiplies is alike from token to token, so that errors of products add up, which
    histograms cannot tell. If biases are corrected, the layer that reads attn·v corrects its mean
    error too. Sites whose table is symmetric, or that nothing is known of, keep their order, and so
    do ties.

    Args:
        emulated: the network; it is left as it is.
        histograms: from `code_histograms`.
        operands: from `product_operands`.
        corrected: names of the sites whose channel means are corrected afterwards.
        tune: criterion by which weight codes will be replaced, or None if they will not be.
        rescale: whose scales will be chosen for the circuit: see `expected_error`.
    """
    choices: dict[str, Choice] = dict(emulated.assignment.choices)
    for site in emulated.sites:
        layer = emulated.layer(site.name)
        multiplier = layer.arithmetic.multiplier
        given = choices[site.name].swapped
        both = [
            dataclasses.replace(layer.arithmetic, swapped=swapped) for swapped in (given, not given)
        ]
        if multiplier.is_commutative:
            continue
        if site.name in operands:
            removed = site.kind == "av" and bool(corrected)
            errors = [
                _measured_error(layer, one, operands[site.name], corrected=removed) for one in both
            ]
        elif site.name in histograms:
            shares, removed = histograms[site.name], site.name in corrected
            errors = [
                expected_error(
                    layer,
                    one,
                    shares,
                    fan_in=site.fan_in,
                    corrected=removed,
                    tune=tune,
                    rescale=rescale,
                )
                for one in both
            ]
        else:
            continue
        if errors[1] < errors[0]:
            choices[site.name] = dataclasses.replace(choices[site.name], swapped=not given)
    return Assignment(choices, emulated.assignment.tables)


def set_operand_order_(emulated: EmulatedNetwork, assignment: Assignment) -> None:
    """Take over the operand orders of an assignment with the multipliers that are at work.

    Corrections and replaced weight codes of all layers are forgotten.

    Args:
        emulated: the network, in place.
        assignment: from `choose_operand_order`.
    """
    for site in emulated.sites:
        layer = emulated.layer(site.name)
        swapped = assignment.choices[site.name].swapped
        layer.assign_(dataclasses.replace(layer.arithmetic, swapped=swapped))
    emulated.assignment = assignment
