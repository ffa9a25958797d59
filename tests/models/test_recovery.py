"""Recovery recipes: their steps, their records, and that they never leave a network worse."""

import json
import tomllib

import pytest
import tomli_w
import torch
from torch import nn

import luts
import models
from luts import InputError
from luts.console import Reporter
from models import FineTuning, Recovery, recover
from models.training import Reference, recalibrate_
from models.training.recovery._batchnorm import set_statistics_, statistics, transport_
from models.training.recovery._state import KeptStates, RecoveredState
from tests.models.bars import FREE, TRAINING, approximated, bars, trained_networks, tuning


@pytest.fixture(scope="module")
def data():
    return bars()


@pytest.fixture(scope="module")
def trained(data):
    return trained_networks(data)


def test_all_free_steps_are_recorded_and_help(trained, data):
    emulated = approximated(trained["convolutional"], data)
    before = models.evaluate(emulated, data.validation)
    found = recover(emulated, FREE, data, seed=0, score_steps=True)
    names = ["reference", "operand order", "tune weights", "recalibrate", "correct bias"]
    assert [step.name for step in found.steps] == names
    assert found.steps[0].before == found.steps[0].after == before
    for earlier, later in zip(found.steps, found.steps[1:], strict=False):
        assert later.before == earlier.after
    assert found.steps[-1].after == models.evaluate(emulated, data.validation)
    assert found.steps[-1].after.cross_entropy < before.cross_entropy
    assert found.network is emulated
    assert found.steps[1].skipped
    assert "no table changes" in found.note
    assert found.seconds == pytest.approx(sum(step.seconds for step in found.steps))
    json.dumps(found.to_dicts())


def test_unscored_steps_have_no_score(trained, data):
    found = recover(approximated(trained["plain"], data), Recovery(images=32), data, seed=0)
    assert all(step.before is None and step.after is None for step in found.steps)


def test_a_network_without_batchnorm_skips_recalibration_with_one_line(trained, data, capsys):
    emulated = approximated(trained["plain"], data)
    found = recover(emulated, Recovery(images=64), data, seed=0, reporter=Reporter())
    skipped = [step for step in found.steps if step.skipped]
    assert [step.name for step in skipped] == ["recalibrate"]
    assert capsys.readouterr().err == "recalibrate: skipped, the network has no BatchNorm\n"


def test_bias_correction_without_places(data):
    network = nn.Sequential(nn.Conv2d(1, 3, 6, bias=False), nn.BatchNorm2d(3), nn.Flatten())
    found = recover(approximated(network, data), Recovery(images=64), data, seed=0)
    assert [step.name for step in found.steps if step.skipped] == ["correct bias"]


def test_recalibrated_statistics_are_those_of_the_images(trained, data):
    emulated = approximated(trained["convolutional"], data)
    images = data.train.take(96).images
    assert len(recalibrate_(emulated, images, batch_size=96)) == 2
    with torch.no_grad():
        first = emulated.network[0](images)
    norm = emulated.network[1]
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, first.var(dim=(0, 2, 3)))
    assert norm.momentum == 0.1
    assert not norm.training


def test_batchnorm_that_nothing_reaches_keeps_its_statistics():
    class Lazy(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

        def forward(self, x):
            return self.used(x)

    network = Lazy()
    network.unused.running_mean.fill_(3.0)
    network.used.running_mean.fill_(3.0)
    assert recalibrate_(network, torch.zeros(4, 2, 3, 3)) == {"used"}
    assert network.unused.running_mean.tolist() == [3.0, 3.0]
    assert network.used.running_mean.tolist() == [0.0, 0.0]
    assert not recalibrate_(network, torch.zeros(1, 2, 1, 1))  # one value has no variance


def test_batchnorm_that_only_the_exact_network_reaches_keeps_its_statistics():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.norm = nn.Linear(4, 1, bias=False), nn.BatchNorm1d(4)

        def forward(self, x):
            chosen = self.gate(x)[:, 0] > 0
            y = x.clone()
            if chosen.any():
                y[chosen] = self.norm(x[chosen])
            return y

    network = Routed().eval()
    network.gate.weight.data.fill_(1.0)
    network.norm.running_mean.fill_(3.0)
    images = torch.rand(20, 4)
    emulated = models.emulate(network, luts.EXACT, calibration=[images])
    reference = Reference.of(emulated, images, with_histograms=False)
    emulated.network.gate.bias = nn.Parameter(torch.tensor([-100.0]))  # as a circuit's error may
    reference.recalibrate_(emulated)
    assert emulated.network.norm.running_mean.tolist() == [3.0] * 4
    assert emulated.network.norm.running_var.tolist() == [1.0] * 4


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recovery(tune_weights="squared"), "needs the histograms that"),
        (Recovery(operand_order="choose"), "needs the histograms that"),
        (
            Recovery(fine_tuning=FineTuning(TRAINING, distillation=0.5)),
            "needs the float network that",
        ),
    ],
)
def test_a_reference_made_for_less_is_refused(trained, data, recipe, message):
    emulated = approximated(trained["plain"], data)
    reference = Reference.of(emulated, data.train.take(16).images, with_histograms=False)
    with pytest.raises(InputError, match=message):
        recover(emulated, recipe, data, seed=0, reference=reference)


