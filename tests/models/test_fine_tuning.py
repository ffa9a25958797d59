"""Training through the circuits: it learns, it repeats, it never leaves a network worse."""

import copy
import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

import models
from models import FineTuning, Metric, Recovery, Score, recover
from models.networks._hard import HardMoE
from models.training import fine_tune_
from models.training.recovery._fine_tune import _Watch, is_better
from tests.models.bars import FREE, TRAINING, approximated, bars, plain, trained_networks, tuning


@pytest.fixture(scope="module")
def data():
    return bars()


@pytest.fixture(scope="module")
def trained(data):
    return trained_networks(data)


@pytest.mark.parametrize("kind", ["convolutional", "plain"])
def test_fine_tuning_repeats_exactly_and_never_scores_worse(trained, data, kind):
    recipe = dataclasses.replace(FREE, fine_tuning=tuning(distillation=0.5))
    states = []
    for _ in range(2):
        emulated = approximated(trained[kind], data, "mul8s_1KR3")
        found = recover(emulated, recipe, data, seed=3, score_steps=True)
        step = found.steps[-1]
        assert step.name == "fine-tune"
        assert step.after.accuracy >= step.before.accuracy
        assert step.after.cross_entropy <= step.before.cross_entropy
        states.append(emulated.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_fine_tuning_is_training(data):
    """With labels only it takes the steps of `fit`, image by image."""
    recipe = dataclasses.replace(TRAINING, shift_px=1, epochs=0.9, lr=0.02)
    first = approximated(plain(), data)
    second = copy.deepcopy(first)
    models.fit(first, data, recipe, seed=5)
    tuned = fine_tune_(second, FineTuning(recipe), data, seed=5)
    assert tuned.is_kept
    assert tuned.note == "fine-tuned"
    assert tuned.steps == 8  # 7.2 and no less
    assert tuned.after == models.evaluate(first, data.validation)
    assert torch.equal(first(data.test.images), second(data.test.images))


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient": "slope-2d", "half_window": 16},
        {"gradient": "slope-1d", "learn_scales": True},
        {"distillation": 1.0, "temperature": 4.0},
        {"feature_distillation": 0.1},
        {"optimizer": "sgd", "lr": 0.05, "ema": 0.9, "learn_scales": True},
        {"epochs": 0.3},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_fine_tuning_learns_under_every_option(trained, data, changes):
    emulated = approximated(trained["plain"], data, "mul8s_1KR3")
    scales = [emulated.layer(site.name).x_scale.clone() for site in emulated.sites]
    recipe = Recovery(recalibrate=False, images=96, fine_tuning=tuning(**changes))
    found = recover(emulated, recipe, data, seed=0, score_steps=True)
    assert found.steps[-1].note == "fine-tuned"
    assert found.steps[-1].after.cross_entropy < found.steps[-1].before.cross_entropy
    assert {name for name, _ in emulated.named_parameters()} == {
        f"network.{layer}.{kind}" for layer in (1, 3) for kind in ("weight", "bias")
    }
    moved = [
        not torch.equal(emulated.layer(site.name).x_scale, scale)
        for site, scale in zip(emulated.sites, scales, strict=True)
    ]
    assert all(moved) if changes.get("learn_scales") else not any(moved)


def test_an_image_left_over_makes_no_step(data):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    few = dataclasses.replace(data, train=data.train.take(65))
    emulated = approximated(network, few)
    assert fine_tune_(emulated, tuning(epochs=1.5, lr=1e-4), few, seed=0).steps == 3


def test_zero_epochs_are_said(trained, data):
    emulated = approximated(trained["plain"], data)
    tuned = fine_tune_(emulated, tuning(epochs=0.0), data, seed=0)
    assert tuned.steps == 0
    assert tuned.before == tuned.after
    assert "no step" in tuned.note


def test_harmful_fine_tuning_is_undone(trained, data):
    emulated = approximated(trained["plain"], data, "mul8s_1KV8")
    before = copy.deepcopy(emulated)
    tuned = fine_tune_(emulated, tuning(lr=30.0, epochs=0.4), data, seed=0)
    assert not tuned.is_kept
    assert "state before it" in tuned.note
    assert torch.equal(emulated(data.test.images), before(data.test.images))
    assert tuned.after == tuned.before


def test_a_rising_loss_stops_training(trained, data):
    emulated = approximated(trained["plain"], data, "mul8s_1KV8")
    recipe = tuning(lr=30.0, epochs=8, schedule="constant", optimizer="sgd")
    tuned = fine_tune_(emulated, recipe, data, seed=0)
    assert tuned.steps < 8 * 8
    assert "stopped, the loss" in tuned.note
    assert "the state before it restored" in tuned.note


def test_a_loss_that_is_no_number_stops_training(trained, data):
    class Poisoned(nn.Module):
        def __init__(self, network):
            super().__init__()
            self.network = network
            self.gain = nn.Parameter(torch.ones(()))
            self.calls = 0

        def forward(self, x):
            self.calls += self.training
            poison = self.training and self.calls > 3
            return self.network(x) * (self.gain * float("nan") if poison else self.gain)

    emulated = approximated(Poisoned(trained["plain"]), data)
    tuned = fine_tune_(emulated, tuning(), data, seed=0)
    assert tuned.note.startswith("fine-tuning stopped, the loss became nan at step 4")
    assert tuned.steps == 3
    assert tuned.after == tuned.before == models.evaluate(emulated, data.validation)


def test_a_network_that_is_no_number_after_an_epoch_is_not_kept(trained, data):
    emulated = approximated(trained["plain"], data, "mul8s_1KV8")
    recipe = tuning(lr=1e38, epochs=0.125, optimizer="sgd", schedule="constant", momentum=0.0)
    tuned = fine_tune_(emulated, recipe, data, seed=0)
    assert tuned.steps == 1
    assert "stopped, the validation loss became" in tuned.note
    assert tuned.after == tuned.before == models.evaluate(emulated, data.validation)


@pytest.mark.parametrize(("epochs", "steps"), [(0.25, 2), (0.26, 3), (1.0, 8)])
def test_no_fewer_steps_than_were_asked_for(trained, data, epochs, steps):
    emulated = approximated(trained["plain"], data, "mul8s_1KV8")
    assert fine_tune_(emulated, tuning(epochs=epochs), data, seed=0).steps == steps


def mixture():
    torch.manual_seed(2)
    experts = [nn.Linear(16, 16) for _ in range(3)]
    layer = HardMoE(experts, features=16, granularity="token", jitter=0.0)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), layer, nn.Linear(16, 3))


