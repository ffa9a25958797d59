"""Score functions of a user's own, and scores by them."""

import json
import math
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

import models
from luts import InputError
from models import Measure, Metric, Score
from models.training import ACCURACY, check_pickles, default_loss, metric_of
from tests.dse._metrics import (
    PERPLEXITY,
    TOP2,
    MeanDistance,
    squared_error,
    token_loss,
    top2,
)


def classes(count=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 6, generator=generator), torch.randint(
        4, (count,), generator=generator
    )


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Linear(6, 4)


def split_of(x, y):
    return models.data_of({key: (x, y) for key in ("train", "validation", "test")}).test


def test_a_mean_of_one_figure_an_input_over_uneven_batches(network):
    x, y = classes()
    score = models.evaluate(network, split_of(x, y), batch_size=16, metric=TOP2)
    with torch.no_grad():
        right = top2(network(x), y).double()
        loss = functional.cross_entropy(network(x), y)
    assert score.value == pytest.approx(float(right.mean()))
    assert score.error == pytest.approx(float(right.std(unbiased=False)) / math.sqrt(50))
    assert score.loss == pytest.approx(float(loss), rel=1e-5)
    assert (score.images, score.measure) == (50, Measure("top2", True, 1.0))


def test_a_single_number_is_the_mean_of_its_batch(network):
    x, y = classes()
    mean = Metric(lambda o, t: float(top2(o, t).float().mean()), True, name="mean")
    score = models.evaluate(network, split_of(x, y), batch_size=16, metric=mean)
    whole = models.evaluate(network, split_of(x, y), metric=TOP2)
    assert score.value == pytest.approx(whole.value) and score.error is None


def test_an_object_that_sees_the_whole_split_is_not_changed():
    x, _ = classes()
    y = x[:, :2] + 0.5
    split = split_of(x, y)
    own = MeanDistance()
    own.total = 7.0
    torch.manual_seed(1)
    net = nn.Linear(6, 2)
    score = models.evaluate(net, split, batch_size=16, metric=metric_of(own))
    with torch.no_grad():
        assert score.value == pytest.approx(float((net(x) - y).abs().mean()), rel=1e-5)
        assert score.loss == pytest.approx(float(functional.mse_loss(net(x), y)), rel=1e-5)
    assert own.total == 7.0 and score.measure == Measure("MeanDistance", False, 0.0)


def test_perplexity_counts_what_counts():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Embedding(9, 5), nn.Linear(5, 9))
    ids, labels = torch.randint(9, (12, 7)), torch.randint(9, (12, 7))
    labels[3:, 4:] = -100
    score = models.evaluate(net, split_of(ids, labels), batch_size=5, metric=PERPLEXITY)
    with torch.no_grad():
        each = token_loss(net(ids), labels)
    assert score.value == pytest.approx(float(each.mean().exp()), rel=1e-5)
    assert score.loss == pytest.approx(float(each.mean()), rel=1e-5)
    # The error of an exponential is its slope times that of the mean.
    spread = float(each.std(unbiased=False)) / math.sqrt(len(each)) * score.value
    assert score.error == pytest.approx(spread, rel=0.01)
    overflowing = Metric(lambda o, t: torch.full((len(t),), 1e4), False, "huge", finish=math.exp)
    assert models.evaluate(net, split_of(ids, labels), metric=overflowing).value == math.inf


def test_scores_know_which_way_is_better():
    good, bad = Score(2.0, 0.7, 10, PERPLEXITY.measure), Score(3.0, 0.7, 10, PERPLEXITY.measure)
    assert good.quality > bad.quality and good.shortfall == 1.0
    assert good.quality_less(100) == -3.0  # twice as far from the best one, 1
    assert bad.points_above(good, good) == pytest.approx(-100)
    accurate, other = Score(0.9, 0.3, 10), Score(0.85, 0.2, 10)
    assert accurate.quality_less(5) == 0.9 - 0.05
    assert accurate.points_above(other, other) == 100 * (0.9 - 0.85)
    percent = Measure("share", True, 100.0)
    assert Score(93.0, 0.1, 10, percent).quality_less(2) == 91.0
    assert Score(0.0, 0.1, 10, Measure("error", False, 0.0)).quality_less(1) == -0.01
    assert (good.shown(1), accurate.shown(1)) == ("perplexity 2", "90.0 %")


@pytest.mark.parametrize(
    "score", [Score(0.5, 1.2, 7), Score(2.5, 0.9, 7, PERPLEXITY.measure, 0.1), Score(2.0, 0.0, 1)]
)
def test_scores_are_written_and_read(score):
    kept = json.loads(json.dumps(score.to_dict()))
    assert Score.from_dict(kept) == score
    assert (set(kept) == {"accuracy", "cross_entropy", "images"}) == (score.measure == ACCURACY)


def test_another_measure_is_never_taken_for_accuracy():
    score = Score(2.5, 0.9, 7, PERPLEXITY.measure)
    for name in ("accuracy", "cross_entropy"):
        with pytest.raises(InputError, match="this score is of perplexity"):
            getattr(score, name)


