"""How long things take on this machine as it is now."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import models
from models import Split
from models.networks import Inputs, called
from models.training import quick_products

SLOW_CIRCUIT = "mul8s_1KR6"
"""Of the usual set, one with several exact terms, which are summed."""

TRAINING_STEP = 4
"""A training step, through the circuits or not, is taken to cost so many forward passes."""


def seconds_per_image(network: nn.Module, sample: Split, device: str = "cpu") -> float:
    """Of emulated inference, timed with a sample as one batch.

    Args:
        network: the float network, on the device; it is copied.
        sample: images to take.
        device: that the network runs on.
    """
    images = sample.images.to(device)
    emulated = models.emulate(network, SLOW_CIRCUIT, calibration=[images])
    with torch.no_grad():
        return median_seconds(lambda: emulated(images)) / len(images)


def training_step(
    network: nn.Module, images: Tensor | Inputs, labels: Tensor
) -> Callable[[], None]:
    """A step of SGD on one batch, its products as `models.fit` computes them."""
    optimizer = torch.optim.SGD(network.train().parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        with quick_products():
            loss = F.cross_entropy(called(network, images), labels)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def median_seconds(action: Callable[[], object], repetitions: int = 3) -> float:
    """Median of what an action takes, which is run once before."""
    action()
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
