"""Where studies find the CIFAR-10 images."""

import os
from pathlib import Path

from luts.errors import InputError

IMAGES = Path(os.environ.get("REFERENCE_DATA", "../shared")) / "data/cifar10-imagefolder.tar.xz"


def check_images(path: Path) -> None:
    """Hold the path of ``--images`` against what there is.

    Raises:
        InputError: nothing is there.
    """
    if not path.exists():
        raise InputError(
            f"no images at {path}: name a folder of class folders, or an archive of one, with "
            f"--images"
        )
