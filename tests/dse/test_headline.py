"""The answer of a search in one line, and for scripts."""

import dataclasses
import json

import pytest

from dse import search as command
from dse.results import as_json, first_line, headline_of
from models import Score
from models.training._files import CACHE_VARIABLE
from tests.dse._searching import FAST, call
from tests.dse.test_page import search


def closing_of(accuracies, fixed=0.9, *, best_fixed=3, test_points=0.0):
    """Members of rising energy with these validation accuracies beside a fixed multiplier's.

    On test images all members, but not the multiplier, have so many points more.
    """
    closing, _ = search()
    trials = dict(closing.trials)
    members = [13 + at for at in range(len(accuracies))]
    for at, (number, accuracy) in enumerate(zip(members, accuracies, strict=True)):
        trials[number] = dataclasses.replace(
            trials[number],
            energy_rel=0.2 + at / 10,
            tuned_validation=Score(accuracy, 0.4, 1000),
            test=Score(accuracy + test_points / 100, 0.4, 2000),
        )
    trials[3] = dataclasses.replace(
        trials[3],
        energy_rel=0.8,
        tuned_validation=Score(fixed, 0.4, 1000),
        test=Score(fixed, 0.4, 2000),
    )
    return dataclasses.replace(
        closing, trials=trials, reported=tuple(members), best_fixed=best_fixed
    )


def test_the_cheapest_member_that_is_no_less_accurate_is_the_answer():
    closing = closing_of([0.85, 0.905, 0.93])
    found = headline_of(closing)
    assert (found.member, found.best_fixed) == (14, 3)
    assert found.energy_ratio == pytest.approx(0.3 / 0.8)
    assert found.accuracy_points == pytest.approx(0.5)
    # Two binomial errors, as if drawn apart.
    apart = 100 * ((0.905 * 0.095 + 0.9 * 0.1) / 2000) ** 0.5
    assert found.error_points == pytest.approx(apart, rel=0.01)
    line = first_line(closing)
    assert line.startswith("0.38 × the energy of the best fixed multiplier, mul8s_")
    assert "+0.50 ± 0.94 points" in line


def test_test_images_choose_nothing():
    """The cheapest would be good enough by them, the chosen one is not."""
    better = closing_of([0.85, 0.905, 0.93], test_points=6.0)
    assert headline_of(better).member == 14
    worse = closing_of([0.85, 0.905, 0.93], test_points=-3.0)
    found = headline_of(worse)
    assert found.member == 14 and found.validation_points == pytest.approx(0.5)
    assert "at no lower validation accuracy: -2.50 ±" in first_line(worse)


def test_where_none_is_as_accurate_the_line_says_so():
    closing = closing_of([0.85, 0.88])
    assert headline_of(closing).member == 14
    line = first_line(closing)
    assert "-2.00 ±" in line and "most accurate member, 2.00 points below it" in line


def test_without_an_acceptable_fixed_multiplier_the_exact_network_is_the_other():
    closing = closing_of([0.85, 0.95], best_fixed=None)
    found = headline_of(closing)
    assert (found.member, found.best_fixed) == (14, None)
    assert found.energy_ratio == pytest.approx(0.3)
    assert first_line(closing).startswith("no fixed multiplier is within a point")


def test_json_holds_the_line_and_the_table(tmp_path):
    closing = closing_of([0.905])
    record = json.loads(as_json(closing, "a search", tmp_path))
    assert record["headline"] == first_line(closing) and record["member"] == 13
    assert record["rows"][0]["what"] == "exact int8" and record["rows"][0]["energy_rel"] is None
    assert record["files"]["front"] == str(tmp_path / "front.csv")


def test_a_script_reads_nothing_but_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    out = tmp_path / "run"
    words = [word for word in FAST if word != "--quiet"]
    assert call(command, *words, "--topology", "dense", "--trials", 6, "--json", "--out", out) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["search"].endswith("seed 0") and (out / "front.csv").samefile(
        record["files"]["front"]
    )
