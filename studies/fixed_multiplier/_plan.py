"""Which cells a preset has, in which order, and which settings decide their figures."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luts
from luts.errors import InputError, suggest
from models import TOPOLOGIES, NetworkConfig, TrainingRecipe
from models.training import default_recipe
from studies._options import read_preset_table
from studies.fixed_multiplier._settings import check_template, read_settings

HERE = Path(__file__).parent
FloatNetwork = tuple[str, str, str, int]
"""What identifies a float network: architecture, data set, topology, seed."""

RECOVERIES = ("none", "recalibrated", "retrained")
LEAST_EPOCHS = 0.25
"""A network that is retrained for less counts as not measured."""


@dataclasses.dataclass(frozen=True)
class FixedCell:
    """One figure of the matrix.

    Attributes:
        arch: architecture.
        dataset: word of the data set, as in the preset.
        topology: dense, or the kind of mixture of experts.
        multiplier: at all sites but the routers.
        recovery: one of `RECOVERIES`.
        seed: of split, weights, calibration images and retraining.
    """

    arch: str
    dataset: str
    topology: str
    multiplier: str
    recovery: str
    seed: int

    @property
    def name(self) -> str:
        """As a file is named."""
        words = dataclasses.astuple(self)
        return "-".join(str(word).replace("/", "_") for word in words)

    @property
    def network(self) -> FloatNetwork:
        """The float network that it starts from."""
        return (self.arch, self.dataset, self.topology, self.seed)


@dataclasses.dataclass(frozen=True)
class NetworkPlan:
    """An architecture on a data set.

    Attributes:
        arch: architecture.
        dataset: ``digits``, ``cifar10-images`` (the folder or archive of ``--images``), or another
            name that `models.load_data` knows.
        seeds: one run of everything each.
        base_epochs: of the dense float network, where it is not read from a file.
        precision: of the products in training, that through the circuits included (their gradients;
            the circuits stay exact); weights stay float32.
        retrain_epochs: of retraining; below `LEAST_EPOCHS` those cells are not measured.
        image_size: height and width in pixels; None for the data set's own.
        patch_size: of a vision transformer.
        weights: file of the float network, relative to this folder, with ``{arch}``,
            ``{topology}``, ``{dataset}`` and ``{seed}``; without ``{seed}`` it is seed 0's. What is
            not there is trained.
        stands_for: the data set of the paper that this one is a proxy of; empty for none.
        topologies: of this network.
    """

    arch: str
    dataset: str
    seeds: tuple[int, ...]
    base_epochs: float
    retrain_epochs: float = 0.0
    image_size: int | None = dataclasses.field(default=None, metadata={"least": 1})
    patch_size: int | None = dataclasses.field(default=None, metadata={"least": 1})
    weights: str = ""
    stands_for: str = ""
    topologies: tuple[str, ...] = TOPOLOGIES
    precision: str = "float32"

    def recipe(self) -> TrainingRecipe:
        """Of the dense float network's training.

        Raises:
            InputError: an unknown precision, or impossible epochs.
        """
        values = vars(default_recipe(self.arch, self.dataset))
        return TrainingRecipe(**values | {"epochs": self.base_epochs, "precision": self.precision})

    def shape(self, topology: str, num_classes: int, image_size: int) -> NetworkConfig:
        """The network's configuration."""
        return NetworkConfig(
            arch=self.arch,
            topology=topology,
            num_classes=num_classes,
            image_size=image_size,
            patch_size=self.patch_size,
        )

    def weights_file(self, topology: str, seed: int, root: Path = HERE) -> Path | None:
        """The file of a float network, if one is named for this seed and is there."""
        if not self.weights or ("{seed}" not in self.weights and seed != 0):
            return None
        names = {"arch": self.arch, "topology": topology, "dataset": self.dataset, "seed": seed}
        path = (root / self.weights.format(**names)).resolve()
        return path if path.exists() else None


