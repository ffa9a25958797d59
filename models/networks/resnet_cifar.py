"""ResNet for 32×32 images.

Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
Layer shapes and state-dict keys are those of chenyaofo/pytorch-cifar-models (commit 786c162,
BSD-3), so that its checkpoints load. As there, and unlike the paper, a shortcut that changes shape
is a 1×1 convolution (option B) instead of padding with zeros.
"""

from torch import Tensor, nn
from torch.nn import functional


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut; ``stride`` halves the image in the first."""

    def __init__(self, in_channels: int, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, channels, stride=stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv3x3(channels, channels)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, H/stride, W/stride]``."""
        shortcut = x if self.downsample is None else self.downsample(x)
        hidden = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(hidden)) + shortcut)


class ResNetCifar(nn.Module):
    """Three stages of ``blocks`` residual blocks each, 16, 32 and 64 channels wide."""

    def __init__(self, blocks: int, *, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = _conv3x3(in_channels, 16)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks=blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks=blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks=blocks, stride=2)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He et al., arXiv 1502.01852, eq. 10 (forward or backward variance alike).
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images ``[N, in_channels, H, W]`` to logits ``[N, num_classes]``."""
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def resnet20(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCifar:
    """ResNet-20: 0.27 M parameters, 40.8 M MACs a 32×32 image."""
    return ResNetCifar(3, num_classes=num_classes, in_channels=in_channels)


def _conv3x3(in_channels: int, channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


def _stage(in_channels: int, channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))
