"""Expected squared error of every site's outputs, from truth tables and operand histograms."""

import numpy as np
import numpy.typing as npt
import torch

from dse import SearchSpace
from luts.console import SILENT, Reporter
from models import EmulatedNetwork
from models.emulation import EmulatedMatmul, code_histograms, expected_error

Matrix = npt.NDArray[np.float64]


def closed_form(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor,
    space: SearchSpace,
    *,
    corrected: bool = True,
    reporter: Reporter = SILENT,
) -> Matrix:
    """``K·var`` of every choice at every free site, or ``K·var + K²·bias²`` before correction.

    Args:
        emulated: the exact network.
        inputs: images that the operands are taken from, ``(B, …)``.
        space: sites and choices.
        corrected: recovery removes the mean error of every channel. Products of two activations
            have no channel that it could be removed from.
        reporter: shows progress, a step per site.

    Returns:
        float64 of shape ``(free sites, choices)``, in squared units of the sites' outputs; zero
        for an expert that no image reached.
    """
    histograms = code_histograms(emulated, inputs)
    fan_in = {site.name: site.fan_in for site in emulated.sites}
    arithmetics = [choice.arithmetic(space.catalog) for choice in space.choices]
    rows = []
    for name in reporter.track(space.free, "moments"):
        layer, shares = emulated.layer(name), histograms.get(name)
        if shares is None:
            rows.append([0.0] * len(arithmetics))
            continue
        unit = float(layer.get_buffer("x_scale").prod()) ** 2
        removable = corrected and not isinstance(layer, EmulatedMatmul)
        errors = (
            expected_error(layer, arithmetic, shares, fan_in=fan_in[name], corrected=removable)
            for arithmetic in arithmetics
        )
        rows.append([unit * error for error in errors])
    return np.array(rows)
