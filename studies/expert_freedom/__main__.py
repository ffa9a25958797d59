"""``python -m studies.expert_freedom``: what could experts with circuits of their own save at most?

For each network of ``config.toml``: the saving of energy at equal predicted distortion, chosen on
some validation images and tested on others, beside a control. Minutes for a network.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pandas as pd
from torch import nn

from dse import Evaluator
from luts import catalog
from luts.console import Reporter, run
from luts.settings import check_settings, setting
from models import TOPOLOGIES, Data, NetworkConfig, TrainingRecipe
from models.networks import ClusterRoute
from models.training import (
    Start,
    base_network,
    check_trained_on,
    default_recipe,
    upcycled_recipe,
)
from studies._files import write_table
from studies._images import Images
from studies._options import check_known, study_parser, study_settings
from studies._training import trained_weights
from studies.expert_freedom._bound import bound
from studies.expert_freedom._imbalance import imbalanced

HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExpertNetwork:
    """A network with experts."""

    arch: Annotated[str, setting("architecture")]
    dataset: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    topology: Annotated[str, setting("of the network", choices=TOPOLOGIES[1:])]
    experts: Annotated[int, setting("per layer", ge=2)] = 4
    expert_blocks: Annotated[tuple[int, ...] | None, setting("that become experts", ge=0)] = None
    cluster_route: Annotated[ClusterRoute, setting("who chooses a cluster")] = "layer"
    dropped: Annotated[float, setting("part of each expert that starts anew", ge=0, le=1)] = 0.0
    epochs: Annotated[float | None, setting("of the experts, else the recipe's", ge=0)] = None
    imbalance: Annotated[
        float, setting("images of the first class for one of the last, in all splits", ge=1)
    ] = 1.0
    weights: Annotated[str, setting("file, relative to this folder; empty to train")] = ""
    training: Annotated[str, setting("network of trained_weights by whose recipes")] = ""
    image_size: Annotated[int | None, setting("else the data set's", unit="pixels", ge=1)] = None
    images: Annotated[int | None, setting("to choose on, else the study's", ge=1)] = None

    def __post_init__(self) -> None:
        check_settings(self)

    def load(self, images: Images, *, seed: int, reporter: Reporter) -> tuple[nn.Module, Data]:
        """The trained network and its images.

        Raises:
            InputError: the images or the file are not there, or not of this network.
        """
        data = images.read(self.dataset, seed=seed, image_size=self.image_size, reporter=reporter)
        shape = NetworkConfig(
            arch=self.arch,
            topology=self.topology,
            num_classes=data.num_classes,
            image_size=data.image_size,
            experts=self.experts,
            expert_blocks=self.expert_blocks,
            cluster_route=self.cluster_route,
            dropped=self.dropped,
        )
        start = None
        if self.weights:
            check_trained_on(HERE / self.weights, data)
            start = Start(str(HERE / self.weights))
        if self.imbalance > 1:
            data = imbalanced(data, self.imbalance)
        recipe, further = self._recipes(data.name)
        network = base_network(
            shape,
            data,
            seed=seed,
            recipe=recipe,
            experts_recipe=further,
            start=start,
            reporter=reporter,
        )
        return network.eval(), data

    def _recipes(self, dataset: str) -> tuple[TrainingRecipe, TrainingRecipe]:
        """Of the dense network, and of what follows with experts."""
        if self.training:
            study = trained_weights(self.training)
            recipe, further = study.recipe("dense"), study.recipe(self.topology)
        else:
            recipe = default_recipe(self.arch, dataset)
            further = upcycled_recipe(recipe)
        if self.epochs is not None:
            further = dataclasses.replace(further, epochs=self.epochs)
        return recipe, further


@dataclasses.dataclass(frozen=True)
class FreedomStudy:
    """The configuration."""

    seed: Annotated[int, setting("of split, projections and permutations", ge=0)]
    calibration_images: Annotated[int, setting("for ranges and recovery", ge=1)]
    images: Annotated[int, setting("to choose on, and as many to test on", ge=1)]
    permutations: Annotated[int, setting("of experts, in the control", ge=1)]
    multipliers: Annotated[str, setting("a set of the catalogue")]
    networks: Annotated[Mapping[str, ExpertNetwork], setting("by name")]

    def __post_init__(self) -> None:
        check_settings(self)
        catalog.names(self.multipliers)

    def images_of(self, name: str) -> int:
        """That choices are made on, for a network."""
        return self.networks[name].images or self.images


def main() -> None:
    """Bound what freedom saves, network by network."""
    parser = study_parser("expert_freedom", __doc__, "--images", "--data-root", "--networks")
    options = parser.parse_args()
    study, reporter = study_settings(FreedomStudy, "expert_freedom"), Reporter()
    check_known("network", options.networks, study.networks)
    for name in options.networks or study.networks:
        frame = measured(study, name, Images.of(options), reporter)
        about = {key: value for key, value in vars(study).items() if key != "networks"}
        about["images"] = study.images_of(name)
        write_table(options.results / f"{name}.csv", frame, about, digits=4)
        print(frame.to_string(index=False))


def measured(study: FreedomStudy, name: str, images: Images, reporter: Reporter) -> pd.DataFrame:
    """The rows of one network.

    Raises:
        InputError: the network or its images are not there, or there are too few of these.
    """
    network, data = study.networks[name].load(images, seed=study.seed, reporter=reporter)
    evaluator = Evaluator(network, data, calibration_images=study.calibration_images)
    return bound(
        name,
        evaluator,
        multipliers=study.multipliers,
        images=study.images_of(name),
        permutations=study.permutations,
        seed=study.seed,
        reporter=reporter,
    )


if __name__ == "__main__":
    run(main)
