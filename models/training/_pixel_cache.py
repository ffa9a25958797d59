"""Decoded images in a memory map, made once for each content of a data set."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.training._data import Normalisation
from models.training._files import atomically, cache_folder
from models.training._source import LabelledImages, Source

# To be raised when the same content would be decoded differently.
_FORMAT = 1


@dataclass(frozen=True)
class Index:
    """What the rows of a memory map are: those of training, then of test, then of validation.

    Args:
        labels: one for each row.
        counts: number of rows in each of the three parts; 0 where the set has no such part.
        class_names: what the labels stand for.
        mean: of each channel over the training rows, on the scale 0…1.
        std: likewise.
    """

    labels: list[int]
    counts: list[int]
    class_names: list[str]
    mean: list[float]
    std: list[float]


def stored(
    name: str,
    content: Mapping[str, Any],
    build: Callable[[Path], Index],
    *,
    with_digest: bool = False,
) -> Source:
    """The data set of this content, decoded now if that was never done.

    Args:
        name: of the data set, for people.
        content: everything that decides the pixels (files, sizes, times of change), as JSON can
            hold it.
        build: writes ``uint8 [M, C, H, W]`` as ``.npy`` to the path it is given; says what
            it wrote.
        with_digest: deliver the SHA-256 of images and labels too, which depends neither on the
            place of the files nor on their times of change.
    """
    canonical = json.dumps({"format": _FORMAT, **content}, sort_keys=True)
    stem = cache_folder() / "data" / hashlib.sha256(canonical.encode()).hexdigest()[:24]
    pixel_path, index_path = stem.with_suffix(".npy"), stem.with_suffix(".json")
    source = _read(name, pixel_path, index_path)
    digest_path = stem.with_suffix(".sha256")
    if source is None:
        digest_path.unlink(missing_ok=True)
        with atomically(pixel_path) as temporary:
            index = build(temporary)
        with atomically(index_path) as temporary:
            temporary.write_text(json.dumps(asdict(index)))
        source = _read(name, pixel_path, index_path)
        assert source is not None, "what was just written can be read"
    if not with_digest:
        return source
    return replace(source, content_sha256=_digest(pixel_path, index_path, digest_path))


def _digest(pixel_path: Path, index_path: Path, digest_path: Path) -> str:
    """SHA-256 of a stored data set, taken once, as reading all pixels takes long."""
    with contextlib.suppress(OSError):
        known = digest_path.read_text()
        if re.fullmatch("[0-9a-f]{64}", known):
            return known
    index = json.dumps(json.loads(index_path.read_text()), sort_keys=True)
    with pixel_path.open("rb") as file:
        pixels = hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256(f"{pixels} {index}".encode()).hexdigest()
    with atomically(digest_path) as temporary:
        temporary.write_text(digest)
    return digest


def channel_statistics(pixels: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, 0…1, over at most 10,000 images."""
    # Spread evenly over the set, as images are often sorted by class.
    sums, squares, count = 0.0, 0.0, 0
    for images in _chunks(pixels[:: max(1, len(pixels) // 10_000)], 1_000):
        values = images.astype(np.float64) / 255
        sums = sums + values.sum(axis=(0, 2, 3))
        squares = squares + np.square(values).sum(axis=(0, 2, 3))
        count += values.size // values.shape[1]
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
    # A channel that never changes must not become infinite.
    return np.round(mean, 4).tolist(), np.round(np.maximum(deviation, 0.01), 4).tolist()


def _chunks(pixels: NDArray[np.uint8], size: int) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(pixels), size):
        yield pixels[start : start + size]


def _read(name: str, pixel_path: Path, index_path: Path) -> Source | None:
    """The stored data set, or nothing if it is absent or was damaged."""
    try:
        index = Index(**json.loads(index_path.read_text()))
        # Copy-on-write: torch wants memory it may write to, and the file must not change.
        mapped = np.load(pixel_path, mmap_mode="c")
    except (OSError, ValueError, TypeError):
        return None
    if mapped.dtype != np.uint8 or not len(mapped) == len(index.labels) == sum(index.counts):
        return None
    pixels, labels = torch.from_numpy(mapped), torch.tensor(index.labels)
    bounds = np.cumsum([0, *index.counts]).tolist()
    train, test, validation = (
        LabelledImages(pixels[start:stop], labels[start:stop]) if stop > start else None
        for start, stop in pairwise(bounds)
    )
    assert train is not None, "every data set has training images"
    normalisation = Normalisation(tuple(index.mean), tuple(index.std))
    return Source(name, train, tuple(index.class_names), normalisation, test, validation)
