"""Searches that end in one answer, and searches by several processes, end to end."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dse import search
from models import Assignment
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, call

REPOSITORY = Path(__file__).resolve().parents[2]
DENSE = (*FAST, "--topology", "dense", "--train-epochs", 12, "--trials", 8)
SCORED = ["trial", "origin", "energy_rel", "validation_accuracy_pct", "assignment_sha256"]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """All searches of this module share one trained network."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


def answer_of(path):
    """The trials of a run, and the one that it answers with."""
    trials = pd.read_csv(path / "trials.csv")
    (answer,) = trials[trials["reported"]].to_dict("records")
    assert pd.notna(answer["test_accuracy_pct"])
    return trials, answer


@pytest.fixture(scope="module")
def accurate(cache, tmp_path_factory):
    """A search for the best score within an energy."""
    out = tmp_path_factory.mktemp("runs") / "accurate"
    assert call(search, *DENSE, "--objective", "accuracy", "--max-energy", 0.8, "--out", out) == 0
    return out


def test_the_best_score_within_an_energy(accurate):
    trials, answer = answer_of(accurate)
    assert answer["energy_rel"] <= 0.8
    within = trials[trials["energy_rel"] <= 0.8]
    assert 1 < len(within) < len(trials)  # fixed multipliers are the baseline even above it
    assert answer["validation_cross_entropy"] == within["validation_cross_entropy"].min()
    assert answer["validation_cross_entropy"] > trials["validation_cross_entropy"].min()
    proposed = trials[trials["origin"] != "uniform"]
    assert (proposed["energy_rel"] <= 0.8).all()


def test_the_least_energy_within_a_drop(tmp_path):
    out = tmp_path / "frugal"
    assert call(search, *DENSE, "--objective", "energy", "--max-drop", 1.0, "--out", out) == 0
    trials, answer = answer_of(out)
    exact = trials["validation_accuracy_pct"][0]  # trial 0 has the exact multiplier everywhere
    assert answer["validation_accuracy_pct"] >= exact - 1.0
    enough = trials[trials["validation_accuracy_pct"] >= exact - 1.0]
    assert 1 < len(enough) < len(trials)
    assert answer["energy_rel"] == enough["energy_rel"].min() < 1
    kept = Assignment.read(out / f"assignments/{answer['trial']:03d}.json")
    assert kept.digest == answer["assignment_sha256"]


@pytest.mark.slow
def test_two_processes_find_what_one_does(accurate, cache, tmp_path):
    """In a process of its own, since workers inherit the environment of the first one's server."""
    goal = ("--objective", "accuracy", "--max-energy", "0.8", "--workers", "2")
    words = [*map(str, DENSE), *goal, "--out", str(tmp_path / "two")]
    subprocess.run(
        [sys.executable, "-m", "dse.search", *words],
        env={**os.environ, CACHE_VARIABLE: str(cache)},
        cwd=REPOSITORY,
        check=True,
        timeout=200,
    )
    one, two = (pd.read_csv(path / "trials.csv") for path in (accurate, tmp_path / "two"))
    queued = one["origin"].isin(["uniform", "screening"])
    assert queued.sum() > 4
    pd.testing.assert_frame_equal(two[queued][SCORED], one[queued][SCORED])
    assert two["trial"].tolist() == one["trial"].tolist()
