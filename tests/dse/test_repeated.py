"""A search that was made before: what the cache has of it, and what it cannot have."""

import pytest
import torch
from torch import nn

import dse
from dse.scoring import Evaluator
from tests.dse._searching import one_cache  # noqa: F401
from tests.dse.test_explore import QUICK, SPLITS, trained


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return trained(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)))


@pytest.fixture
def tuned(network, monkeypatch):
    """Settings of a search that fine-tunes, of an architecture that counts as one by name."""
    monkeypatch.setattr("dse.results._closing.ARCHITECTURES", ["memory:Sequential"])
    return {**QUICK, "finetune": "front", "finetune_epochs": 1.0, "finetune_members": 2}


def scores_of(result):
    return [(t.number, t.tuned_validation, t.test) for t in result.trials]


def test_a_search_that_was_made_before_computes_nothing_again(network, tuned, monkeypatch):
    first = dse.explore(network, SPLITS, seed=5, **tuned)
    assert first.config.arch == "memory:Sequential"
    assert any(trial.tuned_validation is not None for trial in first.trials)
    for name in ("fine_tune", "under", "recovered"):
        monkeypatch.setattr(Evaluator, name, None)
    monkeypatch.setattr("dse.scoring._evaluate.screen", None)
    assert scores_of(dse.explore(network, SPLITS, seed=5, **tuned)) == scores_of(first)
    with pytest.raises(TypeError, match="NoneType"):
        dse.explore(network, SPLITS, seed=6, **tuned)


def test_how_a_network_of_ones_own_trains_is_not_known_so_that_it_is_tuned_again(
    network, tuned, monkeypatch
):
    monkeypatch.undo()
    first = dse.explore(network, SPLITS, seed=5, **tuned)
    calls, fine_tune = [], Evaluator.fine_tune
    monkeypatch.setattr(
        Evaluator, "fine_tune", lambda *a, **k: calls.append(a) or fine_tune(*a, **k)
    )
    again = dse.explore(network, SPLITS, seed=5, **tuned)
    assert len(calls) == sum(trial.tuned_validation is not None for trial in first.trials) > 0
    assert scores_of(again) == scores_of(first)
