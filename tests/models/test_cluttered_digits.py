"""The embedded scenes: what they are made of, and that splits share no digit."""

import numpy as np
import pytest
import torch

from models import load_data
from models.training import _cluttered_digits as scenes
from models.training import default_recipe


@pytest.fixture(scope="module")
def data():
    return load_data("cluttered-digits", seed=0)


def test_scenes_are_the_same_for_a_seed_and_others_for_another(data):
    again, other = (load_data("cluttered-digits", seed=seed) for seed in (0, 1))
    for name in ("train", "validation", "test"):
        mine, same = (getattr(one, name) for one in (data, again))
        assert torch.equal(mine.pixels, same.pixels) and torch.equal(mine.labels, same.labels)
        assert not torch.equal(mine.pixels, getattr(other, name).pixels)


def test_there_are_thousands_of_scenes_as_many_of_each_class(data):
    counts = {"train": 5000, "validation": 1500, "test": 1500}
    assert data.making == {"name": "cluttered-digits", "image_size": 32, **counts}
    for split in (data.train, data.validation, data.test):
        assert np.bincount(split.labels).tolist() == [len(split) // 10] * 10


def test_scenes_are_normalised(data):
    images = data.train.images
    assert images.dtype == torch.float32 and images.shape[1:] == (3, 32, 32)
    assert abs(float(images.mean())) < 0.02 and abs(float(images.std()) - 1) < 0.02


def test_splits_are_composed_of_different_digits(monkeypatch):
    composed = []

    def seen(strokes, labels, count, generator):
        composed.append({stroke.tobytes() for stroke in strokes})
        return scenes.LabelledImages(
            torch.zeros(count, 3, 32, 32, dtype=torch.uint8), torch.arange(count) % 10
        )

    monkeypatch.setattr(scenes, "_compose", seen)
    load_data("cluttered-digits", seed=0)
    train, validation, test = composed
    assert not train & validation and not train & test and not validation & test
    assert len(train) + len(validation) + len(test) > 1790  # a few of the 1,797 are drawn alike


def test_a_scene_shows_its_digit_and_pieces_of_others():
    generator = np.random.default_rng(0)
    strokes = np.stack([np.full((20, 20), level, np.float32) for level in (0.5, 1.0)])
    images = scenes._compose(strokes, np.array([3, 8]), 40, generator)
    assert images.labels.tolist() == [3, 8] * 20
    grey = images.pixels[:, 0].float() / 255
    threes, eights = grey[0::2], grey[1::2]
    # The bright digit fills its square whatever the contrast; beside the dim one only pieces shine.
    assert ((eights > 0.4).sum(dim=(1, 2)) >= 0.8 * 20 * 20).all()
    assert ((threes > 0.7).sum(dim=(1, 2)) < 2 * 8 * 8).all()
    assert (grey.amin(dim=(1, 2)) < 0.1).all()  # what is left is background and noise


def test_another_size_shows_the_same_scenes(data):
    small = load_data("cluttered-digits", seed=0, image_size=16)
    assert small.image_size == 16 and torch.equal(small.train.labels, data.train.labels)
    halved = torch.nn.functional.avg_pool2d(data.train.pixels[:50].float(), 2)
    assert (small.train.pixels[:50].float() - halved).abs().max() <= 1


def test_digits_are_never_mirrored_in_training():
    for arch in ("resnet20", "vit_small"):
        assert not default_recipe(arch, "cluttered-digits").flip
