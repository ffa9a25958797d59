"""Images in class folders, in a directory or in an archive of one."""

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from luts.console import Reporter
from luts.errors import InputError
from models.training._decode import IMAGE_SUFFIXES, decode_all
from models.training._source import Source
from models.training._store import Index, channel_statistics, stored

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError)


class Tree(Protocol):
    """A tree of files; names are relative to its root, with forward slashes."""

    def fingerprint(self) -> object:
        """Changes when the content does; JSON can hold it."""

    def names(self) -> list[str]:
        """All files."""

    def read(self, rows: Mapping[str, int]) -> Iterator[tuple[int, str, bytes]]:
        """Row, name and content of the named files, in whatever order is fastest."""


@dataclass(frozen=True)
class Folder:
    """A directory."""

    path: Path

    def fingerprint(self) -> object:
        """Names, sizes and times of change of all files."""
        files = [(name, (self.path / name).stat()) for name in self.names()]
        return [str(self.path.resolve()), [(n, s.st_size, s.st_mtime_ns) for n, s in files]]

    def names(self) -> list[str]:
        """All files below the directory."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in files)

    def read(self, rows: Mapping[str, int]) -> Iterator[tuple[int, str, bytes]]:
        """In order of rows."""
        for name, row in rows.items():
            yield row, name, (self.path / name).read_bytes()


@dataclass(frozen=True)
class Tar:
    """A tar archive, compressed or not; read from front to back."""

    path: Path

    def fingerprint(self) -> object:
        """Name, size and time of change of the archive."""
        return _fingerprint(self.path)

    def names(self) -> list[str]:
        """All ordinary files in the archive."""
        with _intact(self.path), tarfile.open(self.path) as archive:
            return sorted(member.name for member in archive if member.isfile())

    def read(self, rows: Mapping[str, int]) -> Iterator[tuple[int, str, bytes]]:
        """In the order of the archive."""
        with _intact(self.path), tarfile.open(self.path) as archive:
            for member in archive:
                if member.isfile() and member.name in rows:
                    content = archive.extractfile(member)
                    assert content is not None, "ordinary files have content"
                    yield rows[member.name], member.name, content.read()


@dataclass(frozen=True)
class Zip:
    """A zip archive."""

    path: Path

    def fingerprint(self) -> object:
        """Name, size and time of change of the archive."""
        return _fingerprint(self.path)

    def names(self) -> list[str]:
        """All files in the archive."""
        with _intact(self.path), zipfile.ZipFile(self.path) as archive:
            return sorted(name for name in archive.namelist() if not name.endswith("/"))

    def read(self, rows: Mapping[str, int]) -> Iterator[tuple[int, str, bytes]]:
        """In order of rows."""
        with _intact(self.path), zipfile.ZipFile(self.path) as archive:
            for name, row in rows.items():
                yield row, name, archive.read(name)


def open_tree(path: Path) -> Tree:
    """The files in a directory or an archive, told apart by name.

    Raises:
        InputError: there is nothing at ``path``, or nothing of these kinds.
    """
    if path.is_dir():
        return Folder(path)
    if not path.exists():
        raise InputError(f"no data at {path}: give a folder of class folders, or an archive of one")
    if path.name.lower().endswith(_TAR_SUFFIXES):
        return Tar(path)
    if path.name.lower().endswith(".zip"):
        return Zip(path)
    known = ", ".join((*_TAR_SUFFIXES, ".zip"))
    raise InputError(f"{path} is neither a folder nor an archive: archives end in {known}")


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

    return stored(f"imagefolder:{path}", content, build)


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
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": [], "val": []}
    has_parts = "train" in tops
    for parts, name in paths:
        part = _part(parts[0]) if has_parts else "train"
        inner = parts[1:] if has_parts else parts
        if part is not None and len(inner) >= 2:
            found[part].append((inner[0], name))
    if not found["train"]:
        raise InputError(
            f"{path} holds no training images: put them in class folders, as in "
            f"{path}/train/CLASS/IMAGE.png or {path}/CLASS/IMAGE.png"
        )
    if not found["test"]:
        found["test"], found["val"] = found["val"], []
    return found


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


def _fingerprint(path: Path) -> object:
    status = path.stat()
    return [str(path.resolve()), status.st_size, status.st_mtime_ns]


@contextlib.contextmanager
def _intact(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise InputError(
            f"{path} is damaged or half-downloaded ({type(error).__name__}: {error}): "
            "fetch it again"
        ) from None
