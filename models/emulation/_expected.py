"""What a circuit's errors add up to at a site, expected from the codes that meet there.

No image is run through the circuit: the error of every pair of codes is in the truth table, and how
often each activation code occurs is counted once. Weight codes are replaced after Mrazek et al.,
"ALWANN: automatic layer-wise approximation of deep neural network accelerators without retraining",
ICCAD 2019, arXiv 1907.07229, who take all activation codes to be equally frequent and the absolute
error.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from luts import MAX_CODE, Arithmetic, quantise
from models.emulation._emulate import EmulatedNetwork
from models.emulation._hooks import looking_at
from models.emulation._layers import EmulatedSite, EmulatedWeightSite

CODES = 256
VALUES = np.arange(CODES, dtype=np.uint8).view(np.int8).astype(np.float64)
"""Value of each code: 0…127, −128…−1."""

FORBIDDEN = 128
"""Code of −128, which the integer contract leaves out."""

CRITERIA: tuple[str, ...] = ("squared", "centred", "mean")

Vector = npt.NDArray[np.float64]
Histograms = Mapping[str, tuple[Vector, ...]]


@torch.no_grad()
def code_histograms(
    emulated: EmulatedNetwork, inputs: torch.Tensor
) -> dict[str, tuple[Vector, ...]]:
    """How often each activation code occurs at each site, in one forward pass.

    Zeros that pad a convolution are not counted.

    Args:
        emulated: the network under the arithmetic at hand.
        inputs: one batch.

    Returns:
        Site name → one array per operand that is an activation, shares by code, float64 of shape
        ``(256,)``; sites that got nothing (experts without an item) are left out.
    """
    counts: dict[str, list[torch.Tensor]] = {}
    handles = []

    def watch(name: str, layer: EmulatedSite) -> None:
        def count(module: torch.nn.Module, operands: tuple[Any, ...]) -> None:
            scales = torch.split(layer.x_scale, 1)
            added = [_counts(quantise(x, s)) for x, s in zip(operands, scales, strict=False)]
            known = counts.get(name)
            counts[name] = (
                added if known is None else [a + b for a, b in zip(known, added, strict=True)]
            )

        handles.append(layer.register_forward_pre_hook(count))

    for site in emulated.sites:
        watch(site.name, emulated.layer(site.name))
    with looking_at(emulated, handles):
        emulated(inputs)
    return {
        name: tuple(_shares(part) for part in parts)
        for name, parts in counts.items()
        if all(int(part.sum()) for part in parts)
    }


def _counts(codes: torch.Tensor) -> torch.Tensor:
    return torch.bincount(codes.contiguous().view(torch.uint8).flatten(), minlength=CODES).cpu()


def _shares(counts: torch.Tensor) -> Vector:
    return counts.double().numpy() / float(counts.sum())


def rescaled_codes(factor: float) -> npt.NDArray[np.uint8]:
    """Code under a scale ``factor`` times as large, for every code; uint8 of shape ``(256,)``."""
    values = np.clip(np.rint(VALUES / factor), -MAX_CODE, MAX_CODE)
    codes: npt.NDArray[np.uint8] = values.astype(np.int8).view(np.uint8)
    return codes


def rescaled_shares(shares: Vector, factor: float) -> Vector:
    """``shares`` by code, shape ``(256,)``, under a scale ``factor`` times as large."""
    if factor == 1:
        return shares
    moved = np.bincount(rescaled_codes(factor), weights=shares, minlength=CODES)
    return moved.astype(np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class ErrorMoments:
    """Of ``T[x, w'] − x·w`` over the activations, for every code w that is meant.

    Attributes:
        mean: float64 of shape ``(256,)``.
        variance: float64 of shape ``(256,)``.
    """

    mean: Vector
    variance: Vector

    def layer_error(
        self, w_codes: torch.Tensor, w_scale: torch.Tensor, *, corrected: bool
    ) -> float:
        """Expected squared error of a layer's outputs, in units of the activation scale squared.

        Errors of one output's products are taken to be independent, so that their variances add
        up, and so do their means, which bias correction or BatchNorm may remove afterwards.

        Args:
            w_codes: codes that are meant, int8 of shape ``(out, …)``.
            w_scale: shape ``(out,)``.
            corrected: the mean of every channel is removed afterwards.
        """
        codes = w_codes.flatten(1).cpu().contiguous().view(torch.uint8).numpy()
        error = self.variance[codes].sum(axis=1)
        if not corrected:
            error = error + self.mean[codes].sum(axis=1) ** 2
        return float((error * w_scale.double().cpu().numpy() ** 2).mean())

    def product_error(self, shares: Vector, fan_in: int) -> float:
        """As `layer_error` where the second operand is an activation too and nothing is corrected.

        Args:
            shares: how frequent each code of the second operand is, shape ``(256,)``.
            fan_in: products summed into one output.
        """
        mean = float(shares @ self.mean)
        variance = float(shares @ (self.variance + self.mean**2)) - mean**2
        return fan_in * variance + (fan_in * mean) ** 2


def error_moments(
    arithmetic: Arithmetic, shares: Vector, weight_map: torch.Tensor | None = None
) -> ErrorMoments:
    """Moments of the error for every weight code.

    Args:
        arithmetic: the multiplier and operand order.
        shares: how frequent each activation code is, shape ``(256,)``.
        weight_map: code that stands for each weight code; None for itself.
    """
    pairs = _PairMoments.of(arithmetic, shares)
    used = np.arange(CODES) if weight_map is None else weight_map.numpy().view(np.uint8)
    mean, squared = pairs.mean[used, np.arange(CODES)], pairs.squared[used, np.arange(CODES)]
    return ErrorMoments(mean, np.maximum(squared - mean**2, 0))


def best_weight_map(
    arithmetic: Arithmetic, shares: Vector, *, criterion: str = "squared"
) -> torch.Tensor:
    """The code to use for each weight code, so that the expected error is least.

    Args:
        arithmetic: the multiplier and operand order.
        shares: how frequent each activation code is, shape ``(256,)``.
        criterion: ``squared`` error ``E[(T[x, w'] − x·w)²]``; ``centred``: less its ``mean``
            squared, for layers whose mean is removed anyway; or that mean alone.

    Returns:
        int8 of shape ``(256,)``; of equally good codes that nearest to the code itself.
    """
    pairs = _PairMoments.of(arithmetic, shares)
    error = {
        "squared": pairs.squared,
        "mean": pairs.mean**2,
        "centred": pairs.squared - pairs.mean**2,
    }[criterion]
    # Differences below rounding are ties, which the distance decides.
    error = np.round(error, 6)
    error[FORBIDDEN] = np.inf
    distance = np.abs(VALUES[:, None] - VALUES[None, :])
    best = np.where(error == error.min(axis=0), distance, np.inf).argmin(axis=0)
    return torch.from_numpy(best.astype(np.uint8).view(np.int8).copy())


@dataclasses.dataclass(frozen=True, eq=False)
class _PairMoments:
    """``E[T[x, w'] − x·w]`` and the expected square, float64 ``[w', w]``."""

    mean: npt.NDArray[np.float64]
    squared: npt.NDArray[np.float64]

    @classmethod
    def of(cls, arithmetic: Arithmetic, shares: Vector) -> "_PairMoments":
        # (T − x·w)² expands, so that no 256³ numbers are needed.
        table = arithmetic.table.astype(np.float64)
        product, cross = shares @ table, (shares * VALUES) @ table
        mean = product[:, None] - (shares @ VALUES) * VALUES
        squared = (
            (shares @ table**2)[:, None]
            - 2 * cross[:, None] * VALUES
            + (shares @ VALUES**2) * VALUES**2
        )
        return cls(mean, np.maximum(squared, 0))


WeightMaps = dict[tuple[Arithmetic, bytes, str], torch.Tensor]
"""Weight maps by arithmetic, shares of activation codes, and criterion: nothing else decides."""


def known_weight_map(
    known: WeightMaps, arithmetic: Arithmetic, shares: Vector, criterion: str
) -> torch.Tensor:
    """`best_weight_map`, out of ``known`` if it is there, else added to it."""
    key = (arithmetic, shares.tobytes(), criterion)
    if key not in known:
        known[key] = best_weight_map(arithmetic, shares, criterion=criterion)
    return known[key]


def tune_layer_(
    layer: EmulatedWeightSite,
    shares: Vector,
    *,
    criterion: str = "squared",
    known: WeightMaps | None = None,
) -> None:
    """Replace the weight codes of a layer by those that its circuit errs least with.

    Holds until the layer is assigned anew; weights that change in training are replaced alike.

    Args:
        layer: in place.
        shares: how frequent each activation code is under the calibrated scale, shape ``(256,)``.
        criterion: see `best_weight_map`.
        known: maps that were found before; a found one is added.
    """
    shares = rescaled_shares(shares, float(layer.x_factor))
    known = {} if known is None else known
    layer.map_weights_(known_weight_map(known, layer.arithmetic, shares, criterion))
