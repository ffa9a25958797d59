"""Where studies find their images."""

import argparse
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

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Images":
        """Those of ``--images`` and ``--data-root``."""
        return cls(options.images, options.data_root)

    def source(self, dataset: str) -> str:
        """What `models.load_data` and ``dse.search`` call a data set of a configuration."""
        return f"imagefolder:{self.cifar10}" if dataset == CIFAR10_IMAGES else dataset

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
        self.check(dataset)
        data = load_data(
            self.source(dataset),
            seed=seed,
            image_size=image_size,
            root=self.data_root,
            reporter=reporter,
        )
        if dataset == CIFAR10_IMAGES:
            # The folder that the images were in does not belong to the result.
            data = dataclasses.replace(data, name=f"imagefolder:{self.cifar10.name}")
        return data

    def check(self, dataset: str) -> None:
        """Refuse a path of ``--images`` at which nothing is.

        Raises:
            InputError: the data set is ``cifar10-images``, and nothing is there.
        """
        if dataset == CIFAR10_IMAGES and not self.cifar10.exists():
            raise InputError(
                f"no images at {self.cifar10}: name a folder of class folders, or an archive of "
                f"one, with --images"
            )
