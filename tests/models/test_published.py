"""Data sets as they are published: archives, folders that they unpack to, parts of them."""

import http.server
import os
import pickle
import threading
from dataclasses import replace
from functools import partial
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch

from luts.console import Reporter
from luts.errors import InputError
from models.training import _load, load_data
from models.training._archive import MAX_BATCH_BYTES, MAX_IMAGE_BYTES
from models.training._download import Checksum
from models.training._published import CIFAR10, CIFAR100, TINY_IMAGENET, Located
from tests.models.image_files import (
    labels_follow_colours,
    picture,
    write_folder,
    write_tar,
    write_zip,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))


def cifar_files(classes: int, per_batch: int = 40, of_100: int = 1_000) -> dict[str, bytes]:
    """As CIFAR-10's or CIFAR-100's archive: the red of an image is its label."""
    ten = classes == 10
    folder = "cifar-10-batches-py/" if ten else "cifar-100-python/"
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if ten else ["train", "test"]
    files = {}
    for name in names:
        count = per_batch if ten else of_100 if name == "train" else 1_000
        labels = [i % classes for i in range(count)]
        data = np.zeros((len(labels), 3, 32, 32), dtype=np.uint8)
        data[:, 0] = np.array(labels)[:, None, None]
        batch = {"data": data.reshape(len(labels), -1)}
        batch["labels" if ten else "fine_labels"] = labels
        files[folder + name] = pickle.dumps(batch, protocol=2)
    meta = {"label_names" if ten else "fine_label_names": [f"class {i}" for i in range(classes)]}
    files[folder + ("batches.meta" if ten else "meta")] = pickle.dumps(meta, protocol=2)
    return files


def put_archive(monkeypatch, root: Path, published, files) -> Path:
    """Write an imitation of a published archive and make its checksum the expected one."""
    write = write_zip if published.file_name.endswith("zip") else write_tar
    path = write(root / published.file_name, files)
    checksum = Checksum("md5", md5(path.read_bytes()).hexdigest())
    variable = {CIFAR10: "CIFAR10", CIFAR100: "CIFAR100", TINY_IMAGENET: "TINY_IMAGENET"}[published]
    monkeypatch.setattr(_load, variable, replace(published, checksum=checksum))
    return path


@pytest.mark.parametrize(("name", "published"), [("cifar10", CIFAR10), ("cifar100", CIFAR100)])
@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar_archives_and_folders(tmp_path, monkeypatch, name, published, unpacked):
    files = cifar_files(10 if name == "cifar10" else 100)
    if unpacked:
        write_folder(tmp_path, files)
    else:
        put_archive(monkeypatch, tmp_path, published, files)
    data = load_data(name, seed=0, root=tmp_path, download=False)
    assert data.num_classes == len(data.class_names) == (10 if name == "cifar10" else 100)
    assert data.name == name and data.image_size == 32
    # What is published is known by its name, and so are weights in the cache.
    # ... and what is only a part of it says so.
    known = ["name", "image_size", "train", "validation", "test"]
    assert list(data.making) == [*known, "part_of"]
    assert data.making["part_of"] == {"train": 50_000, "test": 10_000}
    counts = {"train_images": len(data.train) + len(data.validation), "test_images": len(data.test)}
    whole = replace(getattr(_load, name.upper()), **counts)
    monkeypatch.setattr(_load, name.upper(), whole)
    data = load_data(name, seed=0, root=tmp_path, download=False)
    assert list(data.making) == known
    for split in (data.train, data.validation, data.test):
        assert torch.equal(split.gather(slice(None))[:, 0, 5, 5].long(), split.labels)
    assert load_data(name, seed=0, root=tmp_path, image_size=48).image_size == 48


def test_a_file_of_many_images_may_be_larger_than_one_image_may(tmp_path):
    files = cifar_files(100, of_100=24_000)
    assert len(files["cifar-100-python/train"]) > MAX_IMAGE_BYTES
    write_folder(tmp_path, files)
    assert len(load_data("cifar100", seed=0, root=tmp_path, download=False).train) == 21_600
    with (tmp_path / "cifar-100-python" / "train").open("r+b") as file:
        file.truncate(MAX_BATCH_BYTES + 1)
    with pytest.raises(InputError, match=f"a file of images at most {MAX_BATCH_BYTES:,}"):
        load_data("cifar100", seed=0, root=tmp_path, download=False)


