"""ResNet for 32×32 images.

Paper: He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, section 4.2.
Layer shapes and state-dict keys are those of chenyaofo/pytorch-cifar-models (commit 786c162,
BSD-3), so that its checkpoints load. As there, and unlike the paper, a shortcut that changes shape
is a 1×1 convolution (option B) instead of padding with zeros.
"""

from torch import Tensor, nn
from torch.nn import functional

BLOCKS_PER_STAGE = 3
DEFAULT_EXPERT_BLOCKS = (6, 7, 8)
"""The last stage. One choice per image needs features that tell images apart, which the early
stages do not have yet; gating of whole images is published for deep stages only (Pavlitska et al.,
arXiv 2204.10598). It holds 32 % of the MACs and 75 % of the parameters."""


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


class ExpertBlock(nn.Module):
    """A `BasicBlock` whose residual branch is a module of its own, and so can become experts.

    The shortcut stays shared: every image has it, whichever expert works on the branch.

    Args:
        block: the dense block; its layers are taken over, not copied.
    """

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.branch: nn.Module = Branch(block)
        self.downsample = block.downsample
        self.training = block.training

    def forward(self, x: Tensor) -> Tensor:
        """As `BasicBlock`."""
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(self.branch(x) + shortcut)


class Branch(nn.Module):
    """The residual branch of a block: both convolutions with their normalisation."""

    def __init__(self, block: BasicBlock) -> None:
        super().__init__()
        self.conv1, self.bn1 = block.conv1, block.bn1
        self.conv2, self.bn2 = block.conv2, block.bn2
        self.training = block.training

    def forward(self, x: Tensor) -> Tensor:
        """``[N, in_channels, H, W]`` to ``[N, channels, H/stride, W/stride]``."""
        y: Tensor = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return y


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
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def resnet20(num_classes: int = 10, *, in_channels: int = 3) -> ResNetCifar:
    """ResNet-20: 0.27 M parameters, 40.8 M MACs per 32×32 image."""
    return ResNetCifar(BLOCKS_PER_STAGE, num_classes=num_classes, in_channels=in_channels)


def expert_sites(network: nn.Module) -> tuple[str, ...]:
    """Blocks whose residual branch can become experts: all nine, in order."""
    return tuple(
        f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(BLOCKS_PER_STAGE)
    )


def expose_branch_(network: nn.Module, name: str) -> str:
    """Make the residual branch of the block at ``name`` a submodule; its qualified name."""
    block = network.get_submodule(name)
    assert isinstance(block, BasicBlock)
    network.set_submodule(name, ExpertBlock(block))
    return f"{name}.branch"


def _conv3x3(in_channels: int, channels: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)


def _stage(in_channels: int, channels: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride=stride)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))
