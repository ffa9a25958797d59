"""Kept scores: found again under the same making alone, and never in the way."""

import pytest
from torch import nn

from dse.scoring import Evaluator, ScoreCache
from models import Assignment, Data
from models.training._files import CACHE_VARIABLE
from tests.dse.test_evaluate import network, split


def test_what_was_put_is_found_under_the_same_making_only(tmp_path):
    cache = ScoreCache({"weights": 1}, path=tmp_path / "deep" / "scores.db")
    assert cache.get("10-a") is None
    cache.put("10-a", {"score": 0.5})
    again = ScoreCache({"weights": 1}, path=tmp_path / "deep" / "scores.db")
    assert again.get("10-a") == {"score": 0.5}
    assert again.get("20-a") is None
    other = ScoreCache({"weights": 2}, path=tmp_path / "deep" / "scores.db")
    assert other.get("10-a") is None


def test_what_is_remembered_is_computed_once_for_what_decides_it(tmp_path):
    cache, made = ScoreCache({}, path=tmp_path / "scores.db"), []

    def compute():
        made.append(len(made))
        return {"made": made[-1]}

    assert cache.remember("closing", {"seed": 0, "images": "ab"}, compute) == {"made": 0}
    assert cache.remember("closing", {"images": "ab", "seed": 0}, compute) == {"made": 0}
    assert cache.remember("closing", {"seed": 1, "images": "ab"}, compute) == {"made": 1}
    assert cache.remember("screening", {"seed": 0, "images": "ab"}, compute) == {"made": 2}


def test_a_file_that_cannot_be_used_is_as_good_as_none(tmp_path):
    path = tmp_path / "scores.db"
    path.write_text("this is no database, " * 100)
    cache = ScoreCache({}, path=path)
    cache.put("10-a", {})
    assert cache.get("10-a") is None
    assert cache.remember("closing", {}, lambda: {"made": 1}) == {"made": 1}
    assert path.read_text().startswith("this is no database")


def test_an_evaluator_finds_what_another_has_scored(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    data = Data("bright", split(128, 0), split(96, 1), split(64, 2), num_classes=2)
    net = network(batchnorm=False)

    def evaluator():
        return Evaluator(net, data, calibration_images=64, cached=True)

    first = evaluator()
    chosen = Assignment.uniform(first.emulated.sites, "mul8s_1L2H")
    measured = first.score(chosen)
    second = evaluator()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second, "under", None)  # computing it again would call this
        assert second.score(chosen) == measured
    fewer = second.score(chosen, images=50)
    assert fewer.validation.images == 50
    net[0].weight.data.mul_(-1)
    assert evaluator().score(chosen).validation != measured.validation


def test_the_same_weights_in_another_network_are_scored_anew(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    data = Data("bright", split(128, 0), split(96, 1), split(64, 2), num_classes=2)
    first, second = network(batchnorm=False), network(batchnorm=False)
    second[1] = nn.LeakyReLU(0.5)
    assert first.state_dict().keys() == second.state_dict().keys()
    scores = []
    for net in (first, second):
        evaluator = Evaluator(net, data, calibration_images=64, cached=True)
        chosen = Assignment.uniform(evaluator.emulated.sites, "mul8s_1L2H")
        scores.append(evaluator.score(chosen).validation)
        alone = Evaluator(net, data, calibration_images=64)
        assert scores[-1] == alone.score(chosen).validation
    assert scores[0] != scores[1]
