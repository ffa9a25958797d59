"""What the study runs: its configuration, and one cell of it."""

import copy
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import nn

import luts
import models
from luts.console import Reporter
from luts.settings import check_settings, setting
from models import Assignment, Data, Recovered, Recovery, TrainingRecipe
from models.training import has_batchnorm, state_digest
from studies._images import Images
from studies._networks import NamedNetwork
from studies._options import check_known, study_settings
from studies._pace import TRAINING_STEP, median_seconds, seconds_per_image, training_step

HERE = Path(__file__).parent
BATCH_SIZE = 250
TIMED_BATCH, TIMED_STEPS = 128, 9


@dataclasses.dataclass(frozen=True)
class RecoveryCell:
    """One recovery.

    Attributes:
        network: name of a network in the configuration.
        multiplier: at all sites but the routers.
        recipe: name of a recipe in the configuration.
        seed: of the images that statistics are taken on, and of fine-tuning.
    """

    network: str
    multiplier: str
    recipe: str
    seed: int

    @property
    def name(self) -> str:
        """As its file is named, without the ending."""
        multiplier = self.multiplier.replace(":", "_")
        return f"{self.network}-{multiplier}-{self.recipe}-{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecoveredNetwork(NamedNetwork):
    """A float network of the study."""

    training: Annotated[Mapping[str, Any] | None, setting("changes to recipes' fine-tuning")] = None


@dataclasses.dataclass(frozen=True)
class RecoveryStudy:
    """The configuration of the matrix."""

    multipliers: Annotated[str, setting("a set of the catalogue")]
    seeds: Annotated[tuple[int, ...], setting("one run per seed", ge=0)]
    data_seed: Annotated[int, setting("of the split that the weights were trained with", ge=0)]
    validation_images: Annotated[int, setting("that states are scored on", ge=1)]
    networks: Annotated[Mapping[str, RecoveredNetwork], setting("by name")]
    recipes: Annotated[Mapping[str, Recovery], setting("by name")]
    only: Annotated[
        Mapping[str, tuple[str, ...]], setting("multipliers of recipes that are not run for all")
    ]
    on: Annotated[
        Mapping[str, tuple[str, ...]], setting("networks of recipes that are not run on all")
    ]
    swapped: Annotated[tuple[str, ...], setting("recipes that start with weights on port one")]
    rounded: Annotated[
        tuple[str, ...], setting("recipes whose operands are rounded where a port ignores bits")
    ] = ()

    def __post_init__(self) -> None:
        check_settings(self)
        check_known("recipe", [*self.only, *self.on, *self.swapped, *self.rounded], self.recipes)
        check_known("network", itertools.chain(*self.on.values()), self.networks)
        for names in (self.multipliers, *map(",".join, self.only.values())):
            luts.catalog.names(names)
        for recipe, network in itertools.product(self.recipes, self.networks):
            self.recipe(recipe, network)

    @classmethod
    def read(cls) -> "RecoveryStudy":
        """The committed one."""
        return study_settings(cls, "recovery")

    def recipe(self, name: str, network: str) -> Recovery:
        """A recipe with what the network's training needs."""
        recipe = self.recipes[name]
        changes = self.networks[network].training if network in self.networks else None
        if recipe.fine_tuning is None or changes is None:
            return recipe
        training = TrainingRecipe.from_dict({**vars(recipe.fine_tuning.training), **changes})
        tuning = dataclasses.replace(recipe.fine_tuning, training=training)
        return dataclasses.replace(recipe, fine_tuning=tuning)

    def cells(self) -> Iterator[RecoveryCell]:
        """All cells, the cheap recipes of all networks first."""
        for recipe in self.recipes:
            for network in self.on.get(recipe, tuple(self.networks)):
                for multiplier in self.only.get(recipe, luts.catalog.names(self.multipliers)):
                    if multiplier == luts.EXACT:
                        continue
                    for seed in self.seeds:
                        yield RecoveryCell(network, multiplier, recipe, seed)


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained float network and its data, the validation split cut to the study's size."""

    network: nn.Module
    data: Data

    @classmethod
    def load(
        cls, named: NamedNetwork, study: RecoveryStudy, images: Images, reporter: Reporter
    ) -> "TrainedNetwork":
        """Load a network of the configuration and what it classifies.

        Raises:
            InputError: its weights are missing.
        """
        count, seed = study.validation_images, study.data_seed
        return cls(
            *named.load(images, folder=HERE, seed=seed, validation_images=count, reporter=reporter)
        )

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Digest of the float network."""
        return state_digest(self.network.state_dict())

    @functools.cached_property
    def epoch_seconds(self) -> float:
        """Of training the float network for one epoch, from a few steps here and now."""
        sample = self.data.train.take(TIMED_BATCH)
        step = training_step(copy.deepcopy(self.network), sample.images, sample.labels)
        return median_seconds(step, TIMED_STEPS) * len(self.data.train) / len(sample)

    @functools.cached_property
    def _image_seconds(self) -> float:
        return seconds_per_image(self.network, self.data.train.take(TIMED_BATCH))

    def seconds_of(self, recipe: Recovery) -> float:
        """About what a recovery takes; the ladder scores after every step."""
        passes = 2 + 4 * has_batchnorm(self.network)
        images: float = passes * recipe.images + 6 * len(self.data.validation)
        if recipe.fine_tuning is not None:
            epochs = recipe.fine_tuning.training.epochs
            images += TRAINING_STEP * epochs * len(self.data.train)
        return images * self._image_seconds

    def emulated(self, *, seed: int, images: int) -> models.EmulatedNetwork:
        """The exact int8 network, calibrated on images drawn by ``seed``."""
        batches = self.shuffled(seed).train.take(images).batches(BATCH_SIZE)
        return models.emulate(self.network, luts.EXACT, calibration=batches)

    def shuffled(self, seed: int) -> Data:
        """The data with its training images in another order."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.data.train), generator=generator)
        return dataclasses.replace(self.data, train=self.data.train.subset(order))


def run_cell(
    network: TrainedNetwork,
    cell: RecoveryCell,
    recipe: Recovery,
    *,
    swapped: bool,
    rounded: bool,
    reporter: Reporter,
) -> tuple[Recovered, models.Score]:
    """Recover; also the score of the exact int8 network.

    Args:
        network: with its data.
        cell: multiplier and seed.
        recipe: how.
        swapped: start with the weight on the first port everywhere.
        rounded: round operands where a port ignores low bits.
        reporter: shows the progress.
    """
    emulated = network.emulated(seed=cell.seed, images=recipe.images)
    exact = models.evaluate(emulated, network.data.validation)
    emulated.assign_(
        Assignment.uniform(emulated.sites, cell.multiplier, swapped=swapped, rounded=rounded)
    )
    data = network.shuffled(cell.seed)
    recovered = models.recover(
        emulated, recipe, data, seed=cell.seed, reporter=reporter, score_steps=True
    )
    return recovered, exact
