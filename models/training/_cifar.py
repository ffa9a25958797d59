"""CIFAR-10 and CIFAR-100 as their authors publish them for Python.

Origin: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009
(https://www.cs.toronto.edu/~kriz/cifar.html).
"""

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from luts.errors import InputError
from models.training._archive import MAX_BATCH_BYTES
from models.training._pixel_cache import Index, stored
from models.training._published import CIFAR10, Located
from models.training._source import Source

# Those of chenyaofo/pytorch-cifar-models, whose checkpoints expect them.
_CIFAR10_STATISTICS = [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]
_CIFAR100_STATISTICS = [0.5070, 0.4865, 0.4409], [0.2673, 0.2564, 0.2761]


def read_cifar(located: Located, *, image_size: int | None) -> Source:
    """CIFAR-10 or CIFAR-100, whichever was located: 50,000 training and 10,000 test images.

    Raises:
        InputError: the files are damaged, incomplete, or of another data set.
    """
    is_ten = located.published.title == CIFAR10.title
    train_files = [f"data_batch_{i}" for i in range(1, 6)] if is_ten else ["train"]
    test_file, meta_file = ("test_batch", "batches.meta") if is_ten else ("test", "meta")
    label_key, names_key = (
        ("labels", "label_names") if is_ten else ("fine_labels", "fine_label_names")
    )

    def build(out: Path) -> Index:
        located.verify()
        wanted = [*train_files, test_file, meta_file]
        files = dict(zip(wanted, _contents(located, wanted), strict=True))
        batches = [_batch(located, files[name], label_key) for name in (*train_files, test_file)]
        pixels = np.concatenate([pixels for pixels, _ in batches])
        labels = [label for _, batch in batches for label in batch]
        class_names = [str(name) for name in files[meta_file].get(names_key, [])]
        if not class_names or max(labels) >= len(class_names):
            raise InputError(
                f"{located.path}: {meta_file} does not name all classes: fetch it again"
            )
        _write(out, pixels, image_size)
        test = len(batches[-1][1])
        statistics = _CIFAR10_STATISTICS if is_ten else _CIFAR100_STATISTICS
        return Index(labels, [len(labels) - test, test, 0], class_names, *statistics)

    content = {"tree": located.tree.fingerprint(), "image_size": image_size, "labels": label_key}
    return located.checked(stored("cifar10" if is_ten else "cifar100", content, build))


def _contents(located: Located, wanted: list[str]) -> list[dict[str, Any]]:
    names = located.tree.names()
    rows = {located.named(names, want): row for row, want in enumerate(wanted)}
    raw = {row: content for row, _, content in located.tree.read(rows, most_bytes=MAX_BATCH_BYTES)}
    return [_unpickle(located, wanted[row], raw[row]) for row in range(len(wanted))]


class _ArraysOnly(pickle.Unpickler):
    """Refuses everything that an array of numbers does not need: a pickle can run any code."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.zeros(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _encode_latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _encode_latin1(text: str, encoding: str) -> bytes:
    """What Python 3 writes for bytes in old pickles."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding} is not allowed in a data file")
    return text.encode("latin1")


def _unpickle(located: Located, name: str, raw: bytes) -> dict[str, Any]:
    try:
        value = _ArraysOnly(BytesIO(raw), encoding="latin1").load()
    except Exception as error:
        # A damaged pickle can raise nearly anything.
        raise InputError(
            f"{located.path}: {name} is damaged ({type(error).__name__}: {error}): fetch it again"
        ) from None
    if not isinstance(value, dict):
        raise InputError(
            f"{located.path}: {name} is not of {located.published.title}: fetch it again"
        )
    return value


def _batch(
    located: Located, batch: dict[str, Any], label_key: str
) -> tuple[NDArray[np.uint8], list[int]]:
    data, labels = batch.get("data"), batch.get(label_key)
    if (
        not isinstance(data, np.ndarray)
        or not isinstance(labels, list)
        or data.dtype != np.uint8
        or data.shape != (len(labels), 3 * 32 * 32)
    ):
        shape = getattr(data, "shape", None)
        raise InputError(
            f"{located.path} is not {located.published.title}: a batch has data of shape {shape} "
            f"and {'no' if labels is None else len(labels)} {label_key}; fetch it again"
        )
    return data.reshape(-1, 3, 32, 32), [int(label) for label in labels]


def _write(out: Path, pixels: NDArray[np.uint8], image_size: int | None) -> None:
    side = image_size or 32
    shape = (len(pixels), 3, side, side)
    stored_pixels = np.lib.format.open_memmap(out, mode="w+", dtype=np.uint8, shape=shape)
    for start in range(0, len(pixels), 1_000):
        part = torch.from_numpy(pixels[start : start + 1_000])
        if side != 32:
            part = functional.interpolate(part, size=(side, side), mode="bilinear", antialias=True)
        stored_pixels[start : start + 1_000] = part.numpy()
    stored_pixels.flush()
