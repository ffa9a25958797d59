"""Calibration images that reach every expert of a mixture."""

import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from models.networks import ExpertLayer, called, expert_layers
from models.training._data import Split

BATCH_SIZE = 250

POOL_IMAGES = 4_000
"""Training images that are looked through for such as reach seldom used experts."""

Counts = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class ExpertImages:
    """Which training images to recover on.

    Attributes:
        images: the images.
        items: by expert layer, how many of their items each expert works on; empty for a network
            whose experts all work on everything.
    """

    images: Split
    items: dict[str, tuple[int, ...]]

    def starved(self, least: int) -> dict[str, tuple[int, ...]]:
        """Experts that get fewer items than ``least``, by layer."""
        few = {
            layer: tuple(e for e, items in enumerate(counts) if items < least)
            for layer, counts in self.items.items()
        }
        return {layer: experts for layer, experts in few.items() if experts}


def expert_images(network: nn.Module, split: Split, count: int) -> ExpertImages:
    """The first ``count`` images of a split, or so many that share themselves evenly to experts.

    An expert's statistics rest on what it sees. Drawn at random, 256 images leave a seldom used
    expert with a score of them, and a recovery that rests on these undoes the network: ResNet-20
    with hard experts on CIFAR-10, `mul8s_1L1G` everywhere, 83.7 % of validation images with the
    first 256, 85.6 % with 1,000, 85.7 % with 3,000; with 512 that were chosen here, 85.8 %.

    Args:
        network: exact; routes as it will when it is recovered.
        split: training images in random order; at most `POOL_IMAGES` are looked through.
        count: images to take.
    """
    pool = split.take(max(count, POOL_IMAGES))
    layers = {
        name: layer
        for name, layer in expert_layers(network).items()
        if layer.says_choices and not layer.fixed_work
    }
    if not layers or len(pool) <= count:
        chosen, work = np.arange(min(count, len(pool))), None
    else:
        work = _work_per_image(network, layers, pool)
        chosen = _evenly(work, count)
    images = pool.subset(torch.from_numpy(chosen))
    if not layers:
        return ExpertImages(images, {})
    if work is None:
        work = _work_per_image(network, layers, images)
        chosen = np.arange(len(images))
    totals = iter(work[chosen].sum(axis=0))
    items = {
        name: tuple(int(next(totals)) for _ in range(layer.num_experts))
        for name, layer in layers.items()
    }
    return ExpertImages(images, items)


def _evenly(work: Counts, count: int) -> npt.NDArray[np.int64]:
    """Rows that, taken one by one, do most for the experts that have least so far."""
    left, has = np.ones(len(work), dtype=bool), np.zeros(work.shape[1])
    scale = work.sum(axis=0).mean() / len(work)
    chosen = []
    for _ in range(count):
        gain = np.where(left, work @ (1 / (scale + has)), -1.0)
        best = int(gain.argmax())
        left[best] = False
        has += work[best]
        chosen.append(best)
    return np.array(sorted(chosen), dtype=np.int64)


@torch.no_grad()
def _work_per_image(network: nn.Module, layers: dict[str, ExpertLayer], images: Split) -> Counts:
    """Items of each image that each expert works on, shape ``(images, experts of all layers)``."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    parts = []
    with _choices_kept(layers):
        for batch, _ in images.batches(BATCH_SIZE):
            called(network, batch.to(device))
            parts.append(np.hstack([_counts(layer, len(batch)) for layer in layers.values()]))
    network.train(was_training)
    return np.concatenate(parts)


def _counts(layer: ExpertLayer, images: int) -> Counts:
    assert layer.choices is not None
    experts = layer.choices.reshape(images, -1).cpu().numpy()
    rows = np.repeat(np.arange(images), experts.shape[1])
    counts = np.zeros((images, layer.num_experts))
    np.add.at(counts, (rows, experts.ravel()), 1)
    return counts


@contextlib.contextmanager
def _choices_kept(layers: dict[str, ExpertLayer]) -> Iterator[None]:
    for layer in layers.values():
        layer.keeps_choices = True
    try:
        yield
    finally:
        for layer in layers.values():
            layer.keeps_choices, layer.choices = False, None
