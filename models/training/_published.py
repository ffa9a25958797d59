"""Where the published data sets are, on the network and on this machine."""

from dataclasses import dataclass
from pathlib import Path

from luts.console import Reporter
from luts.errors import InputError
from models.training._archive import Folder, Tree, open_tree
from models.training._download import Checksum, download
from models.training._files import cache_folder


@dataclass(frozen=True)
class Published:
    """One published archive and the folder that it unpacks to."""

    title: str
    file_name: str
    folder: str
    url: str
    checksum: Checksum


# Checksums as in torchvision and in the data sets' own pages.
CIFAR10 = Published(
    "CIFAR-10",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    Checksum("md5", "c58f30108f718f92721af3b95e74349a"),
)
CIFAR100 = Published(
    "CIFAR-100",
    "cifar-100-python.tar.gz",
    "cifar-100-python",
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    Checksum("md5", "eb9058c3a382ffc7106e4002c42a8d85"),
)
TINY_IMAGENET = Published(
    "Tiny ImageNet-200",
    "tiny-imagenet-200.zip",
    "tiny-imagenet-200",
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    Checksum("md5", "90528d7ca1a48142e341f4ef8d21d0de"),
)


@dataclass(frozen=True)
class Located:
    """A published data set on this machine: unpacked, or as its archive."""

    published: Published
    path: Path
    tree: Tree

    def verify(self) -> None:
        """Check the archive's checksum; an unpacked folder has none.

        Raises:
            InputError: it is damaged, half-downloaded, or another file.
        """
        if not isinstance(self.tree, Folder):
            self.published.checksum.verify(self.path, "remove it, and it is fetched again")

    def named(self, names: list[str], wanted: str) -> str:
        """The file of the set whose path inside it is ``wanted``.

        Raises:
            InputError: there is none, so the data is of another set or incomplete.
        """
        for name in names:
            if name == wanted or name.endswith(f"/{wanted}"):
                return name
        raise InputError(
            f"{self.path} is not {self.published.title}, or not all of it: it has no {wanted}; "
            f"put {self.published.file_name} beside it, or remove it and it is fetched"
        )


def locate(
    published: Published, root: Path | None, *, download_missing: bool, reporter: Reporter
) -> Located:
    """The unpacked folder under ``root``, or else the archive there, fetched if need be.

    Raises:
        InputError: it is not there and may not or cannot be fetched.
    """
    root = root or cache_folder() / "datasets"
    folder, archive = root / published.folder, root / published.file_name
    if folder.is_dir():
        return Located(published, folder, open_tree(folder))
    if not archive.exists():
        if not download_missing:
            raise InputError(f"no {published.title} in {root}: put {published.file_name} there")
        download(published.url, archive, checksum=published.checksum, reporter=reporter)
    return Located(published, archive, open_tree(archive))
