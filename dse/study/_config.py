"""What a search is asked to do."""

import dataclasses
import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tomli_w

from dse.problem import Operands, Third, Tie
from dse.samplers import NAMES as SAMPLERS
from energy import EnergyModel, run_files
from luts import catalog
from luts.errors import InputError
from luts.settings import check_settings, read_settings, setting, to_toml
from models import TOPOLOGIES, ClusterFeatures, NetworkConfig, check_dataset, check_seed
from models.networks import ignored_by
from models.training import Start

ALL = "all"
"""Stands for every topology."""

IN_MEMORY = run_files.IN_MEMORY
"""Begins the architecture's name where the network was in memory only."""

Objective = Literal["pareto", "energy", "accuracy"]
FineTune = Literal["every", "promising", "front", "none"]


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """One search, complete: with the same configuration it repeats exactly.

    What each setting means stands beside it; the command line's help and ``config.toml`` say the
    same.

    Raises:
        InputError: an unknown name, a value of another type or out of range, or settings that do
            not go together.
    """

    arch: Annotated[str, setting("architecture", metavar="NAME|FILE.py:FUNCTION")] = "vit_small"
    topology: Annotated[str, setting("all for one search each", choices=(*TOPOLOGIES, ALL))] = (
        "hard"
    )
    dataset: Annotated[str, setting("what the network classifies")] = "cluttered-digits"
    data_root: Annotated[
        str, setting("folder of published archives; the cache's if empty", metavar="DIR")
    ] = ""
    weights: Annotated[
        str, setting("start from these, dense or of the topology", metavar="PATH|URL|none")
    ] = ""
    pretrained: Annotated[
        bool, setting("start from the published weights of the dense network")
    ] = False
    objective: Annotated[
        Objective,
        setting(
            "a front, the least energy within max_drop, or the best score within max_energy",
        ),
    ] = "pareto"
    trials: Annotated[int, setting("assignments to score", ge=1)] = 60
    sampler: Annotated[
        str,
        setting("who proposes assignments after the fixed and the screened ones", choices=SAMPLERS),
    ] = "guided"
    multipliers: Annotated[
        str,
        setting("a set of the catalogue, names, or files of your own", metavar="SET|NAME|FILE,…"),
    ] = "mul8s+arrays"
    operands: Annotated[
        Operands,
        setting(
            "what circuits that ignore low bits of their operands get: codes rounded to the other "
            "bits, codes that are cut, or both as choices",
        ),
    ] = "rounded"
    finetune: Annotated[
        FineTune,
        setting(
            "which candidates are fine-tuned: each before it is scored, the promising ones by "
            "successive halving at the end, a handful on the final front, or none",
            metavar="WHICH",
        ),
    ] = "front"
    rung_images: Annotated[
        int,
        setting(
            "validation images that every candidate is scored on, the promising ones on all; 0 "
            "for all",
            ge=0,
            metavar="N",
        ),
    ] = 1000
    finetune_epochs: Annotated[float, setting("epochs of fine-tuning, may be a fraction", gt=0)] = (
        0.1
    )
    finetune_members: Annotated[
        int,
        setting(
            "members of the final front that are fine-tuned, unless for none, and tested",
            ge=1,
            metavar="N",
        ),
    ] = 5
    seed: Annotated[int, setting("of data split, weights and search", ge=0, le=2**32 - 1)] = 0
    experts: Annotated[int, setting("experts in a layer")] = 4
    expert_blocks: Annotated[
        tuple[int, ...],
        setting("blocks that become experts; the architecture's own if empty", metavar="I,J,…"),
    ] = ()
    top_k: Annotated[int, setting("experts that work on one item, with the topology hard")] = 1
    cluster_features: Annotated[
        ClusterFeatures,
        setting(
            "what clusters are made of",
        ),
    ] = "raw"
    image_size: Annotated[int, setting("height and width of the images", unit="pixels")] = 32
    patch_size: Annotated[int, setting("of a transformer, 0 for its own", unit="pixels", ge=0)] = 0
    train_epochs: Annotated[
        float, setting("epochs of the dense float network; 0 for its recipe's own", ge=0)
    ] = 0.0
    calibration_images: Annotated[
        int, setting("training images for ranges, routing, screening and recovery", ge=16)
    ] = 512
    only: Annotated[
        str, setting("cut the multipliers down to these; all if empty", metavar="SET|NAME|FILE,…")
    ] = ""
    exact: Annotated[
        tuple[str, ...], setting("sites that stay exact; repeatable", metavar="PATTERN")
    ] = ()
    tie: Annotated[Tie, setting("sites that share a choice")] = "none"
    max_distinct: Annotated[
        int | None, setting("most circuits in the network", ge=1, metavar="N")
    ] = None
    max_drop: Annotated[
        float | None,
        setting("with the objective energy: accuracy given up", ge=0, metavar="POINTS"),
    ] = None
    max_energy: Annotated[
        float | None,
        setting("with the objective accuracy: relative energy spent", ge=0, metavar="REL"),
    ] = None
    energy_model: Annotated[
        EnergyModel,
        setting(
            "what energy counts",
        ),
    ] = "multipliers"
    min_coverage: Annotated[
        float,
        setting(
            "least part of the network's multiply-accumulates that sites do; less is not searched",
            ge=0,
            le=1,
            metavar="PART",
        ),
    ] = 0.95
    third: Annotated[
        Third | None, setting("minimise delay or area of the worst circuit as well")
    ] = None
    workers: Annotated[int, setting("processes that score on this machine", ge=1)] = 1
    metric: Annotated[
        str | None, setting("name of the user's own score, by default top-1 accuracy")
    ] = None
    storage: Annotated[
        str, setting("database server for many machines, with study", metavar="URL")
    ] = ""
    study: Annotated[str, setting("the study there that all machines work on", metavar="NAME")] = ""

    def __post_init__(self) -> None:
        check_settings(self)
        if not self.is_in_memory:
            check_dataset(self.dataset)
        check_seed(self.seed)
        self.names()
        self._check_goal()
        if self.metric is not None and not self.is_in_memory:
            raise InputError(
                f"a metric of one's own, {self.metric}, is for networks in memory: give it to "
                f"dse.explore"
            )
        if bool(self.storage) != bool(self.study):
            raise InputError(
                "--storage and --study belong together: the database, and the study in it that "
                "all machines work on"
            )
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
            **self._about_experts(topology),
        )

    def _about_experts(self, topology: str) -> dict[str, Any]:
        about = {
            "experts": self.experts,
            "expert_blocks": self.expert_blocks or None,
            "top_k": self.top_k,
            "cluster_features": self.cluster_features,
        }
        # In a search of all topologies a setting is meant for those that take it.
        left_out = ignored_by(topology) if self.topology == ALL else ()
        return {name: value for name, value in about.items() if name not in left_out}

    def for_topology(self, topology: str) -> "SearchConfig":
        """The search of one topology that is part of a search of all."""
        study = f"{self.study}-{topology}" if self.study else ""
        mine = {field.name for field in dataclasses.fields(self)}
        own = {name: getattr(type(self), name) for name in ignored_by(topology) if name in mine}
        return dataclasses.replace(self, topology=topology, study=study, **own)

    def to_toml(self, provenance: Mapping[str, Any]) -> str:
        """As a TOML file: this in the table ``search``, its provenance in ``making``."""
        return to_toml(self, "search") + "\n" + tomli_w.dumps({"making": dict(provenance)})

    @staticmethod
    def network_toml(network: NetworkConfig) -> str:
        """The table ``network`` of the same file: what other commands build the network from."""
        fields = dataclasses.asdict(network).items()
        return tomli_w.dumps({"network": {k: v for k, v in fields if v is not None}})

    @classmethod
    def from_toml(cls, text: str) -> "SearchConfig":
        """From a run's config.toml.

        Raises:
            InputError: the text is not such a file, or has a key that is not known.
        """
        try:
            table: dict[str, Any] = tomllib.loads(text)["search"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise InputError(f"not the configuration of a run: {error}") from error
        # Earlier versions kept what a topology has no use for, too.
        unused = ignored_by(table["topology"]) if table.get("topology") in TOPOLOGIES else ()
        return cls.from_dict({key: each for key, each in table.items() if key not in unused})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SearchConfig":
        """From plain values.

        Raises:
            InputError: a key is not known, or a value is of another type or out of range.
        """
        return read_settings(cls, values, title="a search")
