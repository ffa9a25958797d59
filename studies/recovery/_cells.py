"""What the study runs: its configuration, and one cell of it."""

import copy
import dataclasses
import functools
import statistics
import time
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import luts
import models
from luts.console import Reporter
from luts.errors import InputError, suggest
from models import Assignment, Data, NetworkConfig, Recovered, Recovery
from models.networks import build
from models.training import base_network, has_batchnorm, load_data, load_weights_, state_digest

HERE = Path(__file__).parent
BATCH_SIZE = 250
TIMED_BATCH, TIMED_STEPS = 128, 9


@dataclasses.dataclass(frozen=True)
class Cell:
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
    def file_name(self) -> str:
        """Where its result is kept."""
        return f"{self.network}-{self.multiplier}-{self.recipe}-{self.seed}.json"


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """The whole study.

    Attributes:
        multipliers: a set of the catalogue.
        seeds: one run each.
        data_seed: of the split that the weights were trained with.
        calibration_images: training images for activation ranges and statistics.
        validation_images: that states are scored on.
        networks: settings by name; ``training`` says what fine-tuning is given otherwise than in
            the recipes.
        recipes: by name.
        only: multipliers that a recipe is run for, where not all of them.
        swapped: recipes that start with the weight on the first port everywhere.
    """

    multipliers: str
    seeds: tuple[int, ...]
    data_seed: int
    calibration_images: int
    validation_images: int
    networks: Mapping[str, Mapping[str, Any]]
    recipes: Mapping[str, Recovery]
    only: Mapping[str, tuple[str, ...]]
    swapped: frozenset[str]

    @classmethod
    def read(cls, path: Path = HERE / "config.toml") -> "StudyConfig":
        """From TOML.

        Raises:
            InputError: a recipe is illegal.
        """
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        recipes, only, swapped = {}, {}, set()
        for name, given in values.pop("recipes").items():
            names = given.pop("only", None)
            if names is not None:
                only[name] = tuple(names)
            if given.pop("swapped", False):
                swapped.add(name)
            images = {"images": values["calibration_images"]}
            recipes[name] = Recovery.from_dict(images | given)
        values["seeds"] = tuple(values["seeds"])
        return cls(**values, recipes=recipes, only=only, swapped=frozenset(swapped))

    def recipe(self, name: str, network: str) -> Recovery:
        """A recipe with what the network's training needs."""
        recipe = self.recipes[name]
        changes = self.networks[network].get("training")
        if recipe.fine_tuning is None or not changes:
            return recipe
        training = dataclasses.replace(recipe.fine_tuning.training, **changes)
        tuning = dataclasses.replace(recipe.fine_tuning, training=training)
        return dataclasses.replace(recipe, fine_tuning=tuning)

    def cells(self) -> Iterator[Cell]:
        """All cells, the cheap recipes of all networks first."""
        for recipe in self.recipes:
            for network in self.networks:
                for multiplier in luts.catalog.names(self.multipliers):
                    wanted = multiplier in self.only.get(recipe, (multiplier,))
                    if multiplier == luts.EXACT or not wanted:
                        continue
                    for seed in self.seeds:
                        yield Cell(network, multiplier, recipe, seed)


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A trained float network and its data, the validation split cut to the study's size."""

    network: nn.Module
    data: Data

    @functools.cached_property
    def weights_sha256(self) -> str:
        """Digest of the float network."""
        return state_digest(self.network.state_dict())

    @functools.cached_property
    def epoch_seconds(self) -> float:
        """Of training the float network for one epoch, from a few steps here and now."""
        net = copy.deepcopy(self.network).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        split = self.data.train.take(TIMED_BATCH)
        images, labels = split.images, split.labels
        seconds = []
        for _ in range(TIMED_STEPS):
            started = time.perf_counter()
            optimizer.zero_grad()
            F.cross_entropy(net(images), labels).backward()
            optimizer.step()
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds) * len(self.data.train) / len(images)

    def emulated(self, *, seed: int, images: int) -> models.EmulatedNetwork:
        """The exact int8 network, calibrated on images drawn by ``seed``."""
        batches = self.shuffled(seed).train.take(images).batches(BATCH_SIZE)
        return models.emulate(self.network, luts.EXACT, calibration=batches)

    def shuffled(self, seed: int) -> Data:
        """The data with its training images in another order."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(self.data.train), generator=generator)
        return dataclasses.replace(self.data, train=self.data.train.subset(order))


def subject(
    settings: Mapping[str, Any], config: StudyConfig, images: Path, reporter: Reporter
) -> Subject:
    """Load a network of the configuration and what it classifies.

    Raises:
        InputError: its weights are missing.
    """
    name = settings["images"]
    source = f"imagefolder:{images}" if name == "cifar10" else name
    data = load_data(source, seed=config.data_seed, reporter=reporter)
    chosen = NetworkConfig(
        arch=settings["arch"],
        topology=settings["topology"],
        num_classes=data.num_classes,
        image_size=data.image_size,
    )
    if "weights" in settings:
        network = build(chosen)
        load_weights_(network, HERE / settings["weights"])
    else:
        network = base_network(chosen, data, seed=config.data_seed, reporter=reporter)
    validation = data.validation.take(config.validation_images)
    return Subject(network.eval(), dataclasses.replace(data, validation=validation))


def run_cell(
    found: Subject, cell: Cell, recipe: Recovery, *, swapped: bool, reporter: Reporter
) -> tuple[Recovered, models.Score]:
    """Recover; also the score of the exact int8 network.

    Args:
        found: network and data.
        cell: multiplier and seed.
        recipe: how.
        swapped: start with the weight on the first port everywhere.
        reporter: shows the progress.
    """
    emulated = found.emulated(seed=cell.seed, images=recipe.images)
    exact = models.evaluate(emulated, found.data.validation)
    emulated.assign_(Assignment.uniform(emulated.sites, cell.multiplier, swapped=swapped))
    data = found.shuffled(cell.seed)
    recovered = models.recover(
        emulated, recipe, data, seed=cell.seed, reporter=reporter, score_steps=True
    )
    return recovered, exact


def estimated_seconds(found: Subject, recipe: Recovery, cells: int) -> float:
    """Of ``cells`` recoveries, from the time that some images take now.

    A training step is taken to cost four forward passes; the ladder scores after every step.
    """
    emulated = found.emulated(seed=0, images=BATCH_SIZE)
    emulated.assign_("mul8s_1KR6")
    sample = found.data.validation.take(BATCH_SIZE)
    models.evaluate(emulated, sample)
    started = time.perf_counter()
    models.evaluate(emulated, sample)
    an_image = (time.perf_counter() - started) / len(sample)
    passes = 2 + 4 * has_batchnorm(emulated)
    images = passes * recipe.images + 6 * len(found.data.validation)
    if recipe.fine_tuning is not None:
        images += 4 * recipe.fine_tuning.training.epochs * len(found.data.train)
    return cells * images * an_image


def named(table: Mapping[str, Any], name: str, kind: str) -> Any:
    """An entry of the configuration.

    Raises:
        InputError: there is none of that name.
    """
    if name not in table:
        raise InputError(f"unknown {kind} {name!r}: {suggest(name, list(table))}")
    return table[name]
