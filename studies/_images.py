"""Where studies find the CIFAR-10 images."""

import os
from pathlib import Path

IMAGES = Path(os.environ.get("REFERENCE_DATA", "../shared")) / "data/cifar10-imagefolder.tar.xz"
