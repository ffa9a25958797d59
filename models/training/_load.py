"""The one door to data: a name in, three splits out."""

from pathlib import Path

from luts.console import SILENT, Reporter
from luts.errors import InputError, suggest
from models.training._cifar import read_cifar
from models.training._cluttered_digits import read_cluttered_digits
from models.training._data import Data
from models.training._digits import read_digits
from models.training._imagefolder import read_imagefolder
from models.training._published import CIFAR10, CIFAR100, TINY_IMAGENET, locate
from models.training._source import Source, splits
from models.training._tiny_imagenet import read_tiny_imagenet

DATASETS = (
    "cluttered-digits",
    "digits",
    "cifar10",
    "cifar100",
    "tiny-imagenet",
    "imagefolder:PATH",
)
_FOLDER_PREFIX = "imagefolder:"


def check_dataset(name: str) -> None:
    """Refuse a name that `load_data` does not know; reads nothing.

    Raises:
        InputError: the name is unknown.
    """
    path = name.removeprefix(_FOLDER_PREFIX)
    if name not in DATASETS[:-1] and not (path and path != name):
        raise InputError(f"unknown data set {name!r}: {suggest(name, list(DATASETS))}")


def load_data(
    name: str,
    *,
    seed: int,
    image_size: int | None = None,
    root: Path | None = None,
    download: bool = True,
    reporter: Reporter = SILENT,
) -> Data:
    """Read a data set and split it.

    Args:
        name: ``cluttered-digits`` and ``digits`` (embedded), ``cifar10``, ``cifar100``,
            ``tiny-imagenet``, or ``imagefolder:PATH`` (class folders, or an archive of them).
        seed: decides which training images are held back for validation.
        image_size: side of the square images in pixels; by default the set's own (32 for the
            embedded ones).
        root: folder of the standard archives; ``datasets`` in the cache folder by default.
        download: fetch a missing archive into ``root``.
        reporter: shows progress.

    Raises:
        InputError: the name is unknown, or the files are missing, damaged or of another data set.
    """
    check_dataset(name)
    if image_size is not None and image_size < 1:
        raise InputError(f"the image size is a positive number of pixels, not {image_size}")
    if name == "cluttered-digits":
        return read_cluttered_digits(seed, image_size=image_size or 32)
    if name == "digits":
        source = read_digits(image_size or 32)
        return splits(source, seed=seed, test_fraction=0.2, validation_fraction=0.2)
    source = _read(name, image_size, root, download=download, reporter=reporter)
    if source.part_of is not None:
        has = len(source.train.labels), len(source.test.labels if source.test else ())
        reporter.note(
            f"{name} is a part of the published set: {has[0]:,} of {source.part_of[0]:,} training "
            f"and {has[1]:,} of {source.part_of[1]:,} test images"
        )
    return splits(source, seed=seed, test_fraction=0.2, validation_fraction=0.1)


def _read(
    name: str, image_size: int | None, root: Path | None, *, download: bool, reporter: Reporter
) -> Source:
    if name.startswith(_FOLDER_PREFIX):
        path = Path(name.removeprefix(_FOLDER_PREFIX)).expanduser()
        return read_imagefolder(path, image_size=image_size, reporter=reporter)
    published = {"cifar10": CIFAR10, "cifar100": CIFAR100, "tiny-imagenet": TINY_IMAGENET}
    located = locate(published[name], root, download_missing=download, reporter=reporter)
    if name == "tiny-imagenet":
        return read_tiny_imagenet(located, image_size=image_size, reporter=reporter)
    return read_cifar(located, image_size=image_size)
