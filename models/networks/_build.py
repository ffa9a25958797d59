"""Networks by name and topology."""

import torch
from torch import nn

from models.networks._architecture import architecture
from models.networks._config import NetworkConfig
from models.networks._upcycle import UPCYCLING_NOISE, make_experts_


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
    """A network with random weights; that of topology ``cluster`` has random centroids too.

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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture(arch.arch).build(
            num_classes=arch.num_classes,
            image_size=arch.image_size,
            patch_size=arch.patch_size,
            in_channels=arch.in_channels,
        )
    if arch.topology != "dense":
        make_experts_(network, arch, images=None, noise=UPCYCLING_NOISE, seed=seed)
    return network
