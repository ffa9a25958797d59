"""A tree of files, in a directory or in an archive (tar, zip) of it."""

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from luts.errors import InputError

_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, EOFError, lzma.LZMAError, zlib.error, OSError)

MAX_IMAGE_BYTES = 2**26
"""Of an image's file; what unpacks to more is refused before it is."""

MAX_BATCH_BYTES = 2**29
"""Of a file with thousands of images: all training images of CIFAR-100 take 2**28 at most."""


class Tree(Protocol):
    """A tree of files; names are relative to its root, with forward slashes."""

    def fingerprint(self) -> object:
        """Changes when the content does; JSON can hold it."""

    def names(self) -> list[str]:
        """All files."""

    def read(
        self, rows: Mapping[str, int], *, most_bytes: int = MAX_IMAGE_BYTES
    ) -> Iterator[tuple[int, str, bytes]]:
        """Row, name and content of the named files, in whatever order is fastest.

        Raises:
            InputError: one of them has more than ``most_bytes``.
        """


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

    def read(
        self, rows: Mapping[str, int], *, most_bytes: int = MAX_IMAGE_BYTES
    ) -> Iterator[tuple[int, str, bytes]]:
        """In order of rows."""
        for name, row in rows.items():
            path = self.path / name
            _check_size(str(path), path.stat().st_size, most_bytes)
            yield row, name, path.read_bytes()


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

    def read(
        self, rows: Mapping[str, int], *, most_bytes: int = MAX_IMAGE_BYTES
    ) -> Iterator[tuple[int, str, bytes]]:
        """In the order of the archive."""
        with _intact(self.path), tarfile.open(self.path) as archive:
            for member in archive:
                if member.isfile() and member.name in rows:
                    _check_size(f"{self.path}: {member.name}", member.size, most_bytes)
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

    def read(
        self, rows: Mapping[str, int], *, most_bytes: int = MAX_IMAGE_BYTES
    ) -> Iterator[tuple[int, str, bytes]]:
        """In order of rows."""
        with _intact(self.path), zipfile.ZipFile(self.path) as archive:
            for name, row in rows.items():
                _check_size(f"{self.path}: {name}", archive.getinfo(name).file_size, most_bytes)
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


def _check_size(shown: str, size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        what = "an image" if most_bytes == MAX_IMAGE_BYTES else "a file of images"
        raise InputError(
            f"{shown} takes {size_bytes:,} bytes, and {what} at most {most_bytes:,}: remove it, or "
            "save it smaller"
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
