"""Searches by a score of the user's own, from end to end."""

import dataclasses
import json
import math
import re
import tomllib

import pandas as pd
import pytest
import torch
from torch import nn
from torch.nn import functional

import dse
import models
from dse import front, search
from dse._steps import _told_by
from dse.results import Run, as_json, first_line, study_of
from dse.results._page import page_data
from dse.study import SearchConfig
from dse.study._stored import check_identity
from energy import report
from luts import InputError
from models import Metric, Score
from models.networks import timm
from tests.dse._metrics import PERPLEXITY, TOP2, MeanDistance, squared_error, top2
from tests.dse._mixtral import tiny_mixtral
from tests.dse._searching import TINY, call, one_cache, only_line  # noqa: F401

QUICK = {
    **{"multipliers": "mul8s_1KV8,mul8s_1L1G,mul8s_1KTY,mul8s_1KR3", "trials": 10},
    **{"finetune_members": 2, "calibration_images": 32, "quiet": True},
}
ERROR = Metric(squared_error, higher_is_better=False)


def regression(seed, count=96):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    return x, torch.stack([x[:, 0] * x[:, 1], x[:, 2:4].sum(1).tanh()], dim=1)


SPLITS = [regression(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def regressor():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    x, y = SPLITS[0]
    for _ in range(200):
        optimiser.zero_grad()
        functional.mse_loss(net(x), y).backward()
        optimiser.step()
    return net.eval()


@pytest.fixture(scope="module")
def found(regressor, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return dse.explore(regressor, SPLITS, out=out, metric=ERROR, seed=1, **QUICK)


def test_every_figure_is_the_metrics(found, regressor):
    x, y = SPLITS[2]
    exact, config = found.closing.exact_test, found.config
    with torch.no_grad():
        wanted = float(squared_error(regressor(x), y).mean())
    assert exact.value == pytest.approx(wanted, rel=0.3)
    assert exact.value == pytest.approx(exact.loss, rel=1e-4)
    assert config.metric == "squared_error" and exact.measure == ERROR.measure
    for trial in found.trials:
        assert trial.objectives[1] == trial.validation.value > 0
    tested = [t for t in found.trials if t.test is not None]
    for trial in tested[:2]:
        with torch.no_grad():  # fine-tuning is none the less
            again = float(squared_error(found.emulated(trial)(x), y).mean())
        assert trial.test.value == pytest.approx(again, rel=1e-4)
        assert trial.test.error > 0


def test_drops_are_in_points_of_the_metric(found):
    exact = found.closing.exact_validation.value
    for drop in (5.0, 30.0, 400.0):
        within = [
            t
            for t in found.trials
            if t.test is not None and t.best_validation.value <= exact * (1 + drop / 100) + 1e-12
        ]
        assert found.best(max_drop=drop).energy_rel == min(t.energy_rel for t in within)
    with pytest.raises(InputError, match=r"loses at most -90 points of squared_error 0\.\d+"):
        found.best(max_drop=-90)
    good = [t for t in found.fixed if t.best_validation.value <= 1.01 * exact]
    assert found.best_fixed == (min(good, key=lambda t: t.energy_rel) if good else None)


def test_its_files_name_the_metric(found, capsys):
    config = tomllib.loads((found.path / "config.toml").read_text())
    assert config["search"]["metric"] == "squared_error"
    trials = pd.read_csv(found.path / "trials.csv")
    wanted = {
        *("validation_squared_error", "validation_loss", "tuned_validation_squared_error"),
        *("tuned_validation_loss", "test_squared_error", "test_loss"),
    }
    assert wanted <= set(trials) and not [c for c in trials if "accuracy" in c or "entropy" in c]
    assert trials["validation_squared_error"].tolist() == [t.validation.value for t in found.trials]
    assert "test_squared_error" in found.table()
    page = (found.path / "front.html").read_text()
    assert "squared_error against energy" in page and "accuracy (%)" not in page
    data = page_data([(found.closing, found.config)])
    assert data["measure"]["up"] is False and data["measure"]["name"] == "squared_error"
    assert data["runs"][0]["exact"]["accuracy"] == found.closing.exact_searched.value
    labels = [axes.get_ylabel() for axes in found.plot().axes]
    assert labels == ["validation squared_error, log scale", "test squared_error"]
    line = first_line(found.closing)
    assert "points of test squared_error" in line and "accura" not in line
    assert "squared_error" in json.loads(as_json(found.closing, "t", found.path))["headline"]
    assert call(front, found.path) == 0
    said = capsys.readouterr().out
    assert "distance to the best squared_error" in said
    assert call(report, "--compare-runs", found.path, "--min-accuracy", 50) == 2
    assert "accuracy" in only_line(capsys.readouterr().err)


def test_a_run_is_read_back_and_goes_on_by_the_same_metric_only(found, regressor):
    again = dse.read_run(found.path)
    assert again.closing.summary() == found.closing.summary()
    trial = next(t for t in found.front if t.test is not None)
    given = {"network": regressor, "data": SPLITS}
    with pytest.raises(InputError, match="by squared_error, not by accuracy: give it as metric="):
        dse.read_run(found.path, **given).emulated(trial)
    whole = dse.read_run(found.path, **given, metric=ERROR).emulated(trial)
    x = SPLITS[2][0]
    assert torch.equal(whole(x), found.emulated(trial)(x))
    words = {"out": found.path, "resume": True, "quiet": True}
    with pytest.raises(InputError, match="by squared_error, not by MeanDistance"):
        dse.explore(regressor, SPLITS, metric=MeanDistance(), **words)
    other = Metric(lambda o, t: (o - t).abs().mean(1), False, name="squared_error")
    with pytest.raises(InputError, match="exact validation squared_error"):
        dse.explore(regressor, SPLITS, metric=other, **words)
    more = dse.explore(regressor, SPLITS, metric=ERROR, trials=12, **words)
    assert [t.validation for t in more.trials[:10]] == [t.validation for t in found.trials]
    assert len(more.trials) == 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"best": -1.0}, "best=0.0), not by squared_error (higher_is_better=False, best=-1.0)"),
        # the best figure itself is the same
        (
            {"higher_is_better": True, "best": 0.0},
            "squared_error (higher_is_better=False, best=0.0), not by squared_error "
            "(higher_is_better=True, best=0.0): give the metric as it was",
        ),
    ],
)
def test_another_measure_under_the_same_name_is_refused(found, regressor, changes, words):
    other = dataclasses.replace(ERROR, **changes)
    before = found.path.joinpath("study.db").read_bytes()
    with pytest.raises(InputError, match=re.escape(words)) as refused:
        dse.explore(regressor, SPLITS, metric=other, out=found.path, resume=True, quiet=True)
    assert "\n" not in str(refused.value)
    trial = next(t for t in found.front if t.test is not None)
    with pytest.raises(InputError, match=re.escape(words)):
        dse.read_run(found.path, network=regressor, data=SPLITS, metric=other).emulated(trial)
    assert found.path.joinpath("study.db").read_bytes() == before


