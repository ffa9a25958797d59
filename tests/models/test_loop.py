from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from luts.errors import InputError
from models.networks import ExpertLayer
from models.training import Data, Split, TrainingRecipe, evaluate, fit, load_data
from models.training._augment import shift_and_flip
from models.training._distributed import ProcessGroup

RECIPE = TrainingRecipe(epochs=3, batch_size=32, lr=0.05, ema=0.9, shift_px=1, flip=True)


def make_data(classes: int = 3, images: int = 96) -> Data:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (images,), generator=generator)
    pixels = torch.randn(images, 1, 4, 4, generator=generator) * 0.5 + labels.view(-1, 1, 1, 1)
    split = Split(pixels, labels)
    return Data("blobs", split, split.take(40), split.take(30), classes)


def make_net(outputs: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Dropout(0.2), nn.Linear(64, outputs),
        )  # fmt: skip


def weights(net: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def test_training_learns_and_ends_in_evaluation_mode():
    net, data = make_net(), make_data()
    before = evaluate(net, data.validation)
    history = fit(net, data, replace(RECIPE, epochs=20), seed=0, validate=True)
    after = evaluate(net, data.validation)
    assert after.accuracy > 0.8 > before.accuracy
    assert len(history.epochs) == 20 and history.epochs[-1].validation == after
    assert not net.training


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_a_seed_repeats_the_weights_and_leaves_the_global_random_state(optimizer, schedule):
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule)
    first, second, third = make_net(), make_net(), make_net()
    state = torch.get_rng_state()
    fit(first, make_data(), recipe, seed=5)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(7)
    fit(second, make_data(), recipe, seed=5)
    fit(third, make_data(), recipe, seed=6)
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(third))


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
@pytest.mark.parametrize("steps", range(1, 12))
def test_every_length_of_run_has_a_schedule(schedule, steps):
    recipe = replace(RECIPE, schedule=schedule, epochs=steps / 3, ema=0.0, warmup=0.1)
    before, net = weights(make_net()), make_net()
    fit(net, make_data(), recipe, seed=0)
    assert not same(before, weights(net))


@pytest.mark.parametrize("stop_after", [1, 2])
@pytest.mark.parametrize(
    "changes", [{}, {"optimizer": "adamw", "schedule": "one-cycle", "ema": 0.0}]
)
def test_resumed_training_equals_uninterrupted_training(stop_after, changes, tmp_path):
    recipe = replace(RECIPE, **changes)
    whole = make_net()
    expected = fit(whole, make_data(), recipe, seed=5)

    class Stop(Exception):
        pass

    def interrupt(snapshot):
        torch.save(snapshot, tmp_path / "snapshot")
        if snapshot["epoch"] == stop_after:
            raise Stop

    with pytest.raises(Stop):
        fit(make_net(), make_data(), recipe, seed=5, on_checkpoint=interrupt)
    resumed, snapshot = make_net(), torch.load(tmp_path / "snapshot", weights_only=True)
    history = fit(resumed, make_data(), recipe, seed=5, resume=snapshot)
    assert same(weights(whole), weights(resumed))
    assert [e.loss for e in history.epochs] == [e.loss for e in expected.epochs]


def test_a_snapshot_of_another_run_is_refused_by_what_differs():
    taken = []
    fit(make_net(), make_data(), RECIPE, seed=5, on_checkpoint=taken.append)
    with pytest.raises(InputError, match=r"lr 0\.05 → 0\.1"):
        fit(make_net(), make_data(), replace(RECIPE, lr=0.1), seed=5, resume=taken[0])
    with pytest.raises(InputError, match="another network"):
        fit(make_net(4), make_data(), RECIPE, seed=5, resume=taken[0])


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (0.2, 1), (1.5, 6)])
def test_a_fraction_of_an_epoch_stops_within_it(epochs, steps):
    net, calls = make_net(), []
    net.register_forward_hook(lambda module, *_: calls.append(module.training))
    fit(net, make_data(images=100), replace(RECIPE, epochs=epochs, ema=0.0, batch_size=30), seed=0)
    assert len(calls) == steps


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"),
    [(33, 32, 1), (34, 32, 2), (32, 32, 1), (31, 32, 1), (65, 32, 2), (1, 32, 1), (3, 1, 3)],
)
def test_an_image_left_over_makes_no_step(images, batch_size, steps):
    assert replace(RECIPE, batch_size=batch_size).steps_per_epoch(images) == steps


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "constant"])
def test_batchnorm_over_single_values_is_trained_whatever_is_left_over(schedule):
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    seen, states = [], []
    net.register_forward_hook(lambda module, inputs, _: seen.append(len(inputs[0])))
    recipe = replace(RECIPE, epochs=2.5, schedule=schedule, ema=0.0)
    fit(net, make_data(images=65), recipe, seed=0, on_checkpoint=states.append)
    assert seen == [32] * 5
    assert [state["step"] for state in states] == [2, 4] and states[0]["total_steps"] == 5
    assert states[-1]["schedule"]["last_epoch"] == 4


def test_no_process_gets_a_single_image_of_a_batch():
    for size in (1, 2, 3):
        for count in range(2, 9):
            shares = []
            for rank in range(size):
                group = ProcessGroup()
                group.rank, group.size = rank, size
                shares.append(group.share(torch.arange(count)))
            assert min(len(share) for share in shares) >= 2
            assert set(torch.cat(shares).tolist()) == set(range(count))


