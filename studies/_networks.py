"""The trained float networks that configurations name."""

import dataclasses
from pathlib import Path
from string import Formatter
from typing import Annotated

from torch import nn

from dse import Evaluator
from energy import Workload
from luts.console import Reporter
from luts.errors import InputError
from luts.settings import check_settings, setting
from models import TOPOLOGIES, Data, NetworkConfig, expert_work, measure_routing
from models.training import Start, base_network
from studies._images import Images

PLACEHOLDERS = ("arch", "topology", "dataset", "seed")
"""That the file name of weights may have."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NamedNetwork:
    """A float network of a study."""

    arch: Annotated[str, setting("architecture")]
    topology: Annotated[str, setting("of the network", choices=TOPOLOGIES)]
    images: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    weights: Annotated[str, setting("file, relative to the study's folder; empty to train")] = ""

    def __post_init__(self) -> None:
        check_settings(self)

    def load(
        self,
        images: Images,
        *,
        folder: Path,
        seed: int,
        validation_images: int,
        reporter: Reporter,
    ) -> tuple[nn.Module, Data]:
        """The network, from its file or from the cache, trained if it is in neither.

        Args:
            images: where this machine has them.
            folder: that ``weights`` is relative to.
            seed: of the split, and of the training.
            validation_images: how many stay in the validation split.
            reporter: shows the progress of training.

        Raises:
            InputError: the images or the file are not there, or the weights are of another network.
        """
        data = images.read(self.images, seed=seed, reporter=reporter)
        shape = NetworkConfig(
            arch=self.arch,
            topology=self.topology,
            num_classes=data.num_classes,
            image_size=data.image_size,
        )
        start = Start(str(folder / self.weights)) if self.weights else None
        network = base_network(shape, data, seed=seed, start=start, reporter=reporter)
        validation = data.validation.take(validation_images)
        return network.eval(), dataclasses.replace(data, validation=validation)


def workload_of(evaluator: Evaluator) -> Workload:
    """What a network computes, routed as the exact int8 network routes the calibration images."""
    exact, inputs = evaluator.emulated.network, evaluator.inputs
    source = f"exact int8 network, {len(inputs)} training images"
    routing = measure_routing(exact, [inputs], source=source)
    return Workload(evaluator.emulated.sites, routing, tuple(expert_work(exact, inputs[:1])))


def check_template(weights: str) -> None:
    """Check the placeholders in the file name of weights.

    Raises:
        InputError: it has another one, or a brace that is not closed.
    """
    try:
        is_legal = all(
            name is None or (name in PLACEHOLDERS and not form and not conversion)
            for _, name, form, conversion in Formatter().parse(weights)
        )
    except ValueError:
        is_legal = False
    if not is_legal:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise InputError(f"weights takes {known} in braces only, not {weights!r}")
