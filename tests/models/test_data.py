import numpy as np
import pytest
import torch

from luts.errors import InputError
from models.training import Normalisation, Split, load_data


def test_digits_are_split_the_same_way_for_a_seed_and_otherwise_for_another():
    one, again, other = (load_data("digits", seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.validation.images, again.validation.images)
    assert not torch.equal(one.validation.labels, other.validation.labels)


def test_digits_splits_are_disjoint_stratified_and_complete():
    data = load_data("digits", seed=0)
    rows = [set(split.rows.tolist()) for split in (data.train, data.validation, data.test)]
    assert len(set.union(*rows)) == sum(map(len, rows)) == 1797
    assert 340 <= len(data.validation) <= 370
    for split in (data.train, data.validation, data.test):
        counts = np.bincount(split.labels, minlength=10) / len(split)
        assert np.all(np.abs(counts - 0.1) < 0.01)


def test_the_making_of_digits_is_name_size_and_counts():
    making = load_data("digits", seed=0).making
    counts = {"train": 1078, "validation": 359, "test": 360}
    assert making == {"name": "digits", "image_size": 32, **counts}


def test_digits_have_the_asked_size_and_are_normalised():
    data = load_data("digits", seed=0, image_size=24)
    images = data.train.images
    assert (data.image_size, data.channels, data.num_classes) == (24, 3, 10)
    assert images.dtype == torch.float32 and images.shape[1:] == (3, 24, 24)
    assert abs(float(images.mean())) < 0.1 and abs(float(images.std()) - 1) < 0.1


def test_batches_cover_the_split_in_order():
    split = Split(
        torch.randn(10, 1, 2, 2, generator=torch.Generator().manual_seed(0)), torch.arange(10)
    )
    batches = list(split.batches(4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([images for images, _ in batches]), split.images)
    assert torch.equal(torch.cat([labels for _, labels in batches]), split.labels)


def test_subset_of_a_subset_and_take_pick_the_right_images():
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).repeat(1, 1, 2, 2)
    split = Split(pixels, torch.arange(6), Normalisation((0.0,), (1.0,)))
    inner = split.subset(torch.tensor([5, 3, 1])).subset(torch.tensor([2, 0]))
    assert inner.labels.tolist() == [1, 5]
    assert torch.allclose(inner.images[:, 0, 0, 0] * 255, torch.tensor([1.0, 5.0]))
    assert len(split.take(100)) == 6 and split.take(2).labels.tolist() == [0, 1]


def test_normalisation_is_that_of_pixels_from_0_to_1():
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    values = Normalisation((0.5,), (0.25,))(pixels).flatten()
    assert torch.allclose(values, torch.tensor([-2.0, 2.0]))


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (torch.zeros(3, 1, 2, 2), torch.zeros(2, dtype=torch.int64)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)),
    ],
)
def test_a_split_that_does_not_fit_together_is_refused(pixels, labels):
    with pytest.raises(InputError):
        Split(pixels, labels)


def test_inputs_need_not_be_images():
    labels = torch.zeros(3, dtype=torch.int64)
    assert Split(torch.zeros(3, 1, 2, 2), labels).is_images
    assert not Split(torch.zeros(3, 2, 2), labels).is_images
    assert not Split(torch.zeros(3, 7), labels).is_images


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(InputError, match="digits"):
        load_data("digit", seed=0)


def test_a_size_of_no_pixels_is_refused():
    with pytest.raises(InputError, match="-3"):
        load_data("digits", seed=0, image_size=-3)
