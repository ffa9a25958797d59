"""Tiny ImageNet-200: 200 classes, 500 training images of 64×64 each.

Origin: Stanford CS231N (http://cs231n.stanford.edu). Its test images have no labels, so its 10,000
validation images are our test split, as in the literature, and validation is cut from training.
A folder with fewer images is taken if every class has as many (every other one, say), and the
results then say so.
"""

from pathlib import Path, PurePosixPath

from luts.console import Reporter
from luts.errors import InputError
from models.training._decode import IMAGE_SUFFIXES, decode_all
from models.training._pixel_cache import Index, stored
from models.training._published import Located
from models.training._source import Source

_IMAGENET_STATISTICS = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_ANNOTATIONS = "val/val_annotations.txt"


def read_tiny_imagenet(located: Located, *, image_size: int | None, reporter: Reporter) -> Source:
    """Training and test images with their WordNet ids as class names.

    Raises:
        InputError: the files are damaged, incomplete, or of another data set.
    """

    def build(out: Path) -> Index:
        located.verify()
        names = located.tree.names()
        train = [(PurePosixPath(name).parts[-3], name) for name in names if _is_training(name)]
        test = _validation_images(located, names)
        classes = sorted({label for label, _ in train})
        strange = sorted({label for label, _ in test} - set(classes))
        if strange or not train:
            raise InputError(
                f"{located.path} is not Tiny ImageNet-200, or not all of it: it has no training "
                f"images{f' of {strange[0]}' if strange else ''}; {located.remedy}"
            )
        for part, images in (("training", train), ("validation", test)):
            located.check_counts(part, [label for label, _ in images], classes)
        rows = {name: row for row, (_, name) in enumerate(train + test)}
        decode_all(
            located.tree.read(rows), len(rows), out, image_size=image_size, reporter=reporter
        )
        number = {label: index for index, label in enumerate(classes)}
        labels = [number[label] for label, _ in train + test]
        return Index(labels, [len(train), len(test), 0], classes, *_IMAGENET_STATISTICS)

    content = {"tree": located.tree.fingerprint(), "image_size": image_size, "set": "tiny-imagenet"}
    # Half a folder may have been decoded when its images were not counted yet.
    return located.checked(stored("tiny-imagenet", content, build))


def _is_training(name: str) -> bool:
    # train/CLASS/images/NAME.JPEG, below a top folder or not.
    parts = PurePosixPath(name).parts
    in_place = len(parts) >= 4 and parts[-4] == "train" and parts[-2] == "images"
    return in_place and _is_image(name)


def _validation_images(located: Located, names: list[str]) -> list[tuple[str, str]]:
    """(class, file name) of each line of the annotations."""
    annotations = located.named(names, _ANNOTATIONS)
    ((_, _, raw),) = located.tree.read({annotations: 0})
    folder = PurePosixPath(annotations).parent / "images"
    lines = [line.split("\t") for line in raw.decode().splitlines() if line.strip()]
    images = [(line[1], (folder / line[0]).as_posix()) for line in lines if len(line) > 1]
    listed = {name for _, name in images}
    missing = sorted(listed - set(names))
    if missing or not images:
        first = missing[0] if missing else _ANNOTATIONS
        raise InputError(
            f"{located.path} is not all of Tiny ImageNet-200: nothing at {first}; {located.remedy}"
        )
    present = {name for name in names if PurePosixPath(name).parent == folder and _is_image(name)}
    unlisted = sorted(present - listed)
    if unlisted:
        raise InputError(
            f"{located.path} is not all of Tiny ImageNet-200: {_ANNOTATIONS} has no line for "
            f"{unlisted[0]} ({len(unlisted)} of {len(present)} images); {located.remedy}"
        )
    return images


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
