"""Architectures by name: our own, timm's, and functions in a user's file."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

from torch import nn

from luts.errors import InputError, suggest
from models.networks import _foreign, _vit, resnet_cifar, vgg_cifar
from models.networks._experts import Granularity


class DenseBuilder(Protocol):
    """Makes the dense network of an architecture."""

    def __call__(
        self, *, num_classes: int, image_size: int, patch_size: int | None, in_channels: int
    ) -> nn.Module:
        """Build it with random weights from the global generator."""


def _is_a_module_already(network: nn.Module, name: str) -> str:
    return name


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One architecture: how to build it and where its experts can go.

    Attributes:
        build: makes the dense network.
        expert_sites: qualified names of the blocks that can become experts, in order.
        default_expert_blocks: which of them do, by index; None for every other one.
        granularity: what a router routes in it.
        expose_: makes the part of the named block that becomes experts a module of its own, in
            place and without changing the function; gives that module's qualified name.
        has_patches: a patch size means something.
        default_patch_size: height and width in pixels where none is asked for; None if unknown.
        smallest_image: least height and width in pixels.
    """

    build: DenseBuilder
    expert_sites: Callable[[nn.Module], tuple[str, ...]]
    default_expert_blocks: tuple[int, ...] | None
    granularity: Granularity
    expose_: Callable[[nn.Module, str], str] = _is_a_module_already
    has_patches: bool = True
    default_patch_size: int | None = None
    smallest_image: int = 1


def _cnn(make: Callable[..., nn.Module]) -> DenseBuilder:
    def build(
        *, num_classes: int, image_size: int, patch_size: int | None, in_channels: int
    ) -> nn.Module:
        return make(num_classes, in_channels=in_channels)

    return build


def _vgg(make: Callable[..., nn.Module], default_expert_blocks: tuple[int, ...]) -> Architecture:
    return Architecture(
        build=_cnn(make),
        expert_sites=vgg_cifar.expert_sites,
        default_expert_blocks=default_expert_blocks,
        granularity="image",
        expose_=vgg_cifar.expose_block_,
        has_patches=False,
        smallest_image=vgg_cifar.SMALLEST_IMAGE,
    )


ARCHITECTURES: dict[str, Architecture] = {
    "vit_small": Architecture(
        build=_vit.vit_small,
        expert_sites=_vit.expert_sites,
        default_expert_blocks=_vit.DEFAULT_EXPERT_BLOCKS,
        granularity="token",
        default_patch_size=_vit.DEFAULT_PATCH_SIZE,
    ),
    "resnet20": Architecture(
        build=_cnn(resnet_cifar.resnet20),
        expert_sites=resnet_cifar.expert_sites,
        default_expert_blocks=resnet_cifar.DEFAULT_EXPERT_BLOCKS,
        granularity="image",
        expose_=resnet_cifar.expose_branch_,
        has_patches=False,
    ),
    "vgg11_bn": _vgg(vgg_cifar.vgg11_bn, vgg_cifar.VGG11_EXPERT_BLOCKS),
    "vgg19_bn": _vgg(vgg_cifar.vgg19_bn, vgg_cifar.VGG19_EXPERT_BLOCKS),
}
"""Every architecture of our own by name."""


def architecture(name: str) -> Architecture:
    """The architecture called ``name``: of our own, ``timm:NAME``, or ``FILE.py:FUNCTION``.

    Raises:
        InputError: there is none of that name.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    build = _foreign.builder(name)
    if build is None:
        known = [*ARCHITECTURES, "timm:NAME", "path/to/file.py:function"]
        raise InputError(f"unknown architecture {name!r}; {suggest(name, known)}")
    return Architecture(
        build=build,
        expert_sites=_foreign.expert_sites,
        default_expert_blocks=None,
        granularity="token",
    )
