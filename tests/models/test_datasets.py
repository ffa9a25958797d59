"""Readers of published archives and of image folders, on small imitations of them."""

import os
from pathlib import Path

import pytest
import torch

from luts.errors import InputError
from models.training import load_data
from tests.models.image_files import (
    labels_follow_colours,
    picture,
    tree,
    write_folder,
    write_tar,
    write_zip,
)

REAL_IMAGES = Path(os.environ.get("REFERENCE_DATA", "../shared")) / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("AXDSE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["folder", "tar.xz", "zip", "tar.xz below a top folder"])
def test_image_folders_and_archives_of_them_give_the_same(tmp_path, kind):
    files = tree()
    if kind == "folder":
        path = write_folder(tmp_path / "pets", files)
    elif kind == "zip":
        path = write_zip(tmp_path / "pets.zip", files)
    else:
        top = "pets/" if "below" in kind else ""
        path = tmp_path / "pets.tar.xz"
        write_tar(path, {top + name: raw for name, raw in reversed(files.items())}, "w:xz")
    data = load_data(f"imagefolder:{path}", seed=0)
    assert data.class_names == ("ant", "bee") and data.image_size == 8
    assert [len(s) for s in (data.train, data.validation, data.test)] == [36, 4, 40]
    for split in (data.train, data.validation, data.test):
        assert labels_follow_colours(split)
    assert abs(float(data.train.images.mean())) < 0.3


def test_validation_folders_are_used_and_alone_they_are_the_test_split(tmp_path):
    three = write_folder(tmp_path / "three", tree(("train", "test", "val"), 10))
    data = load_data(f"imagefolder:{three}", seed=0)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [20, 20, 20]
    two = write_folder(tmp_path / "two", tree(("train", "val"), 10))
    data = load_data(f"imagefolder:{two}", seed=0)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [18, 2, 20]


def test_class_folders_alone_are_split_in_three(tmp_path):
    files = {name.removeprefix("train/"): raw for name, raw in tree(("train",)).items()}
    data = load_data(f"imagefolder:{write_folder(tmp_path / 'flat', files)}", seed=0)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [28, 4, 8]
    assert labels_follow_colours(data.test)


def test_images_are_decoded_once_and_again_when_they_change(tmp_path, monkeypatch):
    from models.training import _imagefolder

    runs = []
    decode = _imagefolder.decode_all
    monkeypatch.setattr(
        _imagefolder, "decode_all", lambda *a, **k: runs.append(1) or decode(*a, **k)
    )
    path = write_folder(tmp_path / "pets", tree())
    first = load_data(f"imagefolder:{path}", seed=0)
    second = load_data(f"imagefolder:{path}", seed=0)
    assert len(runs) == 1 and torch.equal(first.test.images, second.test.images)
    (path / "train/ant/0.png").write_bytes(picture(77))
    os.utime(path / "train/ant/0.png", (1, 1))
    load_data(f"imagefolder:{path}", seed=0)
    assert len(runs) == 2
    for kept in (tmp_path / "cache" / "data").glob("*.npy"):
        kept.write_bytes(kept.read_bytes()[:500])
    load_data(f"imagefolder:{path}", seed=0)
    assert len(runs) == 3


@pytest.mark.parametrize("kind", ["tar.xz", "zip", "another folder"])
def test_the_same_images_have_one_digest_wherever_they_are(tmp_path, kind):
    files = tree()
    first = load_data(f"imagefolder:{write_folder(tmp_path / 'pets', files)}", seed=0)
    if kind == "zip":
        path = write_zip(tmp_path / "other.zip", files)
    elif kind == "tar.xz":
        path = write_tar(tmp_path / "other.tar.xz", dict(reversed(files.items())), "w:xz")
    else:
        path = write_folder(tmp_path / "deep" / "pets", files)
    second = load_data(f"imagefolder:{path}", seed=1)
    assert len(first.content_sha256) == 64
    assert second.content_sha256 == first.content_sha256


@pytest.mark.parametrize("change", ["pixels", "labels"])
def test_other_images_or_labels_have_another_digest(tmp_path, change):
    files = tree()
    path = write_folder(tmp_path / "pets", files)
    first = load_data(f"imagefolder:{path}", seed=0).making
    again = load_data(f"imagefolder:{path}", seed=0).making
    if change == "pixels":
        files["train/ant/0.png"] = picture(90)
    else:
        one, other = "train/ant/0.png", "train/bee/0.png"
        files[one], files[other] = files[other], files[one]
    write_folder(path, files)
    os.utime(path / "train/ant/0.png", (1, 1))
    second = load_data(f"imagefolder:{path}", seed=0).making
    assert first == again
    assert {key for key in first if first[key] != second[key]} == {"content_sha256"}


def test_a_digest_that_is_damaged_or_missing_is_taken_anew(tmp_path):
    path = write_folder(tmp_path / "pets", tree())
    expected = load_data(f"imagefolder:{path}", seed=0).content_sha256
    (kept,) = (tmp_path / "cache" / "data").glob("*.sha256")
    kept.write_text("half")
    assert load_data(f"imagefolder:{path}", seed=0).content_sha256 == expected
    kept.unlink()
    assert load_data(f"imagefolder:{path}", seed=0).content_sha256 == expected


def test_sizes_that_differ_need_an_image_size_and_grey_becomes_rgb(tmp_path):
    files = tree() | {"train/ant/odd.png": picture(9, size=(12, 8), mode="L")}
    path = write_folder(tmp_path / "pets", files)
    with pytest.raises(InputError, match=r"train/ant/odd\.png has 12×8 pixels"):
        load_data(f"imagefolder:{path}", seed=0)
    data = load_data(f"imagefolder:{path}", seed=0, image_size=16)
    assert (data.image_size, data.channels) == (16, 3)


@pytest.mark.parametrize(
    ("extra", "complaint"),
    [
        ({"train/ant/x.png": b"no image"}, r"train/ant/x\.png cannot be read as an image"),
        ({"train/ant/x.png": picture(1)[:-40]}, r"x\.png cannot be read"),
        ({"train/ant/x.png": picture(300, mode="I;16")}, r"mode I;16"),
        ({"test/cat/x.png": picture(1)}, "'cat' is in test/ but not in train/"),
    ],
)
def test_images_that_do_not_belong_are_named(tmp_path, extra, complaint):
    path = write_folder(tmp_path / "pets", tree() | extra)
    with pytest.raises(InputError, match=complaint):
        load_data(f"imagefolder:{path}", seed=0)
    assert not list((tmp_path / "cache").rglob("*.npy"))


def test_paths_without_images_are_told_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    one = write_folder(tmp_path / "one", {"ant/1.png": picture(1), "ant/2.png": picture(2)})
    (tmp_path / "file.txt").write_text("text")
    for path, complaint in [
        (tmp_path / "none", "no data at"),
        (tmp_path / "empty", "holds no training images"),
        (one, "one class only"),
        (tmp_path / "file.txt", "neither a folder nor an archive"),
    ]:
        with pytest.raises(InputError, match=complaint):
            load_data(f"imagefolder:{path}", seed=0)


@pytest.mark.parametrize("name", ["pets.tar.xz", "pets.tar.gz", "pets.zip"])
def test_half_an_archive_is_said_to_be_half_an_archive(tmp_path, name):
    path = tmp_path / name
    if name.endswith("zip"):
        write_zip(path, tree())
    else:
        write_tar(path, tree(), "w:" + name.rsplit(".", 1)[1])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="damaged or half-downloaded"):
        load_data(f"imagefolder:{path}", seed=0)


def test_too_few_images_to_hold_some_back(tmp_path):
    path = write_folder(tmp_path / "pets", tree(per_class=1))
    with pytest.raises(InputError, match="too few"):
        load_data(f"imagefolder:{path}", seed=0)


@pytest.mark.slow
def test_real_cifar10_images(tmp_path):
    archive = REAL_IMAGES / "cifar10-imagefolder.tar.xz"
    if not archive.exists():
        pytest.skip(f"no {archive}: set REFERENCE_DATA to the folder that holds data/")
    data = load_data(f"imagefolder:{archive}", seed=0)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [45_000, 5_000, 10_000]
    assert data.class_names[0] == "airplane" and data.image_size == 32
    assert torch.equal(data.test.labels.bincount(), torch.full((10,), 1_000))
