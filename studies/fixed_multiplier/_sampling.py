"""How far accuracies on a sample of images can be trusted: binomial, paired where images are known.

Both estimates add successes and failures, so that an error of nothing is not claimed where no image
of the sample tells (Agresti, Coull, "Approximate is better than 'exact'", The American Statistician
52(2), 1998; Agresti, Min, Statistics in Medicine 24(5), 2005, for pairs).
"""

import base64
import math
import zlib

import numpy as np
import numpy.typing as npt
from torch import Tensor

NORMAL_95 = 1.96
"""Standard errors on either side of a 95 % confidence interval."""

Images = npt.NDArray[np.bool_]
"""Of which images the class was right, shape ``(images,)``."""


def packed(right: Tensor) -> str:
    """Images as a text, about a tenth of a byte each."""
    return base64.b64encode(zlib.compress(np.packbits(right.numpy()).tobytes(), 9)).decode("ascii")


def unpacked(text: str, images: int) -> Images:
    """The inverse of `packed`."""
    bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)
    return np.unpackbits(bits, count=images).astype(np.bool_)


def accuracy_error(accuracy: float, images: int) -> float:
    """Standard error of an accuracy (0 to 1), in percentage points."""
    share = (accuracy * images + 2) / (images + 4)
    return 100 * math.sqrt(share * (1 - share) / (images + 4))


def paired_error(one: Images, other: Images) -> float:
    """Standard error of the difference of two accuracies on the same images, in percentage points.

    Only images on which the two differ count, which may be far fewer than those that either gets
    wrong.
    """
    images = len(one) + 2
    first = float((one & ~other).sum()) + 0.5
    second = float((other & ~one).sum()) + 0.5
    return 100 * math.sqrt((first + second) - (first - second) ** 2 / images) / images