def test_a_study_tells_its_measure_unless_that_is_accuracy(found):
    identity = study_of(Run.open(found.path)).identity
    kept = {"name": "squared_error", "higher_is_better": False, "best": 0.0}
    assert identity["measure"] == kept
    other = {**identity, "measure": {**kept, "best": -1.0}}
    with pytest.raises(
        InputError, match=r"with measure .*'best': 0\.0.* and not .*-1\.0"
    ) as refused:
        check_identity(identity, other, "a study")
    assert "\n" not in str(refused.value)
    check_identity(identity, identity, "a study")
    by_accuracy = _told_by(Score(0.9, 0.34567, 10))
    assert by_accuracy == {"exact validation cross-entropy": 0.3457}


def test_worker_processes_score_by_it(regressor):
    words = QUICK | {"finetune": "none", "trials": 6, "seed": 1}
    alone = dse.explore(regressor, SPLITS, metric=ERROR, **words)
    several = dse.explore(regressor, SPLITS, metric=ERROR, workers=2, **words)
    mine, theirs = (
        {t.assignment.digest: t.validation for t in each.trials if t.origin != "guided"}
        for each in (alone, several)
    )
    assert mine == theirs
    local = Metric(lambda o, t: squared_error(o, t), False, name="local")
    with pytest.raises(InputError, match="local cannot be given to other processes"):
        dse.explore(regressor, SPLITS, metric=local, workers=2, **words)


@pytest.mark.parametrize("finetune", ["every", "promising"])
def test_fine_tuning_goes_by_the_metrics_loss(regressor, finetune):
    words = QUICK | {"finetune": finetune, "trials": 6, "finetune_epochs": 1.0}
    found = dse.explore(regressor, SPLITS, metric=ERROR, **words)
    tuned = [t for t in found.trials if t.tuned_validation is not None]
    assert tuned
    for trial in tuned:
        before = trial.validation if finetune == "promising" else None
        assert before is None or trial.tuned_validation.value <= before.value


