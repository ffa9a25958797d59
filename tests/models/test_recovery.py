"""Recovery recipes: their steps, their records, and that they never leave a network worse."""

import copy
import dataclasses
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
from models import Data, FineTuning, Recovery, Score, Split, TrainingRecipe, recover
from models.networks._hard import HardMoE
from models.training import Reference, fine_tune_, recalibrate_
from models.training.recovery._batchnorm import set_statistics_, statistics, transport_
from models.training.recovery._fine_tune import _Watch, is_better

TRAINING = TrainingRecipe(epochs=3, batch_size=32, optimizer="adamw", lr=2e-3, weight_decay=0.0)
FREE = Recovery(tune_weights="squared", operand_order="choose", images=96)


def split(count, seed):
    """Three classes: which third of the image is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    images = torch.rand(count, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 0.3
    return Split(images, labels)


@pytest.fixture(scope="module")
def data():
    return Data("bars", split(256, 0), split(192, 1), split(64, 2), num_classes=3)


def convolutional():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32, 3),
    )


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 24), nn.ReLU(), nn.Linear(24, 3))


@pytest.fixture(scope="module")
def trained(data):
    networks = {}
    for make in (convolutional, plain):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            network = make()
        models.fit(network, data, dataclasses.replace(TRAINING, epochs=6), seed=0)
        networks[make.__name__] = network
    return networks


def approximated(network, data, multiplier="mul8s_1L1G"):
    batches = data.train.take(96).batches(96)
    return models.emulate(network, multiplier, calibration=batches)


def tuning(**changes):
    names = {field.name for field in dataclasses.fields(TrainingRecipe)}
    training = {k: v for k, v in changes.items() if k in names}
    rest = {k: v for k, v in changes.items() if k not in names}
    return FineTuning(dataclasses.replace(TRAINING, **training), **rest)


def test_all_free_steps_are_recorded_and_help(trained, data):
    emulated = approximated(trained["convolutional"], data)
    before = models.evaluate(emulated, data.validation)
    found = recover(emulated, FREE, data, seed=0, score_steps=True)
    names = ["reference", "recalibrate", "correct bias", "tune weights", "operand order"]
    assert [step.name for step in found.steps] == names
    assert found.steps[0].before == found.steps[0].after == before
    for earlier, later in zip(found.steps, found.steps[1:], strict=False):
        assert later.before == earlier.after
    assert found.steps[-1].after == models.evaluate(emulated, data.validation)
    assert found.steps[-1].after.cross_entropy < before.cross_entropy
    assert found.network is emulated
    assert found.steps[-1].skipped
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
    assert recalibrate_(emulated, images, batch_size=96) == 2
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
    assert recalibrate_(network, torch.zeros(4, 2, 3, 3)) == 1
    assert network.unused.running_mean.tolist() == [3.0, 3.0]
    assert network.used.running_mean.tolist() == [0.0, 0.0]
    assert recalibrate_(network, torch.zeros(1, 2, 1, 1)) == 0  # one value has no variance


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
    assert tuned.steps == 7
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


def test_zero_epochs_are_said(trained, data):
    emulated = approximated(trained["plain"], data)
    tuned = fine_tune_(emulated, tuning(epochs=0.01), data, seed=0)
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
        tuned = fine_tune_(emulated, tuning(balance=balance), data, seed=0)
        assert tuned.is_kept
        moved = [key for key, value in emulated.named_parameters() if not value.equal(before[key])]
        assert any(".router." in key for key in moved)
        assert any(".experts." in key for key in moved)
        routers.append(emulated.network[3].router.weight.detach())
    assert not torch.equal(*routers)


def test_watch_ignores_noise_and_notices_a_rise():
    generator = torch.Generator().manual_seed(0)
    noise = (1 + 0.3 * torch.randn(400, generator=generator)).tolist()
    calm = _Watch(400)
    assert not any(calm.look(loss) for loss in noise)
    rising = _Watch(400)
    found = [rising.look(loss + step / 200) for step, loss in enumerate(noise)]
    assert any(found)


def test_better_means_no_less_accurate():
    old = Score(0.8, 1.0, 500)
    assert is_better(Score(0.8, 0.9, 500), old)
    assert not is_better(Score(0.79, 0.5, 500), old)
    assert not is_better(Score(0.81, 1.1, 500), old)
    many = Score(0.8, 1.0, 5_000)
    assert is_better(Score(0.81, 1.1, 5_000), many)
    assert not is_better(Score(0.8, 1.0, 5_000), many)


def test_a_recipe_survives_toml_and_json():
    for recipe in (Recovery(), FREE, Recovery(fine_tuning=tuning(gradient="slope-2d"))):
        values = recipe.to_dict()
        assert Recovery.from_dict(tomllib.loads(tomli_w.dumps(values))) == recipe
        assert Recovery.from_dict(json.loads(json.dumps(values))) == recipe


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"recalibrat": True}, "recovery has no 'recalibrat'; did you mean|recovery has no"),
        ({"recalibrate": 1}, "recalibrate is like True"),
        ({"tune_weights": "best"}, "unknown tune_weights 'best'"),
        ({"operand_order": "open"}, "unknown operand_order 'open'"),
        ({"images": 0}, "images is at least 1"),
        ({"fine_tuning": 3}, "fine_tuning is a table"),
        ({"fine_tuning": {}}, "needs a table fine_tuning.training"),
        ({"fine_tuning": {"training": {}}}, "needs a number of epochs"),
        ({"fine_tuning": {"training": {"epochs": 1}, "gradient": "slope"}}, "unknown gradient"),
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
    recalibrate_(network, images)
    transport_(network, trained, exact)
    torch.testing.assert_close(network(images), expected, rtol=1e-3, atol=1e-3)
