"""scikit-learn's 1,797 handwritten digits (8×8), the data that needs no download.

Origin: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998
(https://doi.org/10.24432/C50P49), the test part of it as shipped in `sklearn.datasets.load_digits`.
"""

import torch
from torch.nn import functional

from models.training._data import Normalisation
from models.training._source import LabelledImages, Source

# Over all images at 32×32, computed once.
NORMALISATION = Normalisation((0.3052,) * 3, (0.3236,) * 3)


def read_digits(image_size: int) -> Source:
    """The digits, upsampled bilinearly, their one channel repeated to the usual three."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = torch.from_numpy(digits.images).to(torch.float32).div_(16).unsqueeze_(1)
    size = (image_size, image_size)
    large = functional.interpolate(grey, size=size, mode="bilinear", align_corners=False)
    pixels = large.mul_(255).round_().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
    labels = torch.from_numpy(digits.target).to(torch.int64)
    names = tuple(str(name) for name in digits.target_names)
    return Source("digits", LabelledImages(pixels, labels), names, NORMALISATION)
