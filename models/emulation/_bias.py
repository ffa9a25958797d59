"""Bias correction: take the mean error of an approximation out of every output channel.

Circuits that drop bits err with a mean, and a mean costs one addition that the bias makes anyway.
Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019,
arXiv 1906.04721, applied to the multiplier's error instead of the rounding's.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch

from models.emulation._emulate import EmulatedNetwork
from models.emulation._hooks import looking_at
from models.emulation._layers import EmulatedWeightSite
from models.networks import Inputs, every_expert_sees_everything

Means = Mapping[str, torch.Tensor]


@torch.no_grad()
def channel_means(
    emulated: EmulatedNetwork, inputs: torch.Tensor | Inputs
) -> dict[str, torch.Tensor]:
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
def correct_bias_(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor | Inputs,
    reference: Means,
    *,
    names: Collection[str] | None = None,
) -> None:
    """Correct every layer's bias so that its channel means are those of ``reference``.

    One forward pass: each layer is corrected before the next one sees its output.

    Args:
        emulated: the network to correct, in place.
        inputs: the batch on which ``reference`` was taken.
        reference: from `channel_means` of the exact network.
        names: sites to correct; None for all that ``reference`` has.
    """

    def correct(target: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda mean: target - mean

    wanted = set(reference) if names is None else set(reference) & set(names)
    watchers = {name: correct(reference[name]) for name in _layers(emulated) if name in wanted}
    _run_watched(emulated, inputs, watchers)


@torch.no_grad()
def sites_before_batchnorm(
    emulated: EmulatedNetwork, inputs: torch.Tensor | Inputs
) -> frozenset[str]:
    """Names of the layers whose output goes straight into a BatchNorm, which removes its mean.

    Args:
        emulated: the network.
        inputs: one batch; its size does not matter.
    """
    outputs: dict[int, tuple[torch.Tensor, str]] = {}
    names: set[str] = set()
    handles = []

    def produced(name: str) -> Callable[..., None]:
        def note(module: torch.nn.Module, args: object, output: torch.Tensor) -> None:
            outputs[id(output)] = (output, name)

        return note

    def consumed(module: torch.nn.Module, args: Any, kwargs: Any) -> None:
        x = (*args, *kwargs.values())[0]
        output, name = outputs.get(id(x), (None, ""))
        if output is x:
            names.add(name)

    for name, layer in _layers(emulated).items():
        handles.append(layer.register_forward_hook(produced(name)))
    for module in emulated.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            handles.append(module.register_forward_pre_hook(consumed, with_kwargs=True))
    with looking_at(emulated, handles), every_expert_sees_everything(emulated):
        emulated(inputs)
    return frozenset(names)


def _layers(emulated: EmulatedNetwork) -> dict[str, EmulatedWeightSite]:
    layers = ((site.name, emulated.layer(site.name)) for site in emulated.sites)
    return {name: layer for name, layer in layers if isinstance(layer, EmulatedWeightSite)}


def _run_watched(
    emulated: EmulatedNetwork,
    inputs: torch.Tensor | Inputs,
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
