"""About how long a cell takes on this machine, by timing a few images."""

from collections.abc import Hashable

from models import Data
from models.networks import build
from studies._pace import TRAINING_STEP, seconds_per_image
from studies.fixed_multiplier._bench import Bench
from studies.fixed_multiplier._plan import FixedCell, FloatNetwork

IMAGES = 64


class CellSeconds:
    """Seconds of one cell after the other, each float network's training with its first cell.

    Weights in the cache are counted as if they were trained again, so that this errs upwards; those
    in a file are not.

    Args:
        bench: that is going to measure the cells.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._timed: dict[Hashable, tuple[Data, float]] = {}
        self._loaded: set[FloatNetwork] = set()

    def __call__(self, cell: FixedCell) -> float:
        """Seconds of a cell.

        Raises:
            InputError: the data set is not there.
        """
        preset, plan = self._bench.preset, self._bench.preset.plan(cell)
        data, an_image = self._image_seconds(cell)
        trained, tested = len(data.train), len(data.test)
        tested = min(preset.test_images or tested, tested)
        validated = min(preset.validation_images or len(data.validation), len(data.validation))
        calibrated = min(preset.calibration_images, trained)
        images: float = tested
        if cell.recovery != "none":
            images += 2 * calibrated
        if cell.recovery == "retrained":
            images += 2 * validated + TRAINING_STEP * plan.epochs_of(cell.multiplier) * trained
        if cell.network not in self._loaded:
            self._loaded.add(cell.network)
            # Loaded twice: for the cheap recoveries, and for retraining.
            images += 2 * (2 * tested + validated + 4 * calibrated)
            if plan.weights_file(cell.topology, cell.seed) is None:
                is_dense = cell.topology == "dense"
                further = None if is_dense else plan.experts_recipe(cell.topology)
                epochs = plan.base_epochs if further is None else further.epochs
                images += TRAINING_STEP * epochs * trained
        return images * an_image

    def _image_seconds(self, cell: FixedCell) -> tuple[Data, float]:
        """The data of a network, and the seconds that one image takes; of its first seed."""
        key = (cell.arch, cell.dataset, cell.topology, cell.variant)
        if key not in self._timed:
            bench, plan = self._bench, self._bench.preset.plan(cell)
            data = bench.data(plan, cell.seed)
            shape = plan.shape(cell.topology, data.num_classes, data.image_size)
            network = build(shape).eval().to(bench.device)
            sample = data.train.take(IMAGES)
            self._timed[key] = (data, seconds_per_image(network, sample, bench.device))
        return self._timed[key]
