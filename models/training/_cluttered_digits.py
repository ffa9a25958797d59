"""Scenes made of scikit-learn's digits: a task without a download on which circuits differ.

After the cluttered MNIST of V. Mnih et al., "Recurrent Models of Visual Attention" (NeurIPS 2014):
a digit to be recognised, anywhere in the picture, among pieces of others; here with contrast and
noise that differ from scene to scene.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.training._data import Data, Normalisation
from models.training._digits import read_digits
from models.training._source import LabelledImages, Source, splits

SCENES: Mapping[str, int] = MappingProxyType({"train": 5000, "validation": 1500, "test": 1500})
"""How many there are of each split; validation and test are large enough to tell circuits apart."""

SIDE_PX = 32
DIGIT_SIDE_PX = 20
PIECE_SIDE_PX = 8
PIECES = 2
MARGIN_PX = 4
PIECE_BRIGHTNESS = 0.7
CONTRAST = (0.6, 1.0)
NOISE = 0.1

# Brightness of the background and span of the brightest strokes, so that noise is seldom clipped.
_BLACK, _SPAN = 0.1, 0.8

# Over all scenes of seed 0, computed once.
NORMALISATION = Normalisation((0.195,) * 3, (0.185,) * 3)


def read_cluttered_digits(seed: int, *, image_size: int) -> Data:
    """Compose the scenes; the digits in training, validation and test scenes are different ones.

    Args:
        seed: decides which digits land in which split, and the scenes.
        image_size: side of the scenes in pixels; other than 32 they are resized bilinearly.
    """
    digits = splits(
        read_digits(DIGIT_SIDE_PX), seed=seed, test_fraction=0.2, validation_fraction=0.2
    )
    generator = np.random.default_rng(seed)
    parts = {}
    for name, count in SCENES.items():
        split = getattr(digits, name)
        strokes = split.pixels[split.rows, 0].numpy().astype(np.float32) / 255
        parts[name] = _compose(strokes, split.labels.numpy(), count, generator)
    source = Source(
        "cluttered-digits",
        _resized(parts["train"], image_size),
        digits.class_names,
        NORMALISATION,
        test=_resized(parts["test"], image_size),
        validation=_resized(parts["validation"], image_size),
    )
    return splits(source, seed=seed, test_fraction=0.0, validation_fraction=0.0)


def _compose(
    strokes: NDArray[np.float32],
    labels: NDArray[np.int64],
    count: int,
    generator: np.random.Generator,
) -> LabelledImages:
    """Scenes of digits ``[N, H, W]``, as many of each class as of any other."""
    classes = np.resize(np.unique(labels), count)
    scenes = np.zeros((count, SIDE_PX, SIDE_PX), np.float32)
    for scene, wanted in zip(scenes, classes, strict=True):
        for digit in generator.choice(strokes, PIECES):
            piece = _crop(digit, PIECE_SIDE_PX, generator)
            _draw(scene, PIECE_BRIGHTNESS * piece, 0, generator)
        _draw(scene, generator.choice(strokes[labels == wanted]), MARGIN_PX, generator)
    contrast = generator.uniform(*CONTRAST, (count, 1, 1))
    noisy = contrast * scenes + generator.normal(0, NOISE, scenes.shape)
    grey = (255 * (_BLACK + _SPAN * noisy)).round().clip(0, 255).astype(np.uint8)
    pixels = torch.from_numpy(grey).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    return LabelledImages(pixels, torch.from_numpy(classes))


def _crop(
    image: NDArray[np.float32], side: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    top, left = generator.integers(0, image.shape[0] - side + 1, 2)
    return image[top : top + side, left : left + side]


def _draw(
    scene: NDArray[np.float32],
    image: NDArray[np.float32],
    margin: int,
    generator: np.random.Generator,
) -> None:
    """Put an image somewhere in a scene, whose brighter pixels stay."""
    top, left = generator.integers(margin, scene.shape[0] - len(image) - margin + 1, 2)
    place = scene[top : top + len(image), left : left + len(image)]
    np.maximum(place, image, out=place)


def _resized(images: LabelledImages, side: int) -> LabelledImages:
    if side == SIDE_PX:
        return images
    size = (side, side)
    scaled: Tensor = functional.interpolate(images.pixels.float(), size, mode="bilinear")
    return LabelledImages(scaled.round_().to(torch.uint8), images.labels)
