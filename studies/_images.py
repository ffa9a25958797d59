"""Where studies find their images."""

import dataclasses
import os
from pathlib import Path

from luts.console import SILENT, Reporter
from luts.errors import InputError
from models import Data
from models.training import load_data

IMAGES = Path(os.environ.get("REFERENCE_DATA", "../shared")) / "data/cifar10-imagefolder.tar.xz"
CIFAR10_IMAGES = "cifar10-images"
"""Name of the CIFAR-10 images that were kept as JPEG files, where configurations name data."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Where this machine has images.

    Attributes:
        cifar10: folder or archive of CIFAR-10 images.
        data_root: folder of published archives; None for the cache's.
    """

    cifar10: Path = IMAGES
    data_root: Path | None = None

    def read(
        self,
        dataset: str,
        *,
        seed: int,
        image_size: int | None = None,
        reporter: Reporter = SILENT,
    ) -> Data:
        """The images of ``cifar10-images``, or of a name that `models.load_data` knows.

        Raises:
            InputError: they are not there.
        """
        if dataset != CIFAR10_IMAGES:
            return load_data(
                dataset, seed=seed, image_size=image_size, root=self.data_root, reporter=reporter
            )
        check_images(self.cifar10)
        source = f"imagefolder:{self.cifar10}"
        data = load_data(source, seed=seed, image_size=image_size, reporter=reporter)
        # The folder that the images were in is no part of the result.
        return dataclasses.replace(data, name=f"imagefolder:{self.cifar10.name}")


def check_images(path: Path) -> None:
    """Refuse a path of ``--images`` at which nothing is.

    Raises:
        InputError: nothing is there.
    """
    if not path.exists():
        raise InputError(
            f"no images at {path}: name a folder of class folders, or an archive of one, with "
            f"--images"
        )
