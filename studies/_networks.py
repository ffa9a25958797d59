"""The trained float networks that configurations name."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from luts.console import Reporter
from models import Data, NetworkConfig
from models.training import Start, base_network
from studies._images import Images


def load_network(
    settings: Mapping[str, Any],
    images: Images,
    *,
    folder: Path,
    seed: int,
    validation_images: int,
    reporter: Reporter,
) -> tuple[nn.Module, Data]:
    """A network of a study, from its file or from the cache, trained if it is in neither.

    Args:
        settings: ``arch``, ``topology``, ``images`` (what it classifies) and, if there is a file,
            ``weights``.
        images: where this machine has them.
        folder: that ``weights`` is relative to.
        seed: of the split, and of the training.
        validation_images: how many stay in the validation split.
        reporter: shows the progress of training.

    Raises:
        InputError: the images or the file are not there, or the weights are of another network.
    """
    data = images.read(settings["images"], seed=seed, reporter=reporter)
    shape = NetworkConfig(
        arch=settings["arch"],
        topology=settings["topology"],
        num_classes=data.num_classes,
        image_size=data.image_size,
    )
    weights = settings.get("weights")
    start = Start(str(folder / weights)) if weights else None
    network = base_network(shape, data, seed=seed, start=start, reporter=reporter)
    validation = data.validation.take(validation_images)
    return network.eval(), dataclasses.replace(data, validation=validation)
