"""Networks by name and topology."""

from typing import Any

import torch
from torch import nn

from luts.errors import InputError
from models.networks._architecture import architecture
from models.networks._config import NetworkConfig
from models.networks._upcycle import UPCYCLING_NOISE, make_experts_


def build(
    arch: str | NetworkConfig,
    *,
    topology: str | None = None,
    num_classes: int | None = None,
    experts: int | None = None,
    image_size: int | None = None,
    patch_size: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """A network with random weights; that of topology ``cluster`` has random centroids too.

    Args:
        arch: name of the architecture, or a whole `NetworkConfig`, which leaves only ``seed`` open.
        topology: ``"dense"`` or the kind of mixture of experts; this and what follows have the
            defaults of `NetworkConfig`.
        num_classes: outputs.
        experts: experts per layer.
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch in pixels.
        seed: of the weights.

    Raises:
        InputError: an unknown name, a number outside its range, experts of a dense network, or an
            argument beside a `NetworkConfig` that decides the same.
    """
    shape = {
        "topology": topology,
        "num_classes": num_classes,
        "experts": experts,
        "image_size": image_size,
        "patch_size": patch_size,
    }
    config = _config_of(arch, {key: value for key, value in shape.items() if value is not None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture(config.arch).build(
            num_classes=config.num_classes,
            image_size=config.image_size,
            patch_size=config.patch_size,
            in_channels=config.in_channels,
        )
    if config.topology != "dense":
        make_experts_(network, config, images=None, noise=UPCYCLING_NOISE, seed=seed)
    return network


def _config_of(arch: str | NetworkConfig, given: dict[str, Any]) -> NetworkConfig:
    if not isinstance(arch, NetworkConfig):
        return NetworkConfig(arch, **given)
    if given:
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        raise InputError(
            f"a NetworkConfig decides the whole shape, so {arguments} would be ignored: leave that "
            f"out, or give dataclasses.replace(config, {arguments})"
        )
    return arch
