"""What members of a front route themselves, beside the exact network's routing."""

import shutil

import numpy as np
import pandas as pd
import pytest

import energy
from dse import search
from dse.results import Run
from energy import report
from models import Assignment
from tests.dse._searching import call, only_line, trials_of


def test_front_members_have_their_own_routing(runs_folder, untouched):
    run = Run.open(runs_folder / "traffic")
    trials = trials_of(run.path).set_index("trial")
    column = trials["energy_rel_own_routing"]
    measured = trials[column.notna()]
    assert measured["reported"].sum() == trials["reported"].sum() > 0
    assert set(measured.index) == set(trials[trials["test_accuracy_pct"].notna()].index)
    files = {int(p.stem) for p in (run.path / "routing").iterdir()}
    assert files == set(measured[measured["on_front"]].index)
    workload = energy.Workload.of(energy.network_of_run(run.path))
    for number in files:
        own = energy.read_routing(run.own_routing_path(number))
        assert f"trial {number}" in own.source
        assert all(sum(rates) == pytest.approx(1) for rates in own.rates.values())
        assignment = Assignment.read(run.path / f"assignments/{number:03d}.json")
        cost = energy.cost(workload.under(own), assignment, model="memory")
        assert column[number] == pytest.approx(cost.energy_rel)
    assert "energy_rel_own_routing" in pd.read_csv(run.path / "front.csv")


def test_dense_networks_have_none(runs_folder, untouched):
    assert not (runs_folder / "plain/routing").exists()
    assert not (runs_folder / "plain/routing_inputs.json").exists()
    assert "energy_rel_own_routing" not in trials_of(runs_folder / "plain")


def test_a_close_that_is_resumed_measures_nothing_again(runs_folder, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs_folder / "routed", run)
    expected = {p.name: p.read_text() for p in (run / "routing").iterdir()}
    shutil.rmtree(run / "routing")
    monkeypatch.setattr("dse.results._closing.measure_own", lambda *words: 1 / 0)
    assert call(search, "--resume", run) == 0
    assert "own routing" in capsys.readouterr().out
    assert {p.name: p.read_text() for p in (run / "routing").iterdir()} == expected
    pd.testing.assert_frame_equal(trials_of(run), trials_of(runs_folder / "routed"))


def test_single_inputs_have_the_mean_of_their_batch(runs_folder, untouched):
    per_input = energy.read_per_input(runs_folder / "routed/routing_inputs.json")
    assert len(per_input) == 64
    for layer, rates in Run.open(runs_folder / "routed").routing().rates.items():
        mean = np.mean([one.rates[layer] for one in per_input], axis=0)
        assert mean == pytest.approx(np.array(rates), abs=0.1)  # a quarter of the images


def test_the_energy_report_reads_all_of_a_run(runs_folder, tmp_path, capsys, untouched):
    run = runs_folder / "routed"
    own = min((run / "routing").iterdir())
    words = ("--run", run, "--assignment", run / "assignments" / own.name, "--routing", own)
    assert call(report, *words, "--spread", "--csv", tmp_path / "a.csv") == 0
    printed = capsys.readouterr().out
    assert "spread over 64 inputs" in printed
    assert f"routing: network of trial {int(own.stem)}" in printed
    column = trials_of(run).set_index("trial")["energy_rel_own_routing"]
    total = pd.read_csv(tmp_path / "a.csv")["energy_rel"].sum()
    assert total == pytest.approx(column[int(own.stem)])
    assert call(report, "--run", runs_folder / "plain", "--spread") == 2
    assert "is dense" in only_line(capsys.readouterr().err)
    assert call(report, "--compare-runs", run, runs_folder / "plain", "--min-accuracy", 5) == 0
