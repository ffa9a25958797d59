"""Networks by name and topology."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn

from luts.errors import InputError, suggest
from models.networks import _vit
from models.networks._experts import Granularity, upcycled
from models.networks._hard import HardMoE

UPCYCLING_NOISE = 0.01
"""Noise on upcycled experts, relative to each weight tensor's spread."""


class DenseBuilder(Protocol):
    """Makes the dense network of an architecture."""

    def __call__(
        self, *, num_classes: int, image_size: int, patch_size: int | None, in_channels: int
    ) -> nn.Module:
        """Build it with random weights from the global generator."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture: how to build it and where its experts can go.

    Attributes:
        build: makes the dense network.
        expert_sites: qualified names of the modules that can become experts, in order.
        default_expert_blocks: which of them do, by index.
        granularity: what a router routes in it.
    """

    build: DenseBuilder
    expert_sites: Callable[[nn.Module], tuple[str, ...]]
    default_expert_blocks: tuple[int, ...]
    granularity: Granularity


ARCHITECTURES: dict[str, Architecture] = {
    "vit_small": Architecture(
        build=_vit.vit_small,
        expert_sites=_vit.expert_sites,
        default_expert_blocks=_vit.DEFAULT_EXPERT_BLOCKS,
        granularity="token",
    ),
}
"""Every architecture by name."""

TOPOLOGIES: tuple[str, ...] = ("dense", "hard")
"""Every topology."""


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """Everything that decides a network's shape.

    Attributes:
        arch: name of the architecture.
        topology: ``"dense"`` or the kind of mixture of experts.
        num_classes: outputs.
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch in pixels; None for the architecture's own.
        in_channels: channels of the input.
        experts: experts in a layer.
        expert_blocks: indices of the blocks that become experts; None for the architecture's own.
        top_k: experts that work on one item.

    Raises:
        InputError: an unknown name or a number outside its range.
    """

    arch: str
    topology: str = "dense"
    num_classes: int = 10
    image_size: int = 32
    patch_size: int | None = None
    in_channels: int = 3
    experts: int = 4
    expert_blocks: tuple[int, ...] | None = None
    top_k: int = 1

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            known = list(ARCHITECTURES)
            raise InputError(f"unknown architecture {self.arch!r}; {suggest(self.arch, known)}")
        if self.topology not in TOPOLOGIES:
            known = list(TOPOLOGIES)
            raise InputError(f"unknown topology {self.topology!r}; {suggest(self.topology, known)}")
        if self.num_classes < 2:
            raise InputError(f"a classifier needs at least 2 classes, not {self.num_classes}")
        if self.experts < 2:
            raise InputError(f"a mixture needs at least 2 experts, not {self.experts}")
        if not 1 <= self.top_k <= self.experts:
            raise InputError(f"top_k lies in 1…{self.experts} (the experts), not {self.top_k}")
        if self.patch_size is not None and (
            self.patch_size < 1 or self.image_size % self.patch_size
        ):
            raise InputError(
                f"patches must tile the image: size {self.image_size} is no multiple of "
                f"{self.patch_size}"
            )


def build(
    arch: str | NetworkConfig,
    *,
    topology: str = "dense",
    num_classes: int = 10,
    experts: int = 4,
    image_size: int = 32,
    patch_size: int | None = None,
    seed: int = 0,
) -> nn.Module:
    """A network with random weights.

    Args:
        arch: name of the architecture, or a whole `NetworkConfig` (the other arguments but ``seed``
            are then ignored).
        topology: ``"dense"`` or the kind of mixture of experts.
        num_classes: outputs.
        experts: experts in a layer.
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch in pixels.
        seed: of the weights.

    Raises:
        InputError: an unknown name or a number outside its range.
    """
    if not isinstance(arch, NetworkConfig):
        arch = NetworkConfig(
            arch=arch,
            topology=topology,
            num_classes=num_classes,
            experts=experts,
            image_size=image_size,
            patch_size=patch_size,
        )
    architecture = ARCHITECTURES[arch.arch]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture.build(
            num_classes=arch.num_classes,
            image_size=arch.image_size,
            patch_size=arch.patch_size,
            in_channels=arch.in_channels,
        )
    if arch.topology != "dense":
        upcycle_(network, arch, seed=seed)
    return network


def upcycle_(
    network: nn.Module, config: NetworkConfig, *, noise: float = UPCYCLING_NOISE, seed: int = 0
) -> None:
    """Turn blocks of a dense network into experts, in place.

    Args:
        network: a dense network of ``config.arch``.
        config: topology, number of experts, and which blocks.
        noise: spread of the experts around the dense block, relative to each weight tensor's
            spread; with 0 the network computes the same function as before.
        seed: of noise and router.

    Raises:
        InputError: a block's index lies outside the architecture's range.
    """
    architecture = ARCHITECTURES[config.arch]
    names = architecture.expert_sites(network)
    blocks = config.expert_blocks
    for index in architecture.default_expert_blocks if blocks is None else blocks:
        if not 0 <= index < len(names):
            raise InputError(
                f"expert blocks of {config.arch} lie in 0…{len(names) - 1}, not {index}"
            )
        dense = network.get_submodule(names[index])
        # Layers of one network must not start with the same noise.
        layer_seed = seed * 1_000 + index
        experts = upcycled(dense, config.experts, noise=noise, seed=layer_seed)
        layer = _expert_layer(experts, config, features=_input_features(dense), seed=layer_seed)
        network.set_submodule(names[index], layer)


def _expert_layer(
    experts: list[nn.Module], config: NetworkConfig, *, features: int, seed: int
) -> nn.Module:
    granularity = ARCHITECTURES[config.arch].granularity
    return HardMoE(
        experts, features=features, granularity=granularity, top_k=config.top_k, seed=seed
    )


def _input_features(module: nn.Module) -> int:
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            return layer.in_features
        if isinstance(layer, nn.Conv2d):
            return layer.in_channels
    raise InputError(
        f"{type(module).__name__} has no linear or convolution layer to make experts of"
    )