def test_fine_tuning_keeps_what_the_metric_calls_better():
    from models.training.recovery._fine_tune import is_better

    def by(value, loss, images=500):
        return Score(value, loss, images, PERPLEXITY.measure)

    assert is_better(by(2.0, 0.9), by(2.1, 0.8))
    assert not is_better(by(2.1, 0.8), by(2.0, 0.9))
    assert is_better(by(2.0, 0.8), by(2.0, 0.9)) and not is_better(by(2.0, 0.9), by(2.0, 0.9))
    assert not is_better(by(1.0, math.nan), by(2.0, 0.9))
    assert not is_better(by(math.nan, 0.1), by(2.0, 0.9))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Metric(3, True), "is a function of outputs and targets"),
        (lambda: Metric(top2), "does not say which way is better"),
        (lambda: Metric(lambda o, t: t, True), "name is letters, digits and _.*'<lambda>'"),
        (lambda: Metric(top2, True, name="accuracy"), "none of accuracy"),
        (lambda: Metric(top2, True, name="a,b"), "letters, digits and _"),
        (lambda: Metric(top2, True, best=math.inf), "best top2 is a finite number"),
        (lambda: Metric(MeanDistance(), finish=math.exp), "leave finish out"),
    ],
)
def test_metrics_that_are_none_are_refused(made, words):
    with pytest.raises(InputError, match=words):
        made()


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (
            Metric(lambda o, t: o[:, 9], True, "far"),
            "the metric far fails on outputs .* IndexError",
        ),
        (Metric(lambda o, t: "good", True, "word"), "the metric word returns numbers"),
        (Metric(lambda o, t: torch.full((16,), 7.0), True, "seven"), "seven is 7, beyond the best"),
        (
            Metric(lambda o, t: -(o[:, 0] ** 2), False, "less"),
            "less is .* beyond the best value of 0",
        ),
        (Metric(top2, True, loss=lambda o, t: o), "a tensor of one number"),
        (Metric(top2, True, loss=lambda o, t: o.detach().mean()), "has no gradient"),
        (Metric(top2, True, loss=lambda o, t: 1 / 0), "the loss of top2 fails .* ZeroDivision"),
        (Metric(lambda o, t: torch.zeros(0), True, "nothing"), "nothing of this split counts"),
    ],
)
def test_metrics_that_do_not_fit_are_refused_before_work(network, metric, words):
    data = models.data_of([classes()] * 3)
    with pytest.raises(InputError, match=words) as refused:
        models.check_metric(network, data, metric)
    assert "\n" not in str(refused.value)


def test_a_metric_that_fails_leaves_the_network_as_it_was(network):
    failing = Metric(lambda o, t: o[:, 9], True, "far")
    network.train()
    with pytest.raises(InputError, match="far fails"):
        models.evaluate(network, split_of(*classes()), metric=failing)
    assert network.training and torch.is_grad_enabled()


def test_real_valued_targets_take_a_metric(network):
    x, _ = classes()
    data = models.data_of([(x, x[:, :4])] * 3)
    assert data.num_classes == 0 and data.test.labels.dtype == torch.float32
    with pytest.raises(InputError, match="real numbers, which accuracy does not score: give"):
        models.check_classifier(network, data)
    with pytest.raises(InputError, match="real numbers"):
        models.evaluate(network, data.test)
    models.check_metric(network, data, Metric(squared_error, False))
    with pytest.raises(InputError, match="of one kind"):
        models.data_of([(x, x[:, :4]), classes(), classes()])
    with pytest.raises(InputError, match="finite"):
        models.data_of([(x, x[:, :4] / 0)] * 3)
    for outputs, targets in (((5, 4), (5, 4)), ((5,), (5,)), ((5, 1), (5,))):
        with pytest.raises(InputError, match="have no cross-entropy: give the metric a loss"):
            default_loss(torch.zeros(outputs), torch.ones(targets, dtype=torch.int64))
    with pytest.raises(InputError, match="have no squared error"):
        default_loss(torch.zeros(5, 1), torch.zeros(5))


def test_recovery_is_scored_and_tuned_by_the_metric():
    x, _ = classes(64)
    torch.manual_seed(0)
    true = nn.Sequential(nn.Linear(6, 2))
    with torch.no_grad():
        data = models.data_of([(x, true(x))] * 3)
    metric = Metric(squared_error, False)
    training = models.TrainingRecipe(epochs=3, batch_size=16, optimizer="adamw", lr=1e-3)
    recipe = models.Recovery(images=32, correct_bias=True, fine_tuning=models.FineTuning(training))
    emulated = models.emulate(true, "mul8s_1L1G", calibration=[x])
    found = models.recover(emulated, recipe, data, seed=0, score_steps=True, metric=metric)
    before, after = found.steps[0].before, found.steps[-1].after
    assert after.value < before.value and after.measure.name == "squared_error"
    assert found.to_dicts()[0]["before"]["value"] == before.value
    assert after.value == models.evaluate(emulated, data.validation, metric=metric).value
    distilled = models.FineTuning(training, distillation=0.5)
    with pytest.raises(InputError, match="distillation compares classes"):
        models.recover(
            emulated,
            models.Recovery(images=32, fine_tuning=distilled),
            data,
            seed=0,
            metric=metric,
        )


def test_what_other_processes_cannot_be_given_is_refused():
    check_pickles(TOP2)
    assert pickle.loads(pickle.dumps(PERPLEXITY)).measure == PERPLEXITY.measure
    with pytest.raises(InputError, match="the metric local cannot be given to other processes"):
        check_pickles(Metric(lambda o, t: t, True, name="local"))
