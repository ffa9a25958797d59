"""Where the published data sets are, on the network and on this machine."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from luts.console import Reporter
from luts.errors import InputError
from models.training._archive import Folder, Tree, open_tree
from models.training._download import Checksum, download
from models.training._files import cache_folder
from models.training._source import Source


@dataclass(frozen=True)
class Published:
    """One published archive, the folder that it unpacks to, and its labelled images.

    Attributes:
        train_images: of the whole set.
        test_images: likewise, those that count as test images here.
    """

    title: str
    file_name: str
    folder: str
    url: str
    checksum: Checksum
    train_images: int
    test_images: int


# Checksums as in torchvision and in the data sets' own pages.
CIFAR10 = Published(
    "CIFAR-10",
    "cifar-10-python.tar.gz",
    "cifar-10-batches-py",
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    Checksum("md5", "c58f30108f718f92721af3b95e74349a"),
    train_images=50_000,
    test_images=10_000,
)
CIFAR100 = Published(
    "CIFAR-100",
    "cifar-100-python.tar.gz",
    "cifar-100-python",
    "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    Checksum("md5", "eb9058c3a382ffc7106e4002c42a8d85"),
    train_images=50_000,
    test_images=10_000,
)
TINY_IMAGENET = Published(
    "Tiny ImageNet-200",
    "tiny-imagenet-200.zip",
    "tiny-imagenet-200",
    "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
    Checksum("md5", "90528d7ca1a48142e341f4ef8d21d0de"),
    train_images=100_000,
    test_images=10_000,
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

    def checked(self, source: Source) -> Source:
        """``source`` with what it is a part of, if it is one.

        A part stands for the whole only if it takes as much of every class.

        Raises:
            InputError: a class has fewer images than another, or more are there than are published.
        """
        assert source.test is not None, "published sets have test images"
        for part, images in (("training", source.train), ("test", source.test)):
            labels = [source.class_names[i] for i in images.labels.tolist()]
            self.check_counts(part, labels, source.class_names)
        counts = len(source.train.labels), len(source.test.labels)
        whole = self.published.train_images, self.published.test_images
        if counts[0] > whole[0] or counts[1] > whole[1]:
            raise InputError(
                f"{self.path} is not {self.published.title}: it has {counts[0]:,} training and "
                f"{counts[1]:,} test images, and that {whole[0]:,} and {whole[1]:,}; "
                f"{self.remedy}"
            )
        return source if counts == whole else replace(source, part_of=whole)

    def check_counts(self, part: str, labels: Sequence[str], classes: Sequence[str]) -> None:
        """Check that every class has as many images as any other.

        Args:
            part: what they are called.
            labels: class of each image, at least one.
            classes: that there are.

        Raises:
            InputError: one has fewer.
        """
        counts = Counter(labels)
        most = max(counts.values())
        short = [name for name in classes if counts[name] < most]
        if short:
            raise InputError(
                f"{self.path} is not all of {self.published.title}, nor a part with as many images "
                f"of each class: class {short[0]} has {counts[short[0]]} {part} images where "
                f"others have {most} ({len(short)} of {len(classes)} classes have too few); "
                f"{self.remedy}"
            )

    @property
    def remedy(self) -> str:
        """What makes the set whole again."""
        return f"unpack {self.published.file_name} again, or remove it and it is fetched"

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
