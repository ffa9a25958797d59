"""What is timed: the layer shapes of three networks, and the networks."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import nn

from luts import Arithmetic, Geometry, Multiplier, catalog, families
from luts.settings import setting
from models.networks import build
from models.networks.resnet_cifar import resnet20
from models.networks.vgg_cifar import vgg11_bn
from studies._options import check_known

NETWORKS = ("resnet20", "vgg11_bn", "vit_small")

MakeBatch = Callable[[int], torch.Tensor]


@dataclasses.dataclass(frozen=True)
class SpeedStudy:
    """The configuration."""

    seed: Annotated[int, setting("of weights and images", ge=0)]
    repetitions: Annotated[int, setting("interleaved rounds", ge=1)]
    loop_repetitions: Annotated[int, setting("of them with the slow baseline", ge=1)]
    layer_batch: Annotated[int, setting("images of a single layer", ge=1)]
    product_batch: Annotated[int, setting("images of a convolution of codes", ge=1)]
    batch: Annotated[Mapping[str, int], setting("images by network", ge=1)]
    memory_batch: Annotated[int, setting("images where memory is measured", ge=1)]
    vit_image_size: Annotated[int, setting("height and width", unit="pixels", ge=1)]
    vit_patch_size: Annotated[int, setting("of the transformer", unit="pixels", ge=1)]
    training_circuits: Annotated[tuple[str, ...], setting("that training is timed with")]

    def __post_init__(self) -> None:
        check_known("network", self.batch, NETWORKS)
        check_known("circuit", self.training_circuits, circuits())


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer shape.

    Attributes:
        network: where it occurs.
        kind: ``"conv"``, ``"linear"`` or ``"attention"``.
        shape: channels, out channels, image size, stride for ``conv``; rows an image, K, N for
            ``linear``; heads, M, K, N for ``attention``.
    """

    network: str
    kind: str
    shape: tuple[int, ...]

    @property
    def name(self) -> str:
        """Kind and shape."""
        return f"{self.network} {self.kind} " + "x".join(map(str, self.shape))

    @property
    def geometry(self) -> Geometry:
        """The window: 3×3, padding 1, for a convolution."""
        if self.kind != "conv":
            return Geometry()
        return Geometry((3, 3), (self.shape[3],) * 2, (1, 1))


def layers(tokens: int) -> list[Layer]:
    """Every layer shape of the three networks, once."""
    convs = {
        "resnet20": "3 16 32 1,16 16 32 1,16 32 32 2,32 32 16 1,32 64 16 2,64 64 8 1",
        "vgg11_bn": "3 64 32 1,64 128 16 1,128 256 8 1,256 256 8 1,256 512 4 1,"
        "512 512 4 1,512 512 2 1",
    }
    convolutions = [
        Layer(net, "conv", tuple(map(int, shape.split())))
        for net, shapes in convs.items()
        for shape in shapes.split(",")
    ]
    linears = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
    products = [(6, tokens, 64, tokens), (6, tokens, tokens, 64)]
    return [
        *convolutions,
        Layer("vgg11_bn", "linear", (1, 512, 512)),
        *(Layer("vit_small", "linear", (tokens, *sizes)) for sizes in linears),
        *(Layer("vit_small", "attention", shape) for shape in products),
    ]


def products() -> list[Layer]:
    """What products of codes are timed on: large linear layers, and every convolution."""
    linears = [(1536, 384, 4096), (2080, 384, 1536)]
    return [
        *(Layer("product", "linear", sizes) for sizes in linears),
        *(layer for layer in layers(1) if layer.kind == "conv"),
    ]


def network(name: str, study: SpeedStudy) -> tuple[nn.Module, MakeBatch]:
    """An untrained network, and what makes a batch for it."""
    seed, size = study.seed, study.vit_image_size if name == "vit_small" else 32
    if name == "vit_small":
        patch = study.vit_patch_size
        net = build("vit_small", num_classes=200, image_size=size, patch_size=patch, seed=seed)
    else:
        torch.manual_seed(seed)
        net = {"resnet20": resnet20, "vgg11_bn": vgg11_bn}[name]()
    generator = torch.Generator().manual_seed(seed)
    return net.eval(), lambda batch: torch.randn(batch, 3, size, size, generator=generator)


def circuits() -> dict[str, Multiplier]:
    """The thirteen of the catalogue, and two unsigned ones whose tables have no short factors."""
    unsigned = functools.partial(
        Multiplier, power_mw=1.0, area_um2=1.0, delay_ns=1.0, source="luts.families", signed=False
    )
    return {
        **catalog,
        "unsigned_mitchell": unsigned("unsigned_mitchell", families.mitchell(signed=False)),
        "unsigned_roba": unsigned("unsigned_roba", families.roba(signed=False)),
    }


def kind_of(multiplier: Multiplier) -> str:
    """``"3 terms"``, or ``"table"`` for a circuit without a short factorisation."""
    factors = Arithmetic(multiplier).factorisation
    return "table" if factors is None else f"{factors.terms} term" + "s" * (factors.terms > 1)
