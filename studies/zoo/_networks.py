"""Networks that nobody here wrote, with random weights, and inputs for them."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from luts.errors import InputError
from luts.settings import check_settings, setting
from models import adapt, build
from models.networks import timm
from models.training import has_batchnorm, recalibrate_
from studies._options import study_settings

HERE = Path(__file__).parent
CLASSES = 1000
WEIGHT_STD = 0.15
"""Of small language models: with the libraries' own 0.02 their logits hardly differ."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A network of Hugging Face's transformers, made from its configuration."""

    network: Annotated[str, setting("class of transformers")]
    config: Annotated[str, setting("class of its configuration")]
    adapted: Annotated[bool, setting("whether it holds experts, for models.adapt")] = False
    settings: Annotated[Mapping[str, Any], setting("of the configuration")]

    def __post_init__(self) -> None:
        check_settings(self)


@dataclasses.dataclass(frozen=True)
class ZooStudy:
    """The configuration file."""

    inputs: Annotated[int, setting("images or sequences a network", ge=2)]
    tokens: Annotated[int, setting("of a sequence", ge=2)]
    seed: Annotated[int, setting("of weights, inputs and noise", ge=0)]
    timm: Annotated[tuple[str, ...], setting("networks of timm, the quickest first")]
    transformers: Annotated[Mapping[str, LanguageModel], setting("by name")]

    def __post_init__(self) -> None:
        check_settings(self)

    @classmethod
    def read(cls) -> "ZooStudy":
        """The committed one."""
        return study_settings(cls, "zoo")

    def cells(self) -> Iterator["ZooCell"]:
        """All networks: language models, then images."""
        for name in self.transformers:
            yield ZooCell("transformers", name)
        for name in self.timm:
            yield ZooCell("timm", name)


@dataclasses.dataclass(frozen=True)
class ZooCell:
    """One network.

    Attributes:
        library: that it comes from.
        network: its name there, or in the configuration.
    """

    library: str
    network: str

    @property
    def name(self) -> str:
        """As a file's name without its ending."""
        return f"{self.library}-{self.network}"


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A network to measure, and what it is called with.

    Attributes:
        network: in evaluation mode.
        inputs: one batch.
        family: the module of its library that it comes from.
    """

    network: nn.Module
    inputs: Tensor
    family: str


def made(study: ZooStudy, cell: ZooCell) -> Subject:
    """The network of a cell.

    Raises:
        InputError: its library is not there or does not know it.
    """
    # Not the seed of the weights: one stream of numbers for both would correlate them.
    generator = torch.Generator().manual_seed(study.seed + 1)
    if cell.library == "timm":
        return _of_timm(study, cell.network, generator)
    return _of_transformers(study, study.transformers[cell.network], generator)


def _of_timm(study: ZooStudy, name: str, generator: torch.Generator) -> Subject:
    library = timm()
    if not library.is_model(name):
        raise InputError(f"this timm has no network {name}: it came or went with another version")
    channels, side, _ = library.get_pretrained_cfg_value(name, "input_size")
    network = build(f"timm:{name}", image_size=side, num_classes=CLASSES, seed=study.seed).eval()
    images = torch.randn(study.inputs, channels, side, side, generator=generator)
    if has_batchnorm(network):  # with its first statistics, random weights let signals die
        recalibrate_(network, images)
    return Subject(network, images, type(network).__module__.rpartition(".")[2])


def _of_transformers(study: ZooStudy, model: LanguageModel, generator: torch.Generator) -> Subject:
    timm()  # makes torchvision importable, which transformers looks for, on a CPU build of torch
    try:
        import transformers
    except ImportError as error:
        raise InputError("these rows need transformers: pip install 'transformers>=5'") from error
    quieten: Callable[[], None] = transformers.logging.set_verbosity_error
    quieten()
    settings = {"use_cache": False, **model.settings}
    config = getattr(transformers, model.config)(**settings)
    with _seeded(study.seed):
        network = getattr(transformers, model.network)(config).eval()
        for parameter in network.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=WEIGHT_STD)
    family = type(network).__module__.split(".")[-2]
    size = study.inputs, study.tokens
    tokens = torch.randint(3, config.vocab_size, size, generator=generator)
    return Subject(adapt(network) if model.adapted else network, tokens, family)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
