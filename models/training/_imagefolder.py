"""Images in class folders, in a directory or in an archive of it."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from luts.console import Reporter
from luts.errors import InputError
from models.training._archive import open_tree
from models.training._decode import IMAGE_SUFFIXES, decode_all
from models.training._pixel_cache import Index, channel_statistics, stored
from models.training._source import Source


def read_imagefolder(path: Path, *, image_size: int | None, reporter: Reporter) -> Source:
    """Class folders of images; ``train/``, ``test/`` and ``val/`` above them are used if there.

    With ``train/`` and ``val/`` only, ``val/`` is the test set, as is the custom.

    Raises:
        InputError: no such folder, no images in it, a damaged archive, or images that do not fit.
    """
    tree = open_tree(path)
    content = {"tree": tree.fingerprint(), "image_size": image_size}

    def build(out: Path) -> Index:
        parts = _parts(tree.names(), path)
        classes = sorted({label for label, _ in parts["train"]})
        _check_classes(parts, classes, path)
        ordered = [item for part in ("train", "test", "val") for item in parts[part]]
        rows = {name: row for row, (_, name) in enumerate(ordered)}
        pixels = decode_all(
            tree.read(rows), len(rows), out, image_size=image_size, reporter=reporter
        )
        mean, std = channel_statistics(pixels[: len(parts["train"])])
        number = {label: index for index, label in enumerate(classes)}
        labels = [number[label] for label, _ in ordered]
        counts = [len(parts[part]) for part in ("train", "test", "val")]
        return Index(labels, counts, classes, mean, std)

    # Under one path there may be other images tomorrow, or in another working directory.
    return stored(f"imagefolder:{path}", content, build, with_digest=True)


def _parts(names: list[str], path: Path) -> dict[str, list[tuple[str, str]]]:
    """(class, file name) of all images in the parts ``train``, ``test`` and ``val``."""
    paths = [(PurePosixPath(name).parts, name) for name in names]
    # Files on top, and those that systems leave about, are not of the data set.
    paths = [
        (parts, name)
        for parts, name in paths
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) and part != "." for part in parts)
    ]
    tops = {parts[0] for parts, _ in paths}
    while len(tops) == 1 and "train" not in tops and min(len(parts) for parts, _ in paths) > 2:
        paths = [(parts[1:], name) for parts, name in paths]
        tops = {parts[0] for parts, _ in paths}
    images: dict[str, list[tuple[str, str]]] = {"train": [], "test": [], "val": []}
    has_parts = "train" in tops
    for parts, name in paths:
        part = _part(parts[0]) if has_parts else "train"
        inner = parts[1:] if has_parts else parts
        if part is not None and len(inner) >= 2:
            images[part].append((inner[0], name))
    if not images["train"]:
        raise InputError(
            f"{path} holds no training images: put them in class folders, as in "
            f"{path}/train/CLASS/IMAGE.png or {path}/CLASS/IMAGE.png"
        )
    if not images["test"]:
        images["test"], images["val"] = images["val"], []
    return images


def _part(folder: str) -> str | None:
    names = {"train": "train", "test": "test"}
    return names.get(folder) or ("val" if folder in ("val", "valid", "validation") else None)


def _check_classes(
    parts: Mapping[str, list[tuple[str, str]]], classes: list[str], path: Path
) -> None:
    if len(classes) < 2:
        raise InputError(f"{path} holds one class only, {classes[0]!r}: a classifier needs two")
    for part in ("test", "val"):
        strange = sorted({label for label, _ in parts[part]} - set(classes))
        if strange:
            raise InputError(
                f"{path}: class {strange[0]!r} is in {part}/ but not in train/: the folders must "
                "be of one data set"
            )
