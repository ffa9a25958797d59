"""Errors that come from the sample of test images, against resampling."""

import numpy as np
import pytest
import torch

from studies.fixed_multiplier import _tables
from studies.fixed_multiplier._plan import read_preset
from studies.fixed_multiplier._sampling import accuracy_error, packed, paired_error, unpacked
from tests.studies.tiny_matrix import record

IMAGES = 2000


@pytest.fixture
def pair():
    """Of which images two networks are right that mostly agree."""
    rng = np.random.default_rng(0)
    one = rng.random(IMAGES) < 0.86
    return one, np.where(rng.random(IMAGES) < 0.05, ~one, one)


def resampled(values):
    rng = np.random.default_rng(1)
    draws = rng.integers(len(values), size=(4000, len(values)))
    return 100 * values[draws].mean(axis=1).std()


def test_an_accuracy_errs_as_resampling_says(pair):
    one = pair[0].astype(float)
    assert accuracy_error(one.mean(), IMAGES) == pytest.approx(resampled(one), rel=0.05)


def test_a_difference_errs_as_resampling_says_and_less_than_two_samples(pair):
    one, other = pair
    error = paired_error(one, other)
    assert error == pytest.approx(resampled(one.astype(float) - other), rel=0.05)
    apart = np.hypot(*(accuracy_error(right.mean(), IMAGES) for right in pair))
    assert error < 0.6 * apart


def test_nothing_seen_is_not_no_error():
    right = np.ones(100, dtype=bool)
    assert accuracy_error(1.0, 100) > 0.5
    assert paired_error(right, right) > 0.5


def test_images_come_back(pair):
    text = packed(torch.from_numpy(pair[0]))
    assert np.array_equal(unpacked(text, IMAGES), pair[0])
    assert len(text) < IMAGES / 6


def test_drops_are_paired_where_images_are_known(pair, tmp_path):
    preset = read_preset("smoke")
    exact_cell, cell = preset.cells()[0], preset.cells()[2]
    assert (exact_cell.multiplier, cell.recovery) == ("mul8s_1KV8", exact_cell.recovery)
    cells = []
    for each, right in zip((exact_cell, cell), pair, strict=True):
        test = {"accuracy": float(right.mean()), "cross_entropy": 1.0, "images": IMAGES}
        of_cell = record(each, preset) | {"test": test, "right": packed(torch.from_numpy(right))}
        cells.append(of_cell)
    paired = _tables.matrix(cells).set_index("multiplier").loc[cell.multiplier]
    assert paired["drop_error_points"] == pytest.approx(paired_error(*pair))
    lost = float(pair[0].mean() - pair[1].mean())
    assert paired["drop_share_pct"] == pytest.approx(100 * lost / (pair[0].mean() - 0.1))
    assert paired["test_images"] == IMAGES
    for each in cells:
        del each["right"]
    apart = _tables.matrix(cells).set_index("multiplier").loc[cell.multiplier]
    assert apart["drop_error_points"] > paired["drop_error_points"] / 0.6
