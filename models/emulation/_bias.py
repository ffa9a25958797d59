"""Bias correction: take the mean error of an approximation out of every output channel.

Circuits that drop bits err with a mean, and a mean costs one addition that the bias makes anyway.
Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019,
arXiv 1906.04721, applied to the multiplier's error instead of the rounding's.
"""

from collections.abc import Callable, Mapping

import torch

from models.emulation._emulate import EmulatedNetwork
from models.emulation._layers import EmulatedWeightSite

Means = Mapping[str, torch.Tensor]


@torch.no_grad()
def channel_means(emulated: EmulatedNetwork, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Mean output of every channel of every layer with weights.

    Args:
        emulated: the network, usually with the exact multiplier everywhere.
        inputs: one batch, as large as the statistics need.

    Returns:
        Site name → float32 of shape ``(out,)``; experts that got no item are left out.
    """
    means: dict[str, torch.Tensor] = {}

    def note(name: str) -> Callable[[torch.Tensor], None]:
        return lambda mean: means.update({name: mean})

    _run_watched(emulated, inputs, {name: note(name) for name in _layers(emulated)})
    return means


@torch.no_grad()
def correct_bias_(emulated: EmulatedNetwork, inputs: torch.Tensor, reference: Means) -> None:
    """Correct every layer's bias so that its channel means are those of ``reference``.

    One forward pass: each layer is corrected before the next one sees its output.

    Args:
        emulated: the network to correct, in place.
        inputs: the batch on which ``reference`` was taken.
        reference: from `channel_means` of the exact network.
    """

    def correct(target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda mean: target - mean

    layers = _layers(emulated)
    watchers = {name: correct(reference[name]) for name in layers if name in reference}
    _run_watched(emulated, inputs, watchers)


def _layers(emulated: EmulatedNetwork) -> dict[str, EmulatedWeightSite]:
    layers = ((site.name, emulated.layer(site.name)) for site in emulated.sites)
    return {name: layer for name, layer in layers if isinstance(layer, EmulatedWeightSite)}


def _run_watched(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor,
    watchers: Mapping[str, Callable[[torch.Tensor], torch.Tensor | None]],
) -> None:
    layers = _layers(emulated)
    was_training = emulated.training
    emulated.eval()
    try:
        for name, watcher in watchers.items():
            layers[name].watcher = watcher
        emulated(inputs)
    finally:
        for layer in layers.values():
            layer.watcher = None
        emulated.train(was_training)
