"""ViT-Small as in timm: 384 wide, 12 blocks, 6 heads, class token.

Dosovitskiy et al., ICLR 2021, arXiv 2010.11929; the small variant of Touvron et al. (DeiT),
ICML 2021.
"""

from torch import nn

from models.networks._timm import timm

DEPTH = 12
DEFAULT_PATCH_SIZE = 16


def vit_small(
    *, num_classes: int, image_size: int, patch_size: int | None, in_channels: int
) -> nn.Module:
    """ViT-Small of timm: 22,050,664 parameters at 224 pixels, patch 16 and 1,000 classes.

    Args:
        num_classes: outputs of the head.
        image_size: height and width of the input in pixels.
        patch_size: height and width of a patch in pixels.
        in_channels: channels of the input.
    """
    network: nn.Module = timm().create_model(
        "vit_small_patch16_224",
        num_classes=num_classes,
        img_size=image_size,
        patch_size=patch_size or DEFAULT_PATCH_SIZE,
        in_chans=in_channels,
    )
    return network


def expert_sites(network: nn.Module) -> tuple[str, ...]:
    """Modules that can become experts: the MLP of every block."""
    return tuple(f"blocks.{i}.mlp" for i in range(DEPTH))


DEFAULT_EXPERT_BLOCKS = tuple(range(1, DEPTH, 2))
"""Every other block, as in V-MoE's Every-2 (Riquelme et al., NeurIPS 2021, arXiv 2106.05974)."""