@dataclasses.dataclass(frozen=True)
class MatrixPreset:
    """One matrix.

    Attributes:
        name: in the configuration.
        networks: architectures on data sets, the first one first.
        multipliers: names of the catalogue, from most to least power.
        recoveries: of `RECOVERIES`.
        calibration_images: training images for ranges, routing rates and recalibration.
        validation_images: that retraining chooses its state by; 0 for all.
        test_images: that every figure is taken on; 0 for all.
        swapped: the weight goes to the circuit's first port, not the activation.
    """

    name: str
    networks: tuple[NetworkPlan, ...]
    multipliers: tuple[str, ...]
    recoveries: tuple[str, ...] = RECOVERIES
    calibration_images: int = dataclasses.field(default=1000, metadata={"least": 1})
    validation_images: int = 0
    test_images: int = 0
    swapped: bool = False

    def cells(self) -> list[FixedCell]:
        """All cells that are measured, in the order in which they are worth having.

        Seed 0 of everything first; networks in their order; what needs no training before what
        does.
        """
        cells = []
        for seed in sorted({seed for plan in self.networks for seed in plan.seeds}):
            for plan in (plan for plan in self.networks if seed in plan.seeds):
                for stage in (("none", "recalibrated"), ("retrained",)):
                    if "retrained" in stage and plan.retrain_epochs < LEAST_EPOCHS:
                        continue
                    wanted = [recovery for recovery in stage if recovery in self.recoveries]
                    cells += [
                        FixedCell(plan.arch, plan.dataset, topology, multiplier, recovery, seed)
                        for topology in plan.topologies
                        for multiplier in self.multipliers
                        for recovery in wanted
                    ]
        return cells

    def part(self, index: int, of: int) -> list[FixedCell]:
        """The cells of part ``index`` (from 1) of ``of``; one float network is in one part only."""
        cells = self.cells()
        networks = list(dict.fromkeys(cell.network for cell in cells))
        mine = set(networks[index - 1 :: of])
        return [cell for cell in cells if cell.network in mine]

    @property
    def subjects(self) -> dict[tuple[str, str], NetworkPlan]:
        """The plans by architecture and data set."""
        return {(plan.arch, plan.dataset): plan for plan in self.networks}

    def plan(self, cell: FixedCell) -> NetworkPlan:
        """The plan of a cell's architecture."""
        return self.subjects[cell.arch, cell.dataset]

    def settings(self, cell: FixedCell) -> dict[str, Any]:
        """Everything but the cell itself that decides its figure, as plain values."""
        plan = self.plan(cell)
        of_preset = ("calibration_images", "validation_images", "test_images", "swapped")
        of_plan = ["base_epochs", "image_size", "patch_size", "weights"]
        if plan.precision != "float32":
            of_plan.append("precision")
        if cell.recovery == "retrained":
            of_plan.append("retrain_epochs")
        return {
            "preset": self.name,
            **{name: getattr(self, name) for name in of_preset},
            **{name: getattr(plan, name) for name in of_plan},
        }


def read_preset(name: str, path: Path = HERE / "config.toml") -> MatrixPreset:
    """A table of the configuration.

    Raises:
        InputError: the file cannot be read, it has no such table, or the table is not legal.
    """
    table = read_settings(MatrixPreset, read_preset_table(path, name), f"preset {name}")
    networks = _networks(name, table.pop("networks", []))
    multipliers = _multipliers(table.pop("multipliers", "paper"), f"preset {name}")
    table["recoveries"] = _words(table, "recoveries", RECOVERIES, f"preset {name}")
    return MatrixPreset(name=name, networks=networks, multipliers=multipliers, **table)


def _networks(name: str, given: object) -> tuple[NetworkPlan, ...]:
    if not isinstance(given, list):
        raise InputError(
            f"networks of preset {name} are tables headed [[{name}.networks]], not {given!r}"
        )
    networks = tuple(_network(name, table) for table in given)
    if not networks:
        raise InputError(f"preset {name} has no [[{name}.networks]]; name one at least")
    subjects = [(network.arch, network.dataset) for network in networks]
    if len(set(subjects)) < len(subjects):
        raise InputError(f"preset {name} names an architecture twice on one data set: {subjects}")
    return networks


def _network(preset: str, given: object) -> NetworkPlan:
    title = f"a network of preset {preset}"
    table = read_settings(NetworkPlan, given, title)
    table["seeds"] = _seeds(table.get("seeds", []), f"preset {preset}")
    missing = [
        field.name
        for field in dataclasses.fields(NetworkPlan)
        if field.default is dataclasses.MISSING and table.get(field.name) in (None, "", ())
    ]
    if missing:
        raise InputError(f"{title} does not say its {', '.join(missing)}")
    check_template(table.get("weights", ""), title)
    table["topologies"] = _words(table, "topologies", TOPOLOGIES, f"preset {preset}")
    network = NetworkPlan(**table)
    network.recipe()
    for topology in network.topologies:
        network.shape(topology, 10, network.image_size or 32)
    return network


def _multipliers(given: object, title: str) -> tuple[str, ...]:
    if not isinstance(given, str):
        raise InputError(
            f"multipliers of {title} is a set or names with commas between them, in one pair of "
            f'quotes as in "mul8s_1KV8,mul8s_1L1G", not {given!r}'
        )
    return luts.catalog.names(given)


def _seeds(given: object, title: str) -> tuple[int, ...]:
    if not isinstance(given, list) or any(type(seed) is not int or seed < 0 for seed in given):
        raise InputError(
            f"seeds of {title} are a list of whole numbers from 0, as in [0, 1, 2], not {given!r}"
        )
    return tuple(given)


def _words(
    table: Mapping[str, Any], key: str, known: tuple[str, ...], title: str
) -> tuple[str, ...]:
    """Words of a setting, in the order in which they are known; all of them by default."""
    given = table.get(key, list(known))
    if not isinstance(given, list) or not given:
        raise InputError(
            f"{key} of {title} is a list of at least one of {', '.join(known)}, not {given!r}; "
            f"leave it out for all of them"
        )
    for word in given:
        if word not in known:
            hint = suggest(str(word), list(known))
            raise InputError(f"{key} of {title}: unknown {word!r}; {hint}")
    return tuple(word for word in known if word in given)
