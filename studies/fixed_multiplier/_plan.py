"""Which cells a preset has, in which order, and which settings decide their figures."""

import dataclasses
from collections.abc import Hashable
from pathlib import Path
from typing import Annotated, Any, Literal

import luts
from luts.errors import InputError
from luts.settings import check_settings, read_settings, setting
from models import TOPOLOGIES, NetworkConfig, TrainingRecipe
from models.training import default_recipe, upcycled_recipe
from studies._networks import check_template
from studies._options import check_filled, read_preset_table
from studies._training import trained_weights
from studies.fixed_multiplier._protocol import USUAL, Protocol

HERE = Path(__file__).parent
FloatNetwork = tuple[str, str, str, int, str]
"""What identifies a float network: architecture, data set, topology, seed, variant."""

RECOVERIES = ("none", "recalibrated", "retrained")
LEAST_EPOCHS = 0.25
"""A network that is retrained for less counts as not measured."""

AGGRESSIVE_POWER = 0.5
"""A multiplier below this relative power is aggressive, one from there to 1 moderate."""

PORTS = {"activation": (False,), "weight": (True,), "both": (False, True)}
"""Operand orders that are measured where a circuit is not commutative, as ``swapped``."""


def power_rel(multiplier: str) -> float:
    """Power of a multiplier, relative to the exact one."""
    exact = max(luts.catalog[name].power_mw for name in luts.catalog.names("paper"))
    return luts.catalog[multiplier].power_mw / exact


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
        swapped: the weight goes to the circuit's first port; of circuits that are not commutative.
        variant: name of the protocol, empty for the usual one.
    """

    arch: str
    dataset: str
    topology: str
    multiplier: str
    recovery: str
    seed: int
    swapped: bool = False
    variant: str = ""

    @property
    def name(self) -> str:
        """As a file is named."""
        circuit = f"{self.multiplier}-swapped" if self.swapped else self.multiplier
        words = [self.arch, self.dataset, self.topology, circuit, self.recovery, self.seed]
        words += [self.variant] if self.variant else []
        return "-".join(str(word).replace("/", "_") for word in words)

    @property
    def network(self) -> FloatNetwork:
        """The float network that it starts from."""
        return (self.arch, self.dataset, self.topology, self.seed, self.variant)

    def to_dict(self) -> dict[str, Any]:
        """As plain values; what every cell had before there was a choice is left out."""
        usual = {"swapped": False, "variant": ""}
        plain = dataclasses.asdict(self)
        return {key: value for key, value in plain.items() if usual.get(key) != value}


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
    aggressive_epochs: Annotated[
        float | int | None,
        setting("the same, through circuits of less than half the exact power; else alike", ge=0),
    ] = None
    image_size: Annotated[int | None, setting("else the data set's", unit="pixels", ge=1)] = None
    patch_size: Annotated[int | None, setting("of a transformer", unit="pixels", ge=1)] = None
    weights: Annotated[
        str,
        setting(
            "file of the float network, relative to this folder, with {arch}, {topology}, "
            "{dataset} and {seed}; without {seed} it is seed 0's; what is not there is trained"
        ),
    ] = ""
    training: Annotated[
        str,
        setting(
            "network of studies/trained_weights by whose recipes what has no file is trained, but "
            "for base_epochs and precision"
        ),
    ] = ""
    stands_for: Annotated[str, setting("the paper's data set that this one is a proxy of")] = ""
    topologies: Annotated[tuple[str, ...], setting("its own", choices=TOPOLOGIES)] = TOPOLOGIES
    precision: Annotated[
        Literal["float32", "bfloat16"], setting("of products and gradients in training")
    ] = "float32"
    protocol: Annotated[Protocol, setting("what the paper leaves open")] = USUAL

    def __post_init__(self) -> None:
        check_settings(self)
        check_filled(self, "arch", "dataset", "seeds", "topologies")
        check_template(self.weights)
        self._check_training()
        for epochs in (self.base_epochs, self.retrain_epochs, self.aggressive_epochs or 0):
            dataclasses.replace(self.recipe(), epochs=epochs)
        for topology in self.topologies:
            self.shape(topology, 10, self.image_size or 32)

    def _check_training(self) -> None:
        if not self.training:
            return
        theirs = trained_weights(self.training)
        for name in ("arch", "dataset", "image_size", "patch_size"):
            mine = getattr(self, name)
            if getattr(theirs, name) != mine:
                raise InputError(
                    f"training {self.training!r} is of {name} {getattr(theirs, name)}, not {mine}: "
                    f"name another network of studies/trained_weights"
                )

    def recipe(self) -> TrainingRecipe:
        """How the dense float network is trained."""
        if self.training:
            recipe = trained_weights(self.training).recipe("dense")
        else:
            recipe = default_recipe(self.arch, self.dataset)
        return dataclasses.replace(recipe, epochs=self.base_epochs, precision=self.precision)

    def experts_recipe(self, topology: str) -> TrainingRecipe:
        """How a network with experts, which starts from the dense one, is trained on."""
        if not self.training:
            return upcycled_recipe(self.recipe())
        recipe = trained_weights(self.training).recipe(topology)
        return dataclasses.replace(recipe, precision=self.precision)

    def epochs_of(self, multiplier: str) -> float | int:
        """Of retraining through this circuit."""
        if self.aggressive_epochs is not None and power_rel(multiplier) < AGGRESSIVE_POWER:
            return self.aggressive_epochs
        return self.retrain_epochs

    def shape(self, topology: str, num_classes: int, image_size: int) -> NetworkConfig:
        """The network's configuration."""
        return NetworkConfig(
            arch=self.arch,
            topology=topology,
            num_classes=num_classes,
            image_size=image_size,
            patch_size=self.patch_size,
            **(self.protocol.of_network if topology != "dense" else {}),
        )

    def weights_file(self, topology: str, seed: int, root: Path = HERE) -> Path | None:
        """The file of a float network, if one is named for this seed and is there."""
        if not self.weights or ("{seed}" not in self.weights and seed != 0):
            return None
        if topology != "dense" and self.protocol.of_network:
            return None  # the file is of the usual experts
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
    ports: Annotated[
        Literal["activation", "weight", "both"],
        setting("what the first port of circuits that are not commutative gets"),
    ] = "activation"
    proxies: Annotated[str, setting("preset whose verdicts are shown below, as proxies")] = ""
    usual: Annotated[str, setting("preset that has the cells of the usual protocol")] = ""

    def __post_init__(self) -> None:
        check_settings(self)
        check_filled(self, "networks", "recoveries")
        _ = self.circuits
        if len(self.subjects) < len(self.networks):
            raise InputError(
                f"an architecture is named twice on one data set, by one protocol: "
                f"{[*self.subjects]}"
            )

    @property
    def circuits(self) -> tuple[str, ...]:
        """Names of the multipliers."""
        return tuple(luts.catalog.names(self.multipliers))

    def choices(self, plan: NetworkPlan) -> list[tuple[str, bool]]:
        """Multipliers of a network, each with whether the weight goes to the first port.

        Which circuits have two orders their tables say.
        """
        by_kind = plan.protocol.ports == "by-kind"
        orders = PORTS["activation" if by_kind else self.ports]
        return [
            (name, swapped)
            for name in self.circuits
            for swapped in ((False,) if luts.catalog[name].is_commutative else orders)
        ]

    def cells(self) -> list[FixedCell]:
        """All cells that are measured, in the order in which they are worth having.

        Seed 0 of everything first; networks in their order; what needs no training before what
        does, and there the exact multiplier, without which no drop is known, and then the others
        from the least power up: what retraining cannot undo decides most claims.
        """
        cells = []
        for seed in sorted({seed for plan in self.networks for seed in plan.seeds}):
            for plan in (plan for plan in self.networks if seed in plan.seeds):
                for stage in (("none", "recalibrated"), ("retrained",)):
                    wanted = [recovery for recovery in stage if recovery in self.recoveries]
                    cells += [
                        FixedCell(*(*where, multiplier, recovery, seed, swapped), variant)
                        for where, variant in self._places(plan)
                        for multiplier, swapped in self._in_order(plan, stage)
                        for recovery in wanted
                    ]
        return cells

    def _places(self, plan: NetworkPlan) -> list[tuple[tuple[str, str, str], str]]:
        """Architecture, data set and topology, and the protocol's name."""
        topologies = [topology for topology in TOPOLOGIES if topology in plan.topologies]
        return [((plan.arch, plan.dataset, each), plan.protocol.name) for each in topologies]

    def _in_order(self, plan: NetworkPlan, stage: tuple[str, ...]) -> list[tuple[str, bool]]:
        choices = self.choices(plan)
        if stage != ("retrained",):
            return choices
        kept = [choice for choice in choices if plan.epochs_of(choice[0]) >= LEAST_EPOCHS]
        # The sort is stable: of two orders the usual one stays first.
        return sorted(kept, key=lambda choice: (power_rel(choice[0]) < 1, power_rel(choice[0])))

    def part(self, index: int, of: int) -> list[FixedCell]:
        """The cells of part ``index`` (from 1) of ``of``; one float network is in one part only.

        Networks of all topologies that start from one dense network stay together, so that it is
        trained once, unless that leaves a part empty.
        """
        cells = self.cells()
        networks = dict.fromkeys(cell.network for cell in cells)
        shared: dict[FloatNetwork, Hashable] = {n: (n[:2], n[3:]) for n in networks}
        if len(set(shared.values())) < of:
            shared = {network: network for network in networks}
        mine = set(list(dict.fromkeys(shared.values()))[index - 1 :: of])
        return [cell for cell in cells if shared[cell.network] in mine]

    @property
    def subjects(self) -> dict[tuple[str, str, str], NetworkPlan]:
        """The plans by architecture, data set and protocol."""
        return {(plan.arch, plan.dataset, plan.protocol.name): plan for plan in self.networks}

    def plan(self, cell: FixedCell) -> NetworkPlan:
        """The plan of a cell's architecture."""
        return self.subjects[cell.arch, cell.dataset, cell.variant]

    def settings(self, cell: FixedCell) -> dict[str, Any]:
        """Everything but the cell itself that decides its figure, as plain values."""
        plan = self.plan(cell)
        of_preset = ("calibration_images", "validation_images", "test_images")
        of_plan = ["base_epochs", "image_size", "patch_size", "weights"]
        if plan.precision != "float32":
            of_plan.append("precision")
        if plan.training:
            of_plan.append("training")
        retrained = {"retrain_epochs": plan.epochs_of(cell.multiplier)}
        return {
            "preset": self.name,
            **{name: getattr(self, name) for name in of_preset},
            "swapped": cell.swapped,
            **{name: getattr(plan, name) for name in of_plan},
            **(retrained if cell.recovery == "retrained" else {}),
            **({"protocol": plan.protocol.changes} if cell.variant else {}),
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
