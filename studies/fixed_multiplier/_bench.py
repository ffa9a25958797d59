"""Measures one cell: float network, exact int8 network, one multiplier, one recovery."""

import dataclasses
import time
from collections.abc import Callable, Iterable

from torch import Tensor, nn

import energy
import models
from dse import Evaluator, default_recovery, provenance
from dse.scoring import BATCH_SIZE
from luts.console import Reporter
from models.training import (
    Start,
    base_network,
    check_trained_on,
    has_batchnorm,
    state_digest,
)
from studies._images import Images
from studies._matrix import Record
from studies._networks import workload_of
from studies.fixed_multiplier._plan import (
    FixedCell,
    FloatNetwork,
    MatrixPreset,
    NetworkPlan,
    power_rel,
)
from studies.fixed_multiplier._sampling import packed


@dataclasses.dataclass(frozen=True, eq=False)
class MeasuredNetwork:
    """A float network and what all its cells share.

    Attributes:
        evaluator: scores and recovers, as a search does.
        workload: what energy is counted of.
        base: where the weights come from and how the float network scores, as plain values.
    """

    evaluator: Evaluator
    workload: energy.Workload
    base: Record


class Bench:
    """Loads what a cell needs, keeps the last of it, and measures.

    Args:
        preset: what the cells belong to.
        images: where this machine has them.
        device: that networks run on.
        reporter: shows how training goes.
        check_weights: called with a float network and its SHA-256 before the first of its cells
            is measured.
        check_recipe: called with a cell and how it will be recovered before it is measured.
    """

    def __init__(
        self,
        preset: MatrixPreset,
        images: Images,
        device: str,
        reporter: Reporter,
        check_weights: Callable[[FloatNetwork, str], None],
        check_recipe: Callable[[FixedCell, Record], None],
    ) -> None:
        self.preset = preset
        self.images = images
        self.device = device
        self.reporter = reporter
        self.check_weights = check_weights
        self.check_recipe = check_recipe
        self._making = provenance()
        self._data: dict[tuple[str, int | None, int], models.Data] = {}
        self._network: tuple[FloatNetwork, MeasuredNetwork] | None = None

    def data(self, plan: NetworkPlan, seed: int) -> models.Data:
        """The images, split by ``seed``.

        Raises:
            InputError: they are not there.
        """
        key = (plan.dataset, plan.image_size, seed)
        if key not in self._data:
            self._data.clear()
            self._data[key] = self.images.read(
                plan.dataset, seed=seed, image_size=plan.image_size, reporter=self.reporter
            )
        return self._data[key]

    def measure(self, cell: FixedCell) -> Record:
        """Compute a cell; every figure in the record comes from here."""
        network = self._of(cell)
        evaluator, workload = network.evaluator, network.workload
        recipe = self._recipe(cell, evaluator)
        self.check_recipe(cell, recipe)
        protocol = self.preset.plan(cell).protocol
        assignment = protocol.assignment(workload.sites, cell.multiplier, swapped=cell.swapped)
        cost = energy.cost(workload, assignment)
        started = time.perf_counter()
        (test, right), validation, note = self._scores(cell, evaluator, assignment)
        return {
            "cell": cell.to_dict(),
            "settings": self.preset.settings(cell),
            "test": test.to_dict(),
            "right": packed(right),
            "validation": None if validation is None else validation.to_dict(),
            "energy_rel": cost.energy_rel,
            "power_rel": power_rel(cell.multiplier),
            "how": self._how(cell, evaluator),
            "recipe": recipe,
            "note": note,
            "seconds": round(time.perf_counter() - started, 2),
            "base": network.base,
            "making": self._making,
        }

    def _scores(
        self, cell: FixedCell, evaluator: Evaluator, assignment: models.Assignment
    ) -> tuple[tuple[models.Score, Tensor], models.Score | None, str]:
        images = evaluator.data.test
        if cell.recovery == "retrained":
            epochs = self.preset.plan(cell).epochs_of(cell.multiplier)
            tuned = evaluator.fine_tune(assignment, epochs=epochs, seed=cell.seed)
            scored = models.evaluate_images(tuned.network, images, batch_size=BATCH_SIZE)
            return scored, tuned.validation, tuned.note
        with evaluator.under(assignment, recovered=cell.recovery == "recalibrated") as emulated:
            return models.evaluate_images(emulated, images, batch_size=BATCH_SIZE), None, ""

    def _recipe(self, cell: FixedCell, evaluator: Evaluator) -> Record:
        """All steps of the recovery and their settings, as plain values."""
        if cell.recovery == "none":
            return {}
        recovery = evaluator.recovery
        if cell.recovery == "retrained":
            epochs = self.preset.plan(cell).epochs_of(cell.multiplier)
            training = dataclasses.replace(evaluator.tuning.training, epochs=epochs)
            tuning = dataclasses.replace(evaluator.tuning, training=training)
            recovery = dataclasses.replace(recovery, fine_tuning=tuning)
        images = {
            "images": self.preset.calibration_images,
            "bias_images": len(evaluator.reference.bias_images),
        }
        return recovery.to_dict() | images

    def _how(self, cell: FixedCell, evaluator: Evaluator) -> str:
        """The recovery in words; which of the two free steps depends on the network."""
        if cell.recovery == "none":
            return "as approximated"
        count = len(evaluator.reference.images)
        what = "BatchNorm statistics" if has_batchnorm(evaluator.emulated) else "corrected biases"
        free = f"tuned weight codes, {what} of {count} training images"
        if cell.recovery == "recalibrated":
            return free
        training = evaluator.tuning.training
        epochs = self.preset.plan(cell).epochs_of(cell.multiplier)
        precision = "" if training.precision == "float32" else f" in {training.precision}"
        return (
            f"{free}, then {epochs:g} epochs of {training.optimizer} through the circuits, "
            f"learning rate {training.lr:g}, batches of {training.batch_size}, straight-through "
            f"gradient{precision}"
        )

    def _of(self, cell: FixedCell) -> MeasuredNetwork:
        if self._network is None or self._network[0] != cell.network:
            self._network = None  # one at a time: it may be large
            self._network = (cell.network, self._load(cell))
        return self._network[1]

    def _load(self, cell: FixedCell) -> MeasuredNetwork:
        preset, plan = self.preset, self.preset.plan(cell)
        data = self.data(plan, cell.seed)
        network, origin, trained = _network(plan, cell, data, self.reporter)
        sha256 = state_digest(network.state_dict())
        self.check_weights(cell.network, sha256)
        network = network.to(self.device)
        data = dataclasses.replace(
            data,
            # Calibration images are expected where the network is.
            train=dataclasses.replace(data.train, pixels=data.train.pixels.to(self.device)),
            validation=data.validation.take(preset.validation_images or len(data.validation)),
            test=data.test.take(preset.test_images or len(data.test)),
        )
        count, recovery = preset.calibration_images, _recovery(network, data, plan)
        evaluator = Evaluator(
            network,
            data,
            calibration_images=count,
            recovery=recovery,
            weight_scales=plan.protocol.weight_scales,
        )
        float_test = models.evaluate(network, data.test, batch_size=BATCH_SIZE)
        base = {
            "weights": origin,
            "weights_sha256": sha256,
            "training": trained,
            "data": data.making,
            "classes": data.num_classes,
            "float_test": float_test.to_dict(),
        }
        return MeasuredNetwork(evaluator, workload_of(evaluator), base)