def test_a_loss_that_is_not_a_number_stops_training_with_a_remedy():
    net = make_net()
    with torch.no_grad():
        net[-1].weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"became nan at step 1.*lower it"):
        fit(net, make_data(), RECIPE, seed=0)


def test_too_few_outputs_for_the_data_is_said_so():
    with pytest.raises(InputError, match="2 outputs"):
        fit(make_net(2), make_data(), RECIPE, seed=0)
    with pytest.raises(InputError, match="2 outputs"):
        evaluate(make_net(2), make_data().test)


def test_evaluate_equals_a_pass_over_everything_whatever_the_batch_size():
    net, split = make_net().train(), make_data().train
    scores = [evaluate(net, split, batch_size=size) for size in (1, 7, 500)]
    assert net.training
    logits = net.eval()(split.images).detach()
    accuracy = float((logits.argmax(1) == split.labels).float().mean())
    loss = float(functional.cross_entropy(logits, split.labels))
    for score in scores:
        assert score.accuracy == pytest.approx(accuracy)
        assert score.cross_entropy == pytest.approx(loss, rel=1e-5)
        assert score.images == len(split)


class Balanced(ExpertLayer):
    def __init__(self):
        super().__init__([nn.Linear(16, 3)], granularity="image")

    def overhead_macs(self, items):
        return 0

    def forward(self, x):
        self.auxiliary_loss = self.experts[0].weight.square().sum()
        return self.experts[0](x)


def test_the_balancing_term_is_weighted_and_learnt():
    data = make_data()
    plain, balanced = (nn.Sequential(nn.Flatten(), Balanced()) for _ in range(2))
    balanced.load_state_dict(plain.state_dict())
    fit(plain, data, replace(RECIPE, balance=0.0), seed=0)
    fit(balanced, data, replace(RECIPE, balance=3.0), seed=0)
    assert balanced[1].experts[0].weight.norm() < plain[1].experts[0].weight.norm() / 2


class Late(nn.Module):
    """Its second layer works from the third forward on, as an expert that is chosen late."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.forwards = nn.Linear(16, 3), nn.Linear(16, 3), 0

    def forward(self, x):
        self.forwards += 1
        x = x.flatten(1)
        return self.first(x) + self.second(x) if self.forwards > 2 else self.first(x)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_layer_may_get_its_first_gradient_late(optimizer):
    net = Late()
    before = net.second.weight.clone()
    fit(net, make_data(), replace(RECIPE, optimizer=optimizer, ema=0.0), seed=0)
    assert not torch.equal(before, net.second.weight)


def test_frozen_weights_stay():
    net = make_net()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    fit(net, make_data(), RECIPE, seed=0)
    assert torch.equal(before, net[0].weight)
    with pytest.raises(InputError, match="frozen"):
        fit(net.requires_grad_(False), make_data(), RECIPE, seed=0)


def test_recipes_survive_a_dictionary_and_refuse_what_they_do_not_know():
    assert TrainingRecipe.from_dict(asdict(RECIPE)) == RECIPE
    with pytest.raises(InputError, match="label_smoothing"):
        TrainingRecipe.from_dict({"epochs": 1, "label_smoothin": 0.1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"lr": 0},
        {"lr": float("nan")},
        {"batch_size": 0},
        {"optimizer": "adam"},
        {"border": "edge"},
        {"ema": 1},
    ],
)
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(InputError, match=str(next(iter(wrong)))):
        replace(RECIPE, **wrong)


@pytest.mark.parametrize(("border", "mode"), [("zeros", "constant"), ("reflect", "reflect")])
def test_shifts_equal_crops_of_the_padded_image_and_flips_mirror(border, mode):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(1, 255, (64, 2, 5, 6), dtype=torch.uint8, generator=generator)
    padded = functional.pad(pixels.float(), (2, 2, 2, 2), mode=mode).to(torch.uint8)
    moved = shift_and_flip(pixels, shift_px=2, flip=True, border=border, generator=generator)
    seen = set()
    for image, result in zip(padded, moved, strict=True):
        crops = {
            (y, x, mirrored): (image.flip(2) if mirrored else image)[:, y : y + 5, x : x + 6]
            for y in range(5) for x in range(5) for mirrored in (False, True)
        }  # fmt: skip
        matches = [key for key, crop in crops.items() if torch.equal(crop, result)]
        assert len(matches) == 1
        seen.update(matches)
    assert len(seen) > 30


def test_images_too_small_to_be_mirrored_are_refused():
    pixels = torch.zeros(2, 1, 4, 9, dtype=torch.uint8)
    with pytest.raises(InputError, match="4 x 9 pixels cannot be shifted by 4"):
        shift_and_flip(
            pixels, shift_px=4, flip=False, border="reflect", generator=torch.Generator()
        )


def test_digits_reach_nine_in_ten_with_a_small_network():
    data = load_data("digits", seed=0, image_size=8)
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))
    fit(net, data, TrainingRecipe(epochs=6, batch_size=32, lr=0.02), seed=0)
    assert evaluate(net, data.test).accuracy > 0.9
