"""VGG with batch normalisation for 32×32 images.

Paper: Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556, table 1, configurations A and E.
Layer shapes and state-dict keys are those of chenyaofo/pytorch-cifar-models (commit 786c162,
BSD-3), so that its checkpoints load: convolutions keep their bias, and the classifier is 512 wide
instead of 4,096.
"""

from collections.abc import Sequence

from torch import Tensor, nn

# Output channels of each convolution; 0 is a 2×2 max-pooling.
_VGG11 = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
_VGG19 = (
    *(64, 64, 0),
    *(128, 128, 0),
    *(256, 256, 256, 256, 0),
    *(512, 512, 512, 512, 0),
    *(512, 512, 512, 512, 0),
)

VGG11_EXPERT_BLOCKS = (4, 5)
VGG19_EXPERT_BLOCKS = (8, 9, 10, 11)
"""The 4×4 stage: the deepest that computes much (37 % of VGG-11's MACs, 33 % of VGG-19's). Gating
of whole images is published for deep stages only (Pavlitska et al., arXiv 2204.10598), and at 2×2
experts would cost as much storage for few MACs."""

SMALLEST_IMAGE = 32
"""Below, a pooling would have nothing left to pool."""


class VGGCifar(nn.Module):
    """A stack of 3×3 convolutions with five poolings, then three linear layers."""

    def __init__(self, widths: Sequence[int], *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.features = _features(widths, in_channels)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, 512),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(512, num_classes),
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        # Five poolings leave one position of a 32×32 image; larger images are averaged to one.
        logits: Tensor = self.classifier(self.features(x).mean(dim=(2, 3)))
        return logits


def vgg11_bn(num_classes: int = 10, *, in_channels: int = 3) -> VGGCifar:
    """VGG-11: 9.8 M parameters, 153 M MACs per 32×32 image."""
    return VGGCifar(_VGG11, num_classes=num_classes, in_channels=in_channels)


def vgg19_bn(num_classes: int = 10, *, in_channels: int = 3) -> VGGCifar:
    """VGG-19: 20.6 M parameters, 399 M MACs per 32×32 image."""
    return VGGCifar(_VGG19, num_classes=num_classes, in_channels=in_channels)


def expert_sites(network: nn.Module) -> tuple[str, ...]:
    """Convolutions that can become experts, with the normalisation and ReLU after them."""
    assert isinstance(network, VGGCifar)
    convolutions = (i for i, m in enumerate(network.features) if isinstance(m, nn.Conv2d))
    return tuple(f"features.{i}" for i in convolutions)


def expose_block_(network: nn.Module, name: str) -> str:
    """Gather convolution, normalisation and ReLU at ``name``; all other indices stay."""
    assert isinstance(network, VGGCifar)
    layers, index = network.features, int(name.rpartition(".")[2])
    block = nn.Sequential(*list(layers)[index : index + 3])
    block.training = layers.training
    layers[index], layers[index + 1], layers[index + 2] = block, nn.Identity(), nn.Identity()
    return name


def _features(widths: Sequence[int], in_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in widths:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(in_channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers)