def test_open_operand_order_gives_a_new_assignment(trained, data):
    emulated = approximated(trained["convolutional"], data, "mul8s_1KTY")
    given = emulated.assignment
    found = recover(emulated, FREE, data, seed=0)
    changed = [n for n, c in found.assignment.choices.items() if c != given.choices[n]]
    if not changed:  # then the other order is the one to leave
        other = models.Assignment.uniform(emulated.sites, "mul8s_1KTY", swapped=True)
        emulated.assign_(other)
        found = recover(emulated, FREE, data, seed=0)
        changed = [n for n, c in found.assignment.choices.items() if not c.swapped]
    assert changed
    assert emulated.assignment == found.assignment
    for name, choice in found.assignment.choices.items():
        assert emulated.layer(name).arithmetic.swapped == choice.swapped
        assert choice.multiplier == "mul8s_1KTY"


def test_a_reference_serves_many_assignments(trained, data):
    emulated = approximated(trained["convolutional"], data, luts.EXACT)
    reference = Reference.of(emulated, data.train.take(96).images)
    fresh = approximated(trained["convolutional"], data)
    recover(fresh, FREE, data, seed=0)
    for name in ("mul8s_1KR3", "mul8s_1L1G"):
        emulated.assign_(name)
        reference.restore_(emulated)
        recover(emulated, FREE, data, seed=0, reference=reference)
    images = data.test.images
    assert torch.equal(emulated(images), fresh(images))


def test_a_recipe_survives_toml_and_json():
    for recipe in (Recovery(), FREE, Recovery(fine_tuning=tuning(gradient="slope-2d"))):
        values = recipe.to_dict()
        assert Recovery.from_dict(tomllib.loads(tomli_w.dumps(values))) == recipe
        assert Recovery.from_dict(json.loads(json.dumps(values))) == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recalibrat": True}, "a recovery: no setting 'recalibrat': did you mean recalibrate"),
        ({"recalibrate": 1}, "recalibrate is true or false, not 1"),
        ({"tune_weights": "best"}, "unknown tune_weights 'best'"),
        ({"operand_order": "open"}, "unknown operand_order 'open'"),
        ({"images": 0}, "images is a whole number from 1 up, not 0"),
        ({"fine_tuning": 3}, "fine_tuning is a table"),
        ({"fine_tuning": {}}, "fine_tuning.training is missing"),
        ({"fine_tuning": {"training": {}}}, "fine_tuning.training.epochs is missing"),
        (
            {"fine_tuning": {"training": {"epochs": 1}, "gradient": "slope"}},
            "unknown fine_tuning.gradient 'slope': did you mean slope-x",
        ),
        ({"fine_tuning": {"training": {"epochs": 1}, "distillation": 2.0}}, "from 0 to 1"),
        ({"fine_tuning": {"training": {"epochs": 1}, "temperature": 0.0}}, "a positive number"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_recipes(values, message):
    with pytest.raises(InputError, match=message):
        Recovery.from_dict(values)


def batchnorm_network():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 1))
    network.append(nn.BatchNorm2d(4))
    for module in network:
        if isinstance(module, nn.BatchNorm2d):  # as augmented images would leave it
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_transported_statistics_of_the_exact_network_are_those_it_was_trained_with():
    network, images = batchnorm_network(), torch.randn(20, 3, 8, 8)
    emulated = models.emulate(network, luts.EXACT, calibration=[images])
    reference = Reference.of(emulated, images, with_histograms=False)
    reference.recalibrate_(emulated)
    for own, float_ in zip(emulated.network, network, strict=True):
        if isinstance(float_, nn.BatchNorm2d):
            torch.testing.assert_close(own.running_mean, float_.running_mean)
            torch.testing.assert_close(own.running_var, float_.running_var)


def test_the_exact_network_keeps_its_biases_however_many_images_there_are():
    network = batchnorm_network().append(nn.Flatten()).append(nn.Linear(36, 5))
    images = torch.randn(300, 3, 5, 5)
    emulated = models.emulate(network, luts.EXACT, calibration=[images])
    before = emulated(images)
    reference = Reference.of(emulated, images, with_histograms=False)
    reference.correct_bias_(emulated, Recovery(recalibrate=True, correct_bias=True))
    torch.testing.assert_close(emulated(images), before)


def test_a_channel_that_changes_affinely_is_transported_to_the_same_output():
    network, images = batchnorm_network(), torch.randn(20, 3, 8, 8)
    trained, expected = statistics(network), network(images)
    recalibrate_(network, images)
    exact = statistics(network)
    with torch.no_grad():
        factor = torch.tensor([0.5, 1.0, 2.0, 3.0, 0.1, 1.5])
        network[0].weight *= factor.view(-1, 1, 1, 1)
        network[0].bias.mul_(factor).add_(torch.arange(6.0))
    set_statistics_(network, trained)
    transport_(network, trained, exact, names=recalibrate_(network, images))
    torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)


def test_the_oldest_states_make_room(trained, data):
    state = RecoveredState.of(approximated(trained["convolutional"], data))
    assert state.size == sum(
        tensor.nbytes
        for tensor in (
            *state.corrections,
            *(b for n in state.batchnorm.values() for b in n.values()),
        )
    )
    kept = KeptStates(2 * state.size)
    for key in "abca":
        kept.put(key, state)
    assert [key for key in "abc" if kept.get(key) is state] == ["a", "c"]
    too_small = KeptStates(state.size - 1)
    too_small.put("a", state)
    assert too_small.get("a") is None
