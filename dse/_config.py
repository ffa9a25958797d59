"""What a search is asked to do."""

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import tomli_w

from dse.problem import Third, Tie
from dse.samplers import NAMES as SAMPLERS
from energy import MODELS, EnergyModel
from luts import catalog
from luts.errors import InputError, suggest
from models import TOPOLOGIES, ClusterFeatures, NetworkConfig, check_dataset, check_seed
from models.training import Start

ALL = "all"
"""Stands for every topology."""

IN_MEMORY = "memory:"
"""Begins the architecture's name where the network was in memory only."""

Objective = Literal["pareto", "energy", "accuracy"]
FineTune = Literal["every", "promising", "front", "none"]


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """One search, complete: with the same configuration it repeats exactly.

    Attributes:
        arch: architecture.
        topology: dense, or the kind of mixture of experts; ``all`` for one search of each.
        dataset: what it classifies.
        data_root: folder of the published archives; empty for the cache's.
        weights: file or URL of weights to start from, dense or of the topology; empty for none.
        pretrained: start from the published weights of the dense network.
        objective: ``pareto`` for a front; ``energy`` for the least energy within ``max_drop``;
            ``accuracy`` for the best score within ``max_energy``.
        trials: assignments to score.
        sampler: who proposes them after the fixed and the screened ones.
        multipliers: a set's name, or names separated by commas.
        finetune: which candidates are fine-tuned: ``every`` one before it is scored; the
            ``promising`` ones, by successive halving on the non-dominated rank at the end; a
            handful on the final ``front``; or ``none``.
        finetune_epochs: epochs of fine-tuning; may be a fraction.
        rung_images: validation images that every candidate is scored on, the promising ones on
            all; 0 for all at once. A candidate that is fine-tuned first is scored on all.
        finetune_members: how many members of the final front are fine-tuned and tested.
        seed: of data split, weights and search.
        experts: experts in a layer.
        expert_blocks: indices of the blocks that become experts; empty for the architecture's own.
        top_k: experts that work on one item, with the topology ``hard``.
        cluster_features: what ``cluster`` makes its clusters of, ``raw`` or ``unit`` features.
        image_size: height and width in pixels.
        patch_size: of a vision transformer, in pixels; 0 for the architecture's own.
        train_epochs: epochs of the dense float network's training; 0 for its recipe's own.
        calibration_images: training images for ranges, routing, screening and bias correction.
        only: a set's name, or names, that ``multipliers`` are cut down to; empty for all.
        exact: patterns of the names of sites that stay exact.
        tie: which sites share a choice.
        max_distinct: most circuits in the network, or None.
        max_drop: percentage points of validation accuracy that ``energy`` may cost.
        max_energy: largest relative energy for ``accuracy``.
        energy_model: what energy counts.
        third: a third objective, delay or area of the worst circuit.
        workers: processes that score on this machine.
        storage: URL of the database server that holds the study; empty for a file of the run.
        study: the study's name there.

    Raises:
        InputError: an unknown name or a number outside its range.
    """

    arch: str = "vit_small"
    topology: str = "hard"
    dataset: str = "digits"
    data_root: str = ""
    weights: str = ""
    pretrained: bool = False
    objective: Objective = "pareto"
    trials: int = 60
    sampler: str = "guided"
    multipliers: str = "mul8s"
    finetune: FineTune = "promising"
    rung_images: int = 1000
    finetune_epochs: float = 0.25
    finetune_members: int = 5
    seed: int = 0
    experts: int = 4
    expert_blocks: tuple[int, ...] = ()
    top_k: int = 1
    cluster_features: ClusterFeatures = "raw"
    image_size: int = 32
    patch_size: int = 0
    train_epochs: float = 0.0
    calibration_images: int = 256
    only: str = ""
    exact: tuple[str, ...] = ()
    tie: Tie = "none"
    max_distinct: int | None = None
    max_drop: float | None = None
    max_energy: float | None = None
    energy_model: EnergyModel = "multipliers"
    third: Third | None = None
    workers: int = 1
    storage: str = ""
    study: str = ""

    def __post_init__(self) -> None:
        _known("objective", self.objective, get_args(Objective))
        _known("fine-tuning", self.finetune, get_args(FineTune))
        _known("sampler", self.sampler, SAMPLERS)
        _known("tie", self.tie, get_args(Tie))
        _known("energy model", self.energy_model, tuple(MODELS))
        if self.third is not None:
            _known("third objective", self.third, get_args(Third))
        if not self.is_in_memory:
            check_dataset(self.dataset)
        check_seed(self.seed)
        self.names()
        self._check_goal()
        if bool(self.storage) != bool(self.study):
            raise InputError(
                "--storage and --study belong together: the database, and the study in it that "
                "all machines work on"
            )
        for name, least in (
            ("trials", 1),
            ("workers", 1),
            ("finetune_members", 1),
            ("calibration_images", 16),
            ("rung_images", 0),
        ):
            value = getattr(self, name)
            if value < least:
                raise InputError(f"{name.replace('_', ' ')} must be at least {least}, not {value}")
        if not (math.isfinite(self.finetune_epochs) and self.finetune_epochs > 0):
            raise InputError(
                f"fine-tuning epochs must be a positive number, not {self.finetune_epochs}; "
                f"--finetune none does without"
            )
        if not (math.isfinite(self.train_epochs) and self.train_epochs >= 0):
            raise InputError(f"training epochs are a number from 0, not {self.train_epochs}")
        for topology in () if self.is_in_memory else self.topologies:
            self.network(num_classes=10, topology=topology)
        _ = self.start

    @property
    def is_in_memory(self) -> bool:
        """Whether the network was given in memory; its name does not say how to build it."""
        return self.arch.startswith(IN_MEMORY)

    @property
    def title(self) -> str:
        """What was searched, in a few words."""
        if self.is_in_memory:
            return f"{self.arch.removeprefix(IN_MEMORY)} on {self.dataset}, seed {self.seed}"
        return f"{self.arch} {self.topology} on {self.dataset}, seed {self.seed}"

    @property
    def scored_images(self) -> int | None:
        """Validation images that every candidate is scored on, None for all."""
        return None if self.finetune == "every" else self.rung_images or None

    def _check_goal(self) -> None:
        needs = {"energy": "max_drop", "accuracy": "max_energy"}
        for objective, name in needs.items():
            value, flag = getattr(self, name), "--" + name.replace("_", "-")
            if (value is not None) != (self.objective == objective):
                raise InputError(f"--objective {objective} and {flag} belong together; give both")
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{flag} is a number from 0, not {value}")
        if self.max_distinct is not None and self.max_distinct < 1:
            raise InputError(f"--max-distinct must be at least 1, not {self.max_distinct}")

    @property
    def topologies(self) -> tuple[str, ...]:
        """The topologies that are searched."""
        return TOPOLOGIES if self.topology == ALL else (self.topology,)

    @property
    def start(self) -> Start:
        """The weights to start from.

        Raises:
            InputError: both a file and the published ones.
        """
        return Start(self.weights or None, self.pretrained)

    def names(self) -> tuple[str, ...]:
        """Names of the multipliers that are searched.

        Raises:
            InputError: an unknown name, or ``only`` leaves fewer than two.
        """
        names = tuple(catalog.names(self.multipliers))
        if not self.only:
            return names
        wanted = {catalog[name].name for name in catalog.names(self.only)}
        left = tuple(name for name in names if catalog[name].name in wanted)
        if len(left) < 2:
            raise InputError(
                f"--only {self.only} leaves {len(left)} of the multipliers {self.multipliers}; a "
                f"search needs at least two"
            )
        return left

    def network(self, *, num_classes: int, topology: str | None = None) -> NetworkConfig:
        """The network's configuration, for another topology if one is named."""
        topology = topology or self.topology
        return NetworkConfig(
            arch=self.arch,
            topology=topology,
            num_classes=num_classes,
            image_size=self.image_size,
            patch_size=self.patch_size or None,
            experts=self.experts,
            expert_blocks=self.expert_blocks or None,
            # In a search of all topologies it is meant for the one that takes it.
            top_k=self.top_k if topology == "hard" or self.topology != ALL else 1,
            cluster_features=self.cluster_features,
        )

    def for_topology(self, topology: str) -> "SearchConfig":
        """The search of one topology that is part of a search of all."""
        study = f"{self.study}-{topology}" if self.study else ""
        return dataclasses.replace(self, topology=topology, study=study)

    def to_toml(self, making: Mapping[str, Any]) -> str:
        """As a TOML file: this in the table ``search``, how it was made in ``making``."""
        fields = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return tomli_w.dumps({"search": fields, "making": dict(making)})

    @staticmethod
    def network_toml(network: NetworkConfig) -> str:
        """The table ``network`` of the same file: what other commands build the network from."""
        fields = dataclasses.asdict(network).items()
        return tomli_w.dumps({"network": {k: v for k, v in fields if v is not None}})

    @classmethod
    def from_toml(cls, text: str) -> "SearchConfig":
        """From a run's config.toml.

        Raises:
            InputError: the text is no such file, or has a key that is not known.
        """
        try:
            table: dict[str, Any] = tomllib.loads(text)["search"]
        except (tomllib.TOMLDecodeError, KeyError) as error:
            raise InputError(f"not the configuration of a run: {error}") from error
        return cls.from_dict(table)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SearchConfig":
        """From plain values.

        Raises:
            InputError: a key is not known, or a value is of another type or out of range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise InputError(f"a search has no setting {key!r}; {suggest(key, known)}")
        lists = {name: tuple(values[name]) for name in ("exact", "expert_blocks") if name in values}
        return cls(**{**values, **lists})


def _known(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"unknown {what} {value!r}; {suggest(value, list(known))}")
