"""The one door to data: a name in, three splits out."""

from pathlib import Path

from luts.console import SILENT, Reporter
from luts.errors import InputError, suggest
from models.training._data import Data
from models.training._digits import read_digits
from models.training._imagefolder import read_imagefolder
from models.training._source import splits

DATASETS = ("digits", "imagefolder:PATH")
_FOLDER_PREFIX = "imagefolder:"


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
        name: ``digits`` (embedded), or ``imagefolder:PATH`` (class folders, or an archive of them).
        seed: decides which training images are held back for validation.
        image_size: side of the square images in pixels; the set's own (32 for digits) by default.
        root: folder of the standard archives.
        download: fetch a missing archive into ``root``.
        reporter: shows progress.

    Raises:
        InputError: the name is unknown, or the files are missing, damaged or of another data set.
    """
    if image_size is not None and image_size < 1:
        raise InputError(f"the image size is a positive number of pixels, not {image_size}")
    if name == "digits":
        source = read_digits(image_size or 32)
        return splits(source, seed=seed, test_fraction=0.2, validation_fraction=0.2)
    if name.startswith(_FOLDER_PREFIX):
        path = Path(name.removeprefix(_FOLDER_PREFIX)).expanduser()
        source = read_imagefolder(path, image_size=image_size, reporter=reporter)
        return splits(source, seed=seed, test_fraction=0.2, validation_fraction=0.1)
    raise InputError(f"unknown data set {name!r}: {suggest(name, list(DATASETS))}")
