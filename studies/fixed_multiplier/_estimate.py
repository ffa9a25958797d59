"""About how long a cell takes on this machine, by timing a few images."""

import dataclasses
from collections.abc import Hashable

import torch

from models import Data
from models.networks import build
from studies._pace import median_seconds, seconds_per_image, training_step
from studies.fixed_multiplier._bench import Bench
from studies.fixed_multiplier._plan import FixedCell, FloatNetwork

IMAGES = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Pace:
    """What one image of a network takes.

    Attributes:
        data: that it is of.
        forward: seconds of emulated inference, through a slow circuit of the usual set.
        step: seconds of a float training step, in the plan's precision. One through the circuits
            is taken to add the emulated inference.
    """

    data: Data
    forward: float
    step: float


class CellSeconds:
    """Seconds of one cell after the other, each float network's training with its first cell.

    Weights in the cache are counted as if they were trained again, so that this errs upwards; those
    in a file are not.

    Args:
        bench: that is going to measure the cells.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._timed: dict[Hashable, Pace] = {}
        self._loaded: set[FloatNetwork] = set()

    def __call__(self, cell: FixedCell) -> float:
        """Seconds of a cell.

        Raises:
            InputError: the data set is not there.
        """
        preset, plan = self._bench.preset, self._bench.preset.plan(cell)
        pace = self._pace(cell)
        data, trained, tested = pace.data, len(pace.data.train), len(pace.data.test)
        tested = min(preset.test_images or tested, tested)
        validated = min(preset.validation_images or len(data.validation), len(data.validation))
        calibrated = min(preset.calibration_images, trained)
        inferred, learnt = float(tested), 0.0
        if cell.recovery != "none":
            inferred += 2 * calibrated
        if cell.recovery == "retrained":
            learnt = plan.epochs_of(cell.multiplier) * trained
            inferred += 2 * validated + learnt
        if cell.network not in self._loaded:
            self._loaded.add(cell.network)
            # Loaded twice: for the cheap recoveries, and for retraining.
            inferred += 2 * (2 * tested + validated + 4 * calibrated)
            if plan.weights_file(cell.topology, cell.seed) is None:
                is_dense = cell.topology == "dense"
                further = None if is_dense else plan.experts_recipe(cell.topology)
                epochs = plan.base_epochs if further is None else further.epochs
                learnt += epochs * trained
        return inferred * pace.forward + learnt * pace.step

    def _pace(self, cell: FixedCell) -> Pace:
        """That of a network with its first seed."""
        key = (cell.arch, cell.dataset, cell.topology, cell.variant)
        if key not in self._timed:
            bench, plan = self._bench, self._bench.preset.plan(cell)
            data = bench.data(plan, cell.seed)
            shape = plan.shape(cell.topology, data.num_classes, data.image_size)
            network = build(shape).eval().to(bench.device)
            sample = data.train.take(IMAGES)
            forward = seconds_per_image(network, sample, bench.device)
            images, labels = sample.images.to(bench.device), sample.labels.to(bench.device)
            is_low = plan.precision == "bfloat16"
            with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=is_low):
                step = median_seconds(training_step(network, images, labels)) / len(sample)
            self._timed[key] = Pace(data, forward, step)
        return self._timed[key]
