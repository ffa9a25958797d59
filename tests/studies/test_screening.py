"""The estimates that are compared."""

import numpy as np
import pytest
import torch
from torch import nn

import luts
import models
from dse import Evaluator
from dse.problem import SearchSpace
from luts.console import SILENT
from models import Assignment
from models.training import state_digest
from studies.screening._closed_form import closed_form
from studies.screening._estimators import estimators, geometric_mean


def test_two_estimates_are_joined_in_the_units_of_the_first():
    moved = np.array([[0.0, 1.0, 4.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])
    erring = 5 * np.array([[1e-17, 1.0, 4.0], [0.0, 3.0, 9.0], [0.0, 0.0, 0.0]])
    found = geometric_mean(moved, erring)
    np.testing.assert_allclose(found[0], [0, 1, 4])
    assert 0 < found[1, 1] < 1  # the sample of the first saw no error that is there
    assert found[1, 2] == pytest.approx(9)
    assert not found[2].any()  # an expert that no image reached
    assert np.array_equal(geometric_mean(moved, np.zeros((3, 3))), moved)


def test_the_closed_form_is_the_squared_error_that_is_measured():
    torch.manual_seed(7)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 96), nn.ReLU(), nn.Linear(96, 24))
    inputs = torch.rand(64, 1, 6, 6)
    emulated = models.emulate(network, luts.EXACT, calibration=[inputs])
    space = SearchSpace.of(emulated.sites, luts.catalog.names("mul8s"))
    found = closed_form(emulated, inputs, space, corrected=False)
    emulated.assign_(models.Assignment.uniform(emulated.sites, luts.EXACT))
    name = space.free[1]
    layer, seen = emulated.layer(name), []
    handle = layer.register_forward_pre_hook(lambda _, operands: seen.append(operands[0]))
    with torch.no_grad():
        emulated(inputs)
        handle.remove()
        exact = layer(seen[0])
        for code, choice in enumerate(space.choices):
            layer.assign_(luts.Arithmetic(luts.catalog[choice.multiplier], choice.swapped))
            error = (layer(seen[0]) - exact).double()
            # Operands are taken as independent, which these nearly are.
            assert found[1, code] == pytest.approx(float((error**2).mean()), rel=0.5, abs=1e-9)
    emulated.assign_(models.Assignment.uniform(emulated.sites, luts.EXACT))


@pytest.fixture(scope="module")
def evaluator():
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)
    )
    images, labels = torch.rand(96, 1, 5, 5), torch.randint(3, (96,))
    parts = (models.Split(images[i::3], labels[i::3]) for i in range(3))
    return Evaluator(
        net.eval(), models.Data("random", *parts, num_classes=3), calibration_images=32
    )


@pytest.mark.parametrize("name", estimators(8))
def test_no_estimate_depends_on_what_was_scored_before_or_leaves_a_trace(name, evaluator):
    emulated, estimate = evaluator.emulated, estimators(8)[name]
    space = SearchSpace.of(emulated.sites, luts.catalog.names("paper"))
    before = state_digest(emulated.state_dict())
    first = estimate(evaluator, space, 0, SILENT)
    assert state_digest(emulated.state_dict()) == before
    evaluator.score(Assignment.uniform(emulated.sites, "mul8s_1KR3"))
    np.testing.assert_array_equal(estimate(evaluator, space, 0, SILENT), first)
    assert first.max() > 0