def tiny_imagenet_files(per_class: int = 10) -> dict[str, bytes]:
    top, classes = "tiny-imagenet-200", ("n01", "n02")
    files = {
        f"{top}/train/{name}/images/{name}_{i}.JPEG": picture(200 * label + i)
        for label, name in enumerate(classes)
        for i in range(per_class)
    }
    lines = []
    for i in range(6):
        files[f"{top}/val/images/val_{i}.JPEG"] = picture(200 * (i % 2) + i)
        lines.append(f"val_{i}.JPEG\t{classes[i % 2]}\t0\t0\t62\t62")
    files[f"{top}/test/images/test_0.JPEG"] = picture(0)
    return files | {f"{top}/val/val_annotations.txt": "\n".join(lines).encode()}


@pytest.mark.parametrize("unpacked", [False, True])
def test_tiny_imagenet(tmp_path, monkeypatch, unpacked):
    files = tiny_imagenet_files()
    if unpacked:
        write_folder(tmp_path, files)
    else:
        put_archive(monkeypatch, tmp_path, TINY_IMAGENET, files)
    data = load_data("tiny-imagenet", seed=0, root=tmp_path, download=False)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [18, 2, 6]
    assert data.class_names == ("n01", "n02")
    for split in (data.train, data.validation, data.test):
        assert labels_follow_colours(split)


def test_incomplete_or_other_archives_are_refused(tmp_path, monkeypatch):
    files = cifar_files(10)
    folder = write_folder(tmp_path / "a", files) / "cifar-10-batches-py"
    (folder / "data_batch_3").unlink()
    with pytest.raises(InputError, match="has no data_batch_3"):
        load_data("cifar10", seed=0, root=tmp_path / "a")
    other = {name: raw for name, raw in tiny_imagenet_files().items() if "val_3" not in name}
    write_folder(tmp_path / "b", other)
    with pytest.raises(InputError, match=r"nothing at .*val_3\.JPEG"):
        load_data("tiny-imagenet", seed=0, root=tmp_path / "b")
    write_tar(tmp_path / "c" / "cifar-10-python.tar.gz", files)
    with pytest.raises(InputError, match=r"half-downloaded or another file \(md5 .*remove it"):
        load_data("cifar10", seed=0, root=tmp_path / "c")


@pytest.mark.parametrize(
    ("gone", "complaint"),
    [
        (("/n02_3.JPEG", "/n02_7.JPEG"), r"class n02 has 8 training images where others have 10"),
        (("/images/n01_",), r"no training images of n01"),
        (("/val_3.JPEG", "val_3.JPEG\t"), r"class n02 has 2 validation images where others have 3"),
        (
            ("val_2.JPEG\t", "val_3.JPEG\t"),
            r"no line for .*val/images/val_2\.JPEG \(2 of 6 images\)",
        ),
    ],
)
def test_half_an_unpacked_tiny_imagenet_is_refused(tmp_path, gone, complaint):
    files = tiny_imagenet_files()
    annotations = "tiny-imagenet-200/val/val_annotations.txt"
    lines = files[annotations].decode().splitlines()
    kept = [line for line in lines if not any(part in line for part in gone)]
    files[annotations] = "\n".join(kept).encode()
    write_folder(
        tmp_path,
        {name: raw for name, raw in files.items() if not any(part in name for part in gone)},
    )
    with pytest.raises(InputError, match=complaint) as error:
        load_data("tiny-imagenet", seed=0, root=tmp_path)
    said = str(error.value)
    assert "unpack tiny-imagenet-200.zip again" in said and "\n" not in said
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_half_a_tiny_imagenet_that_is_decoded_already_is_refused(tmp_path, monkeypatch):
    files = tiny_imagenet_files()
    write_folder(tmp_path, {name: raw for name, raw in files.items() if "n02_3" not in name})
    with monkeypatch.context() as patch:
        patch.setattr(Located, "check_counts", lambda *_: None)
        load_data("tiny-imagenet", seed=0, root=tmp_path)
    with pytest.raises(InputError, match="n02 has 9 training images where others have 10"):
        load_data("tiny-imagenet", seed=0, root=tmp_path)


