"""Which cells a preset has, in which order, and which settings decide their figures."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import luts
from luts.errors import InputError
from luts.settings import check_settings, read_settings, setting
from models import TOPOLOGIES, NetworkConfig, TrainingRecipe
from models.training import default_recipe
from studies._networks import check_template
from studies._options import check_filled, read_preset_table

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

    Raises:
        InputError: a setting is unknown, empty, of another type, or out of range.
    """

    arch: Annotated[str, setting("architecture")]
    dataset: Annotated[str, setting("what it classifies; cifar10-images for those of --images")]
    seeds: Annotated[tuple[int, ...], setting("one run of everything each", ge=0)]
    # Whole numbers stay whole, as kept cells have them.
    base_epochs: Annotated[float | int, setting("of the dense network, where it has no file", ge=0)]
    retrain_epochs: Annotated[float | int, setting("below 0.25 nothing is retrained", ge=0)] = 0.0
    image_size: Annotated[int | None, setting("else the data set's", unit="pixels", ge=1)] = None
    patch_size: Annotated[int | None, setting("of a transformer", unit="pixels", ge=1)] = None
    weights: Annotated[
        str,
        setting(
            "file of the float network, relative to this folder, with {arch}, {topology}, "
            "{dataset} and {seed}; without {seed} it is seed 0's; what is not there is trained"
        ),
    ] = ""
    stands_for: Annotated[str, setting("the paper's data set that this one is a proxy of")] = ""
    topologies: Annotated[tuple[str, ...], setting("its own", choices=TOPOLOGIES)] = TOPOLOGIES
    precision: Annotated[
        Literal["float32", "bfloat16"], setting("of products and gradients in training")
    ] = "float32"

    def __post_init__(self) -> None:
        check_settings(self)
        check_filled(self, "arch", "dataset", "seeds", "topologies")
        check_template(self.weights)
        for epochs in (self.base_epochs, self.retrain_epochs):
            dataclasses.replace(self.recipe(), epochs=epochs)
        for topology in self.topologies:
            self.shape(topology, 10, self.image_size or 32)

    def recipe(self) -> TrainingRecipe:
        """How the dense float network is trained."""
        recipe = default_recipe(self.arch, self.dataset)
        return dataclasses.replace(recipe, epochs=self.base_epochs, precision=self.precision)

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

    Raises:
        InputError: a setting is unknown, empty, of another type, or out of range.
    """

    name: Annotated[str, setting("of the table in the configuration")]
    networks: Annotated[tuple[NetworkPlan, ...], setting("in order of importance")]
    multipliers: Annotated[str, setting("a set or names, from most to least power")] = "paper"
    recoveries: Annotated[tuple[str, ...], setting("measured", choices=RECOVERIES)] = RECOVERIES
    calibration_images: Annotated[int, setting("for ranges, routing, recalibration", ge=1)] = 1000
    validation_images: Annotated[int, setting("that retraining is judged by; 0: all", ge=0)] = 0
    test_images: Annotated[int, setting("that every figure is taken on; 0: all", ge=0)] = 0
    swapped: Annotated[bool, setting("the weight goes to the circuit's first port")] = False

    def __post_init__(self) -> None:
        check_settings(self)
        check_filled(self, "networks", "recoveries")
        _ = self.circuits
        if len(self.subjects) < len(self.networks):
            raise InputError(f"an architecture is named twice on one data set: {[*self.subjects]}")

    @property
    def circuits(self) -> tuple[str, ...]:
        """Names of the multipliers."""
        return tuple(luts.catalog.names(self.multipliers))

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
                        for topology in TOPOLOGIES
                        if topology in plan.topologies
                        for multiplier in self.circuits
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
    table, title = read_preset_table(path, name), f"preset {name}"
    if "name" in table:
        raise InputError(f"{title} has no setting 'name'; its table is headed by it")
    return read_settings(MatrixPreset, {**table, "name": name}, title=title)
