"""How long the cells that are missing will take on this machine, by timing a few images."""

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

import models
from models import Data
from models.networks import build
from models.training import upcycled_recipe
from studies.fixed_multiplier._bench import Bench
from studies.fixed_multiplier._plan import Cell, NetworkPlan

IMAGES = 64
SLOW_CIRCUIT = "mul8s_1KR6"
"""Of the usual set, one with several exact terms, which are summed."""


def estimated_hours(bench: Bench, cells: list[Cell]) -> float:
    """Of ``cells``, with the training of float networks unless their weights are in a file.

    Weights in the cache are counted as if they were trained again, so that this errs upwards.

    Raises:
        InputError: a data set is not there.
    """
    seconds = 0.0
    for plan in bench.preset.networks:
        for topology in plan.topologies:
            these = [
                cell
                for cell in cells
                if (cell.arch, cell.dataset, cell.topology) == (plan.arch, plan.dataset, topology)
            ]
            if these:
                seconds += _seconds(bench, plan, topology, these)
    return seconds / 3600


def _seconds(bench: Bench, plan: NetworkPlan, topology: str, cells: list[Cell]) -> float:
    data = bench.data(plan, cells[0].seed)
    preset = bench.preset
    train, infer, tune = _seconds_an_image(bench, plan, topology, data)
    tested = min(preset.test_images or len(data.test), len(data.test))
    validated = min(preset.validation_images or len(data.validation), len(data.validation))
    calibrated = min(preset.calibration_images, len(data.train))
    total = 0.0
    for cell in cells:
        images = tested
        if cell.recovery != "none":
            images += 2 * calibrated
        if cell.recovery == "retrained":
            images += 2 * validated
            total += plan.retrain_epochs * len(data.train) * tune
        total += images * infer
    for seed in {cell.seed for cell in cells}:
        # Loaded twice: for the cheap recoveries, and for retraining.
        total += 2 * (2 * tested + validated + 4 * calibrated) * infer
        if plan.weights_file(topology, seed) is None:
            total += _epochs(plan, topology) * len(data.train) * train
    return total


def _epochs(plan: NetworkPlan, topology: str) -> float:
    """Epochs of training that the float network of a topology takes beyond the dense one's."""
    if topology == "dense":
        return plan.base_epochs
    return upcycled_recipe(plan.recipe()).epochs


def _seconds_an_image(
    bench: Bench, plan: NetworkPlan, topology: str, data: Data
) -> tuple[float, float, float]:
    """Of a float training step, of emulated inference, and of an emulated training step."""
    device = torch.device(bench.place.device)
    sample = data.train.take(IMAGES)
    images, labels = sample.images.to(device), sample.labels.to(device)
    recipe = plan.recipe()
    if recipe.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    network = build(plan.shape(topology, data.num_classes, data.image_size)).to(device)

    def step(net: torch.nn.Module, *, low: bool = False) -> None:
        net.train()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=low):
            loss = functional.cross_entropy(net(images), labels)
        loss.backward()

    low = recipe.precision == "bfloat16"
    train = _timed(lambda: step(network, low=low)) / IMAGES
    emulated = models.emulate(network.eval(), SLOW_CIRCUIT, calibration=[images])
    tune = _timed(lambda: step(emulated, low=low)) / IMAGES
    emulated.eval()
    with torch.no_grad():
        infer = _timed(lambda: emulated(images)) / IMAGES
    return train, infer, tune


def _timed(action: Callable[[], object]) -> float:
    action()
    found = []
    for _ in range(3):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return statistics.median(found)
