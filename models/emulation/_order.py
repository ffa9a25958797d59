"""Which port of the circuit gets the activation, chosen site by site."""

import dataclasses
from collections.abc import Collection

from luts import Arithmetic
from models.emulation._assignment import Assignment, Choice
from models.emulation._emulate import EmulatedNetwork
from models.emulation._expected import Histograms, expected_error


def choose_operand_order(
    emulated: EmulatedNetwork,
    histograms: Histograms,
    *,
    corrected: Collection[str] = (),
    tune: str | None = None,
) -> Assignment:
    """The network's assignment with the operand order of less expected error at every site.

    Sites whose table is symmetric, or that no histogram tells anything of, keep their order, and
    so do ties.

    Args:
        emulated: the network; it is left as it is.
        histograms: from `code_histograms`.
        corrected: names of the sites whose channel means are corrected afterwards.
        tune: criterion by which weight codes will be replaced, or None if they will not be.
    """
    choices: dict[str, Choice] = dict(emulated.assignment.choices)
    for site in emulated.sites:
        layer = emulated.layer(site.name)
        multiplier = layer.arithmetic.multiplier
        if multiplier.is_commutative or site.name not in histograms:
            continue
        shares = histograms[site.name]
        given = choices[site.name].swapped
        errors = {
            swapped: expected_error(
                layer,
                Arithmetic(multiplier, swapped),
                shares,
                fan_in=site.fan_in,
                corrected=site.name in corrected,
                tune=tune,
            )
            for swapped in (given, not given)
        }
        if errors[not given] < errors[given]:
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
        layer.assign_(Arithmetic(layer.arithmetic.multiplier, swapped))
    emulated.assignment = assignment
