"""Why a network errs more than rounding noise does: its operands clipped, rounded, or both.

In plain PyTorch and float32, with the emulation's scales but none of its codes and kernels.
"""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from dse import provenance
from luts import EXACT
from models import emulate
from models.networks import logits_of
from studies.zoo._measure import relative_error, with_operands, with_rounding_noise
from studies.zoo._networks import ZooCell, ZooStudy, made

LARGEST_CODE = 127


def clipped(x: Tensor, scale: Tensor) -> Tensor:
    """Kept within the range that calibration chose, not rounded."""
    return torch.minimum(torch.maximum(x, -LARGEST_CODE * scale), LARGEST_CODE * scale)


def rounded(x: Tensor, scale: Tensor) -> Tensor:
    """Rounded to the step, however large."""
    return (x / scale).round() * scale


def quantised(x: Tensor, scale: Tensor) -> Tensor:
    """Both, as int8 does."""
    return (x / scale).round().clamp(-LARGEST_CODE, LARGEST_CODE) * scale


def causes_of(study: ZooStudy, cell: ZooCell) -> dict[str, Any]:
    """One row: errors as `relative_error` of the float network with its operands changed."""
    subject = made(study, cell)
    network, inputs = subject.network, subject.inputs
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        wanted = logits_of(network(inputs))

        def error(network: nn.Module) -> float:
            return relative_error(logits_of(network(inputs)), wanted)

        by_maximum = emulate(network, EXACT, calibration=[inputs], method="max")
        emulated = emulate(network, EXACT, calibration=[inputs])
        return {
            "network": cell.network,
            "int8": error(emulated),
            "noise": error(with_rounding_noise(emulated, study.seed)),
            "clipped": error(with_operands(emulated, clipped)),
            "rounded": error(with_operands(emulated, rounded)),
            "clipped_and_rounded": error(with_operands(emulated, quantised)),
            "int8_of_maxima": error(by_maximum),
            "noise_of_maxima": error(with_rounding_noise(by_maximum, study.seed)),
            "commit": provenance()["commit"],
        }
