"""From what a reader finds to the three splits of a data set."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor

from luts.errors import InputError
from models.training._data import Data, Normalisation, Split


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images ``uint8 [N, C, H, W]`` and labels ``int64 [N]``, in their published order."""

    pixels: Tensor
    labels: Tensor

    def split(self, rows: NDArray[np.int64], normalisation: Normalisation) -> Split:
        """The images in ``rows``, in that order."""
        index = torch.from_numpy(rows)
        return Split(self.pixels, self.labels[index], normalisation, rows=index)


@dataclass(frozen=True, eq=False)
class Source:
    """What a reader delivers; missing validation and test images are cut from ``train``.

    Args:
        name: of the data set.
        train: training images.
        class_names: what the labels stand for.
        normalisation: of all its images.
        test: test images, if it has its own.
        validation: validation images, if it has its own.
        content_sha256: of all images and labels, where the name alone does not say which they are.
        part_of: training and test images of the published set, where this is a part of it.
    """

    name: str
    train: LabelledImages
    class_names: tuple[str, ...]
    normalisation: Normalisation
    test: LabelledImages | None = None
    validation: LabelledImages | None = None
    content_sha256: str | None = None
    part_of: tuple[int, int] | None = None


def splits(source: Source, *, seed: int, test_fraction: float, validation_fraction: float) -> Data:
    """Cut a source into shuffled, disjoint, stratified splits.

    Args:
        source: what was read.
        seed: decides which images land in which split.
        test_fraction: of all images, used where the source has no test images of its own.
        validation_fraction: of all training images, where it has no validation images.

    Raises:
        InputError: a class has too few images to appear in every split, or the seed is out of
            range.
    """
    check_seed(seed)
    rows = np.arange(len(source.train.labels))
    labels = source.train.labels.numpy()
    if source.test is None:
        rows, test_rows = _cut(rows, labels, test_fraction, seed)
        test = source.train.split(test_rows, source.normalisation)
    else:
        test = _shuffled(source.test, source.normalisation, seed)
    if source.validation is None:
        count = round(validation_fraction * len(labels))
        rows, validation_rows = _cut(rows, labels, count, seed)
        validation = source.train.split(validation_rows, source.normalisation)
    else:
        validation = _shuffled(source.validation, source.normalisation, seed)
        rows = np.random.default_rng(seed).permutation(rows)
    train = source.train.split(rows, source.normalisation)
    names, digest = source.class_names, source.content_sha256
    return Data(
        source.name, train, validation, test, len(names), names, digest, part_of=source.part_of
    )


def check_seed(seed: int) -> None:
    """Check that all generators take this seed.

    Raises:
        InputError: it is negative or has more than 32 bits.
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"a seed is a whole number from 0 to {2**32 - 1}, not {seed}")


def _cut(
    rows: NDArray[np.int64], labels: NDArray[np.int64], size: float | int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    try:
        kept, cut = train_test_split(rows, test_size=size, random_state=seed, stratify=labels[rows])
    except ValueError as error:
        raise InputError(
            f"{len(rows)} images are too few to hold {size} back for validation or test ({error}): "
            "give more images of each class"
        ) from None
    return kept, cut


def _shuffled(images: LabelledImages, normalisation: Normalisation, seed: int) -> Split:
    # Published test sets are often sorted by class; shuffled, the first n are a fair sample.
    rows = np.random.default_rng(seed).permutation(len(images.labels))
    return images.split(rows, normalisation)