def test_a_goal_in_points_of_the_metric(regressor):
    words = QUICK | {"finetune": "none", "objective": "energy", "rung_images": 48}
    found = dse.explore(regressor, SPLITS, metric=ERROR, max_drop=50.0, **words)
    answer = found.closing.trials[found.closing.reported[0]]
    assert answer.whole_validation.value <= 1.5 * found.closing.exact_validation.value + 1e-12
    with pytest.raises(InputError, match=r"reaches the validation squared_error of -?0\.\d+; go"):
        dse.explore(
            regressor,
            SPLITS,
            metric=ERROR,
            max_drop=0.0,
            **(words | {"only": "mul8s_1L1G,mul8s_1KR3"}),
        )


def test_top_2_is_higher_the_better():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, 5, generator=generator), torch.randint(4, (90,), generator=generator)
    x[torch.arange(90), y] += 2
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 4))
    data = models.data_of([(x, y)] * 3)
    models.fit(net, data, models.TrainingRecipe(epochs=6, batch_size=16, lr=1e-2), seed=0)
    found = dse.explore(net, data, metric=TOP2, **QUICK)
    exact = found.closing.exact_validation
    with torch.no_grad():
        assert exact.value == pytest.approx(float(top2(net(x), y).double().mean()), abs=0.03)
    for trial in found.trials:
        assert trial.objectives[1] == pytest.approx(1 - trial.validation.value)
    assert found.best(max_drop=1.0).best_validation.value >= exact.value - 0.01 - 1e-12
    by_name = dse.explore(net, data, metric=dataclasses.replace(TOP2, name="top_two"), **QUICK)
    assert [t.validation.value for t in by_name.trials] == [
        t.validation.value for t in found.trials
    ]
    assert page_data([(found.closing, found.config)])["measure"] == {
        **{"name": "top2", "up": True},
        "near": pytest.approx(0.1),
    }


def test_a_tiny_mixtral_by_perplexity():
    timm()  # makes torchvision importable on a CPU build of torch
    transformers = pytest.importorskip("transformers", minversion="5")
    network = tiny_mixtral(transformers)
    splits = []
    for seed in range(3):
        start = torch.randint(12, (48, 1), generator=torch.Generator().manual_seed(seed))
        counting = (start + torch.arange(7)) % 12
        labels = counting[:, 1:].clone()
        labels[:, 0] = -100  # does not count
        splits.append((counting[:, :-1], labels))
    data = models.data_of(splits)
    recipe = models.TrainingRecipe(epochs=4, batch_size=16, optimizer="adamw", lr=1e-2)
    models.fit(network, data, recipe, seed=0)
    found = dse.explore(network, data, metric=PERPLEXITY, finetune_epochs=2.0, **QUICK)
    by_default = dse.explore(network, data, **(QUICK | {"trials": 1}))
    wanted = math.exp(by_default.closing.exact_test.cross_entropy)
    assert found.closing.exact_test.value == pytest.approx(wanted, rel=1e-5)
    assert found.closing.exact_test.value < 12
    for trial in found.trials:
        assert trial.validation.value == pytest.approx(math.exp(trial.validation.loss), rel=1e-5)
        assert trial.objectives[1] == trial.validation.value - 1
    tested = next(t for t in found.front if t.test is not None)
    again = models.evaluate(found.emulated(tested), data.test, metric=PERPLEXITY)
    assert again.value == pytest.approx(tested.test.value, rel=1e-4)
    assert any(".experts." in site for site in tested.assignment.choices)


def test_metrics_are_refused_before_work(regressor, tmp_path, capsys):
    out = tmp_path / "never"
    for metric, words in (
        (None, "targets are real numbers, which accuracy does not score"),
        (squared_error, "squared_error does not say which way is better"),
        (PERPLEXITY, "the metric perplexity fails on outputs and targets"),
    ):
        with pytest.raises(InputError, match=words) as refused:
            dse.explore(regressor, SPLITS, metric=metric, out=out, **QUICK)
        assert "\n" not in str(refused.value)
    assert not out.exists()
    hopeless = Metric(lambda o, t: torch.full((len(t),), math.nan), True, name="hopeless")
    with pytest.raises(InputError, match="hopeless of the exact int8 network is nan"):
        dse.explore(regressor, SPLITS, metric=hopeless, **QUICK)
    with pytest.raises(InputError, match="is for networks in memory"):
        SearchConfig(metric="top2")
    assert call(search, "--arch", TINY, "--metric", "top2") == 2
    assert "--metric" in capsys.readouterr().err