def check_data(
    preset: MatrixPreset, cells: Iterable[FixedCell], images: Images, reporter: Reporter
) -> None:
    """Read the images of every network that some cells need, once.

    Raises:
        InputError: they are not there.
    """
    seeds = {preset.plan(cell): cell.seed for cell in cells}
    for plan, seed in seeds.items():
        images.read(plan.dataset, seed=seed, image_size=plan.image_size, reporter=reporter)


def _network(
    plan: NetworkPlan, cell: FixedCell, data: models.Data, reporter: Reporter
) -> tuple[nn.Module, str, Record]:
    """The trained float network, where it comes from, and by what recipes what has no file was."""
    shape = plan.shape(cell.topology, data.num_classes, data.image_size)
    own = plan.weights_file(cell.topology, cell.seed)
    file = own or plan.weights_file("dense", cell.seed)
    origin = f"dense: {plan.base_epochs:g} epochs" if file is None else file.name
    trained = {} if file is not None else {"dense": dataclasses.asdict(plan.recipe())}
    further = None
    if own is None and cell.topology != "dense":
        origin += ", upcycled and trained on"
        further = plan.experts_recipe(cell.topology)
        trained[cell.topology] = dataclasses.asdict(further)
    if file is not None:
        check_trained_on(file, data)
    start = None if file is None else Start(str(file))
    network = base_network(
        shape,
        data,
        seed=cell.seed,
        recipe=plan.recipe(),
        experts_recipe=further,
        start=start,
        reporter=reporter,
    )
    return network, origin, trained


def _recovery(network: nn.Module, data: models.Data, plan: NetworkPlan) -> models.Recovery:
    """That of a search, with the gradients in the plan's precision."""
    recovery = default_recovery(network, data.name)
    tuning = recovery.fine_tuning
    assert tuning is not None
    training = dataclasses.replace(tuning.training, precision=plan.recipe().precision)
    return dataclasses.replace(recovery, fine_tuning=dataclasses.replace(tuning, training=training))
