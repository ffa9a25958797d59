"""Recipes of float networks: the tables of ``studies/trained_weights/config.toml``."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

from luts.settings import check_settings, read_settings, setting
from models import training
from models.networks import TOPOLOGIES
from studies._options import check_known, read_config

Changes = Mapping[str, Any] | None


@dataclasses.dataclass(frozen=True)
class WeightsStudy:
    """A network of the configuration, trained in every topology."""

    arch: Annotated[str, setting("architecture")]
    dataset: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    image_size: Annotated[int | None, setting("height and width", unit="pixels", ge=1)] = None
    patch_size: Annotated[int | None, setting("of a transformer", unit="pixels", ge=1)] = None
    dense: Annotated[Changes, setting("changes to the default recipe, of the dense network")] = None
    upcycled: Annotated[Changes, setting("the same, of every network with experts")] = None
    hard: Annotated[Changes, setting("further ones, of this topology")] = None
    soft: Annotated[Changes, setting("further ones, of this topology")] = None
    cluster: Annotated[Changes, setting("further ones, of this topology")] = None

    def __post_init__(self) -> None:
        check_settings(self)
        for topology in TOPOLOGIES:
            self.recipe(topology)

    def recipe(self, topology: str) -> training.TrainingRecipe:
        """How a topology is trained."""
        common = None if topology == "dense" else self.upcycled
        usual = vars(training.default_recipe(self.arch, self.dataset))
        return training.TrainingRecipe.from_dict(
            {**usual, **(common or {}), **(getattr(self, topology) or {})}
        )


def trained_weights(name: str) -> WeightsStudy:
    """The network of that name.

    Raises:
        InputError: the configuration has none, or the table is not legal.
    """
    tables = read_config("trained_weights")
    check_known("network", [name], tables)
    return read_settings(WeightsStudy, tables[name], title=f"network {name}")
