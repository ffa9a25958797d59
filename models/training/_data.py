"""Labelled inputs as values: a split, and a data set of three splits."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from luts.errors import InputError
from models.networks import Inputs

IGNORED = -100
"""A label that does not count, as in `torch.nn.functional.cross_entropy`."""


@dataclass(frozen=True)
class Normalisation:
    """Per-channel mean and standard deviation of pixels on the scale 0…1."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pixels: Tensor) -> Tensor:
        """``uint8 [N, C, H, W]`` to float32 of about zero mean and unit variance."""
        mean = torch.tensor(self.mean, device=pixels.device).mul_(255).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).mul_(255).view(1, -1, 1, 1)
        return pixels.to(torch.float32).sub_(mean).div_(std)


@dataclass(frozen=True, eq=False)
class Split:
    """Images and their labels, in random order.

    Large sets stay ``uint8`` and are normalised batch by batch; several splits may share one
    store of pixels (a memory map, say), each with its own ``rows`` of it.

    Args:
        pixels: ``[M, C, H, W]``: ``uint8`` with a ``normalisation``, or float32 used as it is;
            inputs that are not images are float32 ``[M, …]``, or token ids, int64 ``[M, T]``, or
            `models.networks.Inputs` with one row each.
        labels: ``int64 [N]``; or ``[N, T]`` for outputs ``[N, T, classes]``, where `IGNORED` labels
            do not count; or float32 targets ``[N, …]``, which take a `Metric`.
        normalisation: how ``uint8`` pixels become what a network reads.
        rows: ``int64 [N]``, which rows of ``pixels`` belong to the split; all of them by default.
    """

    pixels: Tensor | Inputs
    labels: Tensor
    normalisation: Normalisation | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.pixels) if self.rows is None else len(self.rows)
        if isinstance(self.pixels, Inputs):
            self._check_rows(count)
            return
        if self.pixels.ndim < 2 or count != len(self.labels):
            raise InputError(
                f"a split needs inputs [N, …], images as [N, C, H, W], and one label each, got "
                f"{tuple(self.pixels.shape)} ({count} selected) and {len(self.labels)} labels"
            )
        if (self.pixels.dtype == torch.uint8) != (self.normalisation is not None):
            raise InputError(
                f"uint8 images need a normalisation and float images none, got {self.pixels.dtype} "
                f"and {self.normalisation}"
            )

    def _check_rows(self, count: int) -> None:
        if count == len(self.labels) and self.normalisation is None:
            return
        raise InputError(
            f"a split needs one label for each of its inputs, and no normalisation but of images, "
            f"got {count} inputs, {len(self.labels)} labels and {self.normalisation}"
        )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images, which can be shifted and mirrored."""
        return isinstance(self.pixels, Tensor) and self.pixels.ndim == 4

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input; of several tensors, of the first."""
        first = self.pixels if isinstance(self.pixels, Tensor) else self.pixels.tensors[0]
        return tuple(first.shape[1:])

    @property
    def shape(self) -> Hashable:
        """Shape of one input, of all its tensors if it is several."""
        return self.input_shape if isinstance(self.pixels, Tensor) else self.pixels.shape

    @property
    def images(self) -> Tensor | Inputs:
        """All images as a network reads them: float32 ``[N, C, H, W]``, a copy; or all inputs."""
        return self.normalised(self.gather(slice(None)))

    def gather(self, positions: Tensor | slice) -> Tensor | Inputs:
        """The stored pixels at ``positions`` of this split, not yet normalised."""
        return self.pixels[positions if self.rows is None else self.rows[positions]]

    def normalised(self, pixels: Tensor | Inputs) -> Tensor | Inputs:
        """What the network reads for ``pixels`` out of `gather`."""
        if self.normalisation is None or isinstance(pixels, Inputs):
            return pixels
        return self.normalisation(pixels)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor | Inputs, Tensor]]:
        """``(images, labels)`` in order; the last batch may be smaller."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield self.normalised(self.gather(part)), self.labels[part]

    def subset(self, positions: Tensor) -> "Split":
        """The images at ``positions`` (int64); pixels are shared, not copied."""
        rows = positions if self.rows is None else self.rows[positions]
        return replace(self, labels=self.labels[positions], rows=rows)

    def take(self, count: int) -> "Split":
        """The first ``count`` images, or all: a random sample, as splits are shuffled."""
        return self.subset(torch.arange(min(count, len(self))))


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in three disjoint splits.

    Args:
        name: what it is called.
        train: learnt from.
        validation: chooses between networks.
        test: for reported figures only.
        num_classes: number of labels; 0 where targets are real numbers.
        class_names: what the labels stand for.
        content_sha256: of all images and labels, where the name alone does not say which they are.
        part_of: training and test images of the published set, where this is a part of it.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...] = ()
    content_sha256: str | None = None
    part_of: tuple[int, int] | None = None

    @property
    def image_size(self) -> int:
        """Height, which is the width, in pixels; of other inputs, their last dimension."""
        shape = self.train.input_shape
        return shape[-1] if shape else 1

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.input_shape[0]

    @property
    def making(self) -> dict[str, object]:
        """What identifies the data among results: name, image size, images in each split.

        The digest of its content is there for images of the user's own, the images of the whole
        set where this is a part of a published one.
        """
        digest, whole = self.content_sha256, self.part_of
        return {
            "name": self.name,
            "image_size": self.image_size,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            **({} if digest is None else {"content_sha256": digest}),
            **({} if whole is None else {"part_of": {"train": whole[0], "test": whole[1]}}),
        }
