"""Labelled images as values: a split, and a data set of three splits."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from luts.errors import InputError


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
            inputs that are not images are float32 ``[M, …]``, or token ids, int64 ``[M, T]``.
        labels: ``int64 [N]``.
        normalisation: how ``uint8`` pixels become what a network reads.
        rows: ``int64 [N]``, which rows of ``pixels`` belong to the split; all of them by default.
    """

    pixels: Tensor
    labels: Tensor
    normalisation: Normalisation | None = None
    rows: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.pixels) if self.rows is None else len(self.rows)
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

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_images(self) -> bool:
        """Whether the inputs are images, which can be shifted and mirrored."""
        return self.pixels.ndim == 4

    @property
    def images(self) -> Tensor:
        """All images as a network reads them: float32 ``[N, C, H, W]``, a copy."""
        return self.normalised(self.gather(slice(None)))

    def gather(self, positions: Tensor | slice) -> Tensor:
        """The stored pixels at ``positions`` of this split, not yet normalised."""
        return self.pixels[positions if self.rows is None else self.rows[positions]]

    def normalised(self, pixels: Tensor) -> Tensor:
        """What the network reads for ``pixels`` out of `gather`."""
        return pixels if self.normalisation is None else self.normalisation(pixels)

    def batches(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
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
        num_classes: number of labels.
        class_names: what the labels stand for.
        content_sha256: of all images and labels, where the name alone does not say which they are.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    num_classes: int
    class_names: tuple[str, ...] = ()
    content_sha256: str | None = None

    @property
    def image_size(self) -> int:
        """Height, which is the width, in pixels."""
        return self.train.pixels.shape[-1]

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.pixels.shape[1]

    @property
    def making(self) -> dict[str, object]:
        """What identifies the data among results: name, image size, images in each split.

        The digest of its content is there for images of the user's own.
        """
        digest = self.content_sha256
        return {
            "name": self.name,
            "image_size": self.image_size,
            "train": len(self.train),
            "validation": len(self.validation),
            "test": len(self.test),
            **({} if digest is None else {"content_sha256": digest}),
        }
