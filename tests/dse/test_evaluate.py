"""How a search recovers its candidates."""

import dataclasses

import pytest
import torch
from torch import nn

import luts
import models
from dse.scoring import Evaluator, default_recovery
from luts import InputError
from models import Assignment, Data, FineTuning, Recovery, Split, TrainingRecipe
from models.emulation import best_scales, code_histograms, tune_layer_


def split(count, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(2, (count,), generator=generator)
    images = torch.rand(count, 1, 5, 5, generator=generator) + 0.3 * labels.view(-1, 1, 1, 1)
    return Split(images, labels)


@pytest.fixture(scope="module")
def data():
    return Data("bright", split(128, 0), split(96, 1), split(64, 2), num_classes=2)


def network(*, batchnorm):
    torch.manual_seed(0)
    middle = [nn.BatchNorm2d(4)] if batchnorm else []
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), *middle, nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)
    ).eval()


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "batchnorm"])
def evaluator(request, data):
    net = network(batchnorm=request.param)
    recipe = TrainingRecipe(epochs=4, batch_size=32, optimizer="adamw", lr=5e-3)
    models.fit(net, data, recipe, seed=0)
    return Evaluator(net, data, calibration_images=64)


def fixed(evaluator, name):
    return Assignment.uniform(evaluator.emulated.sites, name)


def test_default_recovery_follows_the_network(evaluator):
    has_batchnorm = len(evaluator.emulated.network) == 5
    step = "recalibrated" if has_batchnorm else "bias-corrected"
    assert evaluator.fidelity == f"{step}, rescaled and code-tuned"
    assert evaluator.recovery == dataclasses.replace(
        default_recovery(evaluator.emulated.network, evaluator.data.name), fine_tuning=None
    )


def test_scores_do_not_depend_on_what_was_scored_before(evaluator):
    aggressive, mild = fixed(evaluator, "mul8s_1KR3"), fixed(evaluator, "mul8s_1L2D")
    first = evaluator.score(mild).validation
    evaluator.score(aggressive)
    again = models.evaluate(evaluator.recovered(mild), evaluator.data.validation)
    assert again == first
    exact = evaluator.test_exact()
    with evaluator.under(aggressive) as emulated:
        assert evaluator.test(emulated) != exact
    assert evaluator.test_exact() == exact
    assert evaluator.exact_validation.images == 96


def test_the_same_assignment_is_recovered_once(evaluator, data, monkeypatch):
    assignment = fixed(evaluator, "mul8s_1L1G")
    first = evaluator.recovered(assignment)
    evaluator.recovered(fixed(evaluator, "mul8s_1KR3"))
    monkeypatch.setattr("models.training.recovery._reference.correct_bias_", None)
    monkeypatch.setattr("models.training.recovery._reference.recalibrate_", None)
    again = evaluator.recovered(assignment)
    kept, put_back = first.state_dict(), again.state_dict()
    assert kept.keys() == put_back.keys()
    assert all(torch.equal(kept[key], put_back[key]) for key in kept)
    assert torch.equal(first(data.test.images), again(data.test.images))
    with pytest.raises(TypeError):
        evaluator.recovered(fixed(evaluator, "mul8s_1L2H"))


def test_plain_networks_get_scales_tuned_codes_and_bias_correction(data):
    evaluator = Evaluator(network(batchnorm=False), data, calibration_images=64)
    emulated = evaluator.recovered(fixed(evaluator, "mul8s_1KR3"))
    by_hand = models.emulate(
        network(batchnorm=False), luts.EXACT, calibration=data.train.take(64).batches(256)
    )
    images = data.train.take(64).images
    means = models.channel_means(by_hand, images)
    histograms = code_histograms(by_hand, images)
    by_hand.assign_("mul8s_1KR3")
    for site in by_hand.sites:
        layer = by_hand.layer(site.name)
        how = {"fan_in": site.fan_in, "weights": False, "corrected": True, "tunes": True}
        best_scales(layer, layer.arithmetic, histograms[site.name], **how).apply_(layer)
        tune_layer_(layer, histograms[site.name][0])
    models.correct_bias_(by_hand, images, means)
    assert torch.equal(emulated(data.test.images), by_hand(data.test.images))


def test_fine_tuning_never_scores_worse(evaluator):
    assignment = fixed(evaluator, "mul8s_1KR3")
    before = evaluator.score(assignment).validation
    tuned = evaluator.fine_tune(assignment, epochs=2.0, seed=0)
    assert tuned.validation.accuracy >= before.accuracy
    assert tuned.validation == models.evaluate(tuned.network, evaluator.data.validation)
    assert tuned.note.startswith("fine-tun")


def test_diverging_fine_tuning_is_noted(data):
    wild = TrainingRecipe(epochs=1, batch_size=8, optimizer="sgd", lr=1e4, schedule="constant")
    evaluator = Evaluator(
        network(batchnorm=False),
        data,
        calibration_images=64,
        recovery=Recovery(recalibrate=False, fine_tuning=FineTuning(wild)),
    )
    assignment = fixed(evaluator, "mul8s_1L1G")
    before = evaluator.score(assignment).validation
    tuned = evaluator.fine_tune(assignment, epochs=8.0, seed=0)
    assert tuned.validation == before
    assert "stopped" in tuned.note


def test_the_search_chooses_operand_orders(data):
    with pytest.raises(InputError, match="a search chooses the operand order itself"):
        Evaluator(
            network(batchnorm=False),
            data,
            calibration_images=64,
            recovery=Recovery(operand_order="choose"),
        )