def test_experts_and_router_are_trained_and_kept_in_balance(data):
    routers = []
    for balance in (0.0, 1.0):
        emulated = approximated(mixture(), data)
        before = {key: value.clone() for key, value in emulated.named_parameters()}
        recipe = tuning(balance=balance, train_routers=True)
        tuned = fine_tune_(emulated, recipe, data, seed=0)
        assert tuned.is_kept
        moved = [key for key, value in emulated.named_parameters() if not value.equal(before[key])]
        assert any(".router." in key for key in moved)
        assert any(".experts." in key for key in moved)
        routers.append(emulated.network[3].router.weight.detach())
    assert not torch.equal(*routers)


def test_routers_stay_as_they_are_unless_they_are_to_be_trained(data):
    emulated = approximated(mixture(), data)
    before = {key: value.clone() for key, value in emulated.named_parameters()}
    assert fine_tune_(emulated, tuning(balance=1.0), data, seed=0).is_kept
    moved = {key for key, value in emulated.named_parameters() if not value.equal(before[key])}
    assert not any(".router." in key for key in moved)
    assert any(".experts." in key for key in moved)
    assert not emulated.network[3].is_frozen


def test_watch_ignores_noise_and_notices_a_rise():
    generator = torch.Generator().manual_seed(0)
    noise = (1 + 0.3 * torch.randn(400, generator=generator)).tolist()
    calm = _Watch(400)
    assert not any(calm.look(loss) for loss in noise)
    rising = _Watch(400)
    found = [rising.look(loss + step / 200) for step, loss in enumerate(noise)]
    assert any(found)


def test_watch_takes_a_negative_loss_for_what_it_is():
    generator = torch.Generator().manual_seed(0)
    noise = (0.1 * torch.randn(400, generator=generator)).tolist()
    for start in (-0.2, -10.0):
        falling, rising = _Watch(400), _Watch(400)
        assert not any(falling.look(start + z - step / 100) for step, z in enumerate(noise))
        assert any(rising.look(start + z + step / 100) for step, z in enumerate(noise))
    gross = _Watch(32)
    assert [gross.look(loss) for loss in (-10.0, 5.0, 5.0, 5.0)][3] is not None


def test_a_loss_of_any_sign_is_minimised_alike(trained, data):
    """A constant beneath the loss has no gradient."""
    found = []
    for below in (0.0, 10.0):
        emulated = approximated(trained["plain"], data, "mul8s_1KR3")
        metric = Metric(
            lambda o, t: (o.argmax(1) == t).double(),
            True,
            name="right",
            loss=lambda o, t, below=below: functional.cross_entropy(o, t) - below,
        )
        found.append((fine_tune_(emulated, tuning(), data, seed=3, metric=metric), emulated))
    (plain_, first), (shifted, second) = found
    assert shifted.before.loss == pytest.approx(plain_.before.loss - 10)
    assert plain_.is_kept and shifted.is_kept
    assert (shifted.note, shifted.steps) == (plain_.note, plain_.steps) and plain_.steps >= 8
    assert shifted.after.value == plain_.after.value
    assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())


def test_better_means_no_less_accurate():
    old = Score(0.8, 1.0, 500)
    assert is_better(Score(0.8, 0.9, 500), old)
    assert not is_better(Score(0.79, 0.5, 500), old)
    assert not is_better(Score(0.81, 1.1, 500), old)
    many = Score(0.8, 1.0, 5_000)
    assert not is_better(Score(0.9, float("nan"), 5_000), many)
    assert not is_better(Score(0.9, float("inf"), 5_000), many)
    assert is_better(Score(0.81, 1.1, 5_000), many)
    assert not is_better(Score(0.8, 1.0, 5_000), many)
