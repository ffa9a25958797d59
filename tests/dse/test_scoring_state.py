"""Scoring and screening leave no trace in the network that they work on."""

import numpy as np
import pytest
import torch
from torch import nn

import luts
import models
from dse._steps import starved
from dse.problem import SearchSpace
from dse.scoring import Evaluator, screen
from luts import InputError
from models import Assignment, Data, Split
from models.networks import ExpertLayer
from models.networks._routing import expert_layers
from models.training import state_digest


class FirstOrSecond(ExpertLayer):
    """Sends an image to the second expert if its mean is large."""

    def __init__(self, limit):
        super().__init__([nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)], granularity="image")
        self.limit = limit

    def forward(self, x):
        chosen = (x.mean(dim=(1, 2, 3)) > self.limit).long()[:, None]
        return self.dispatch(x, chosen, torch.ones_like(chosen, dtype=x.dtype))

    def overhead_macs(self, items):
        return 0


def network(limit):
    torch.manual_seed(0)
    layer = FirstOrSecond(limit)
    with torch.no_grad():
        for kept, other in zip(
            layer.experts[0].parameters(), layer.experts[1].parameters(), strict=True
        ):
            other.copy_(kept)
    return nn.Sequential(
        layer,
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 36, 4),
    ).eval()


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 6, 6, generator=generator)
    return Split(images, torch.randint(4, (count,), generator=generator))


DATA = Data("random", split(256, 0), split(64, 1), split(64, 2), num_classes=4)


@pytest.fixture(scope="module")
def evaluator():
    return Evaluator(network(0.0), DATA, calibration_images=64)


def state(emulated):
    """Digest of all tensors, and what every site multiplies with."""
    choices = [str(emulated.layer(site.name).arithmetic) for site in emulated.sites]
    return state_digest(emulated.state_dict()), choices, emulated.assignment


def fixed(evaluator, name):
    return Assignment.uniform(evaluator.emulated.sites, name)


def test_scoring_screening_and_tuning_leave_the_exact_network(evaluator):
    before = state(evaluator.emulated)
    space = SearchSpace.of(evaluator.emulated.sites, luts.catalog.names("paper"))
    evaluator.score(fixed(evaluator, "mul8s_1KR3"))
    assert state(evaluator.emulated) == before
    evaluator.screen(space, seed=0)
    assert state(evaluator.emulated) == before
    evaluator.fine_tune(fixed(evaluator, "mul8s_1L1G"), epochs=0.5, seed=0)
    evaluator.test_exact()
    assert state(evaluator.emulated) == before


def test_an_error_inside_leaves_the_exact_network_too(evaluator):
    before = state(evaluator.emulated)
    with pytest.raises(KeyboardInterrupt), evaluator.under("mul8s_1KR3") as emulated:
        assert state(emulated) != before
        raise KeyboardInterrupt
    assert state(evaluator.emulated) == before


def test_screening_does_not_depend_on_what_was_scored_before(evaluator):
    space = SearchSpace.of(evaluator.emulated.sites, luts.catalog.names("paper"))
    first = evaluator.screen(space, seed=0).distortion
    evaluator.score(fixed(evaluator, "mul8s_1KR3"))
    np.testing.assert_array_equal(evaluator.screen(space, seed=0).distortion, first)


def test_screening_of_another_state_is_refused(evaluator):
    space = SearchSpace.of(evaluator.emulated.sites, luts.catalog.names("paper"))
    with (
        evaluator.under("mul8s_1L1G") as emulated,
        pytest.raises(InputError, match="exact network"),
    ):
        screen(emulated, evaluator.inputs, space, seed=0)


def test_a_network_is_as_it_was_whatever_is_done_inside(evaluator):
    emulated = evaluator.recovered(fixed(evaluator, "mul8s_1L1G"))
    before, images = state(emulated), DATA.test.images
    outputs = emulated(images)
    with emulated.restored():
        emulated.assign_("mul8s_1KR3")
        with torch.no_grad():
            for parameter in emulated.parameters():
                parameter.add_(1)
            emulated.network[1].running_mean.add_(3)
    assert state(emulated) == before
    assert torch.equal(emulated(images), outputs)


def test_an_expert_that_no_image_reaches_is_not_free():
    means = DATA.train.take(64).images.mean(dim=(1, 2, 3))
    reached = Evaluator(network(float(means.median())), DATA, calibration_images=64)
    never = Evaluator(network(1e9), DATA, calibration_images=64)
    for evaluator, is_reached in ((reached, True), (never, False)):
        sites = evaluator.emulated.sites
        space = SearchSpace.of(sites, luts.catalog.names("paper"))
        rows = {name: row for row, name in enumerate(space.free)}
        found = evaluator.screen(space, seed=0).distortion
        first, second = (found[rows[f"0.experts.{i}"]] for i in range(2))
        assert found[rows["0.experts.1"], 0] == 0  # the exact circuit
        assert (second[1:] > 0).all()
        layer = expert_layers(evaluator.emulated.network)["0"]
        evaluator.emulated(evaluator.inputs)
        assert bool(layer.work[1] > 0) == is_reached
        if is_reached:
            # Alike experts with half the images each do about the same harm.
            assert 0.3 < second[-1] / first[-1] < 3
        else:
            assert 0 < second[-1] < 0.1 * first[-1]


def test_frozen_rates_decide_how_much_an_expert_counts(evaluator):
    means = DATA.train.take(64).images.mean(dim=(1, 2, 3))
    made = Evaluator(network(float(means.median())), DATA, calibration_images=64)
    space = SearchSpace.of(made.emulated.sites, luts.catalog.names("paper"))
    rows = {name: row for row, name in enumerate(space.free)}
    even = made.screen(space, seed=0).distortion
    routing = models.Routing({"0": (0.9, 0.1)}, "by hand")
    uneven = made.screen(space, seed=0, routing=routing).distortion
    ratio = [
        uneven[rows[f"0.experts.{i}"], -1] / even[rows[f"0.experts.{i}"], -1] for i in range(2)
    ]
    work = [0.9, 0.1]
    made.emulated(made.inputs)
    layer = expert_layers(made.emulated.network)["0"]
    share = (layer.work / layer.items).tolist()
    assert ratio == pytest.approx([w / s for w, s in zip(work, share, strict=True)])


def test_an_expert_that_too_few_images_reach_is_named_with_the_numbers():
    never = Evaluator(network(1e9), DATA, calibration_images=64)
    (line,) = starved(never)
    assert "0: experts 0, 1 see fewer than 100 items of 64 calibration images" in line
    means = DATA.train.images.mean(dim=(1, 2, 3))
    often = Evaluator(network(float(means.median())), DATA, calibration_images=256)
    assert list(starved(often)) == []