def test_every_other_image_of_a_set_is_taken_and_said(tmp_path, monkeypatch):
    files = tiny_imagenet_files(per_class=20)
    published = replace(TINY_IMAGENET, train_images=40, test_images=6)
    monkeypatch.setattr(_load, "TINY_IMAGENET", published)
    write_folder(tmp_path / "whole", files)
    whole = load_data("tiny-imagenet", seed=0, root=tmp_path / "whole")
    assert whole.part_of is None and "part_of" not in whole.making
    odd = tuple(f"_{i}.JPEG" for i in range(1, 20, 2))
    half = {n: raw for n, raw in files.items() if "/train/" not in n or not n.endswith(odd)}
    write_folder(tmp_path / "half", half)
    notes = []
    reporter = Reporter(quiet=True)
    monkeypatch.setattr(reporter, "note", notes.append)
    part = load_data("tiny-imagenet", seed=0, root=tmp_path / "half", reporter=reporter)
    assert notes == [
        "tiny-imagenet is a part of the published set: 20 of 40 training and 6 of 6 test images"
    ]
    assert part.making["train"] + part.making["validation"] == 20
    assert part.making["part_of"] == {"train": 40, "test": 6}


def test_more_images_than_were_published_are_another_set(tmp_path, monkeypatch):
    monkeypatch.setattr(_load, "TINY_IMAGENET", replace(TINY_IMAGENET, train_images=18))
    write_folder(tmp_path, tiny_imagenet_files())
    with pytest.raises(InputError, match=r"it has 20 training and 6 test images, and that 18 and"):
        load_data("tiny-imagenet", seed=0, root=tmp_path)


@pytest.mark.parametrize("lacking", ["train", "test"])
def test_a_part_of_cifar_with_fewer_images_of_a_class_is_refused(tmp_path, lacking):
    files = cifar_files(100)
    batch = pickle.loads(files[f"cifar-100-python/{lacking}"])
    batch = {"data": batch["data"][1:], "fine_labels": batch["fine_labels"][1:]}
    files[f"cifar-100-python/{lacking}"] = pickle.dumps(batch, protocol=2)
    write_folder(tmp_path, files)
    kind = {"train": "training", "test": "test"}[lacking]
    with pytest.raises(InputError, match=f"class 0 has 9 {kind} images where others") as error:
        load_data("cifar100", seed=0, root=tmp_path)
    assert "\n" not in str(error.value)


class Attack:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (pickle.dumps(Attack()), r"system is not allowed in a data file"),
        (pickle.dumps({"data": 1, "labels": [1]}), "data of shape None"),
        (pickle.dumps([1]), "is not of CIFAR-10"),
        (b"", "damaged"),
    ],
)
def test_a_batch_that_is_no_batch_is_not_run(tmp_path, content, complaint):
    files = cifar_files(10) | {"cifar-10-batches-py/test_batch": content}
    with pytest.raises(InputError, match=complaint):
        load_data("cifar10", seed=0, root=write_folder(tmp_path, files))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server of the folder ``served``; the value is its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_missing_archive_is_fetched_once_and_checked(tmp_path, monkeypatch, server):
    source = put_archive(monkeypatch, tmp_path / "served", CIFAR10, cifar_files(10))
    url = f"{server}/{source.name}"
    monkeypatch.setattr(_load, "CIFAR10", replace(_load.CIFAR10, url=url))
    root = tmp_path / "root"
    with pytest.raises(InputError, match=r"put cifar-10-python\.tar\.gz there"):
        load_data("cifar10", seed=0, root=root, download=False)
    assert len(load_data("cifar10", seed=0, root=root).test) == 40
    source.unlink()
    assert len(load_data("cifar10", seed=1, root=root).test) == 40


def test_a_wrong_or_unreachable_archive_leaves_nothing(tmp_path, monkeypatch, server):
    source = put_archive(monkeypatch, tmp_path / "served", CIFAR10, cifar_files(10))
    root = tmp_path / "root"
    wrong = replace(_load.CIFAR10, url=f"{server}/{source.name}", checksum=CIFAR10.checksum)
    gone = replace(_load.CIFAR10, url=f"{server}/gone.tar.gz")
    dead = replace(_load.CIFAR10, url="http://127.0.0.1:9/x.tar.gz")
    for published, complaint in ((wrong, "another file"), (gone, "not found"), (dead, "refused")):
        monkeypatch.setattr(_load, "CIFAR10", published)
        with pytest.raises(InputError, match=f"{complaint}.*put it at") as error:
            load_data("cifar10", seed=0, root=root)
        assert "\n" not in str(error.value)
        assert not list(root.iterdir())
