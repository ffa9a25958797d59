"""Searches over hundreds of circuits: what is left out, what is reported."""

import re

import numpy as np
import optuna
import pytest
import torch
from torch import nn

import dse
import luts
from dse.samplers import ASSIGNMENT
from dse.scoring import is_plain_narrow
from luts.circuits import members

SETTINGS = {"multipliers": "mul8s+arrays", "seed": 1, "finetune": "none", "finetune_members": 2}


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
    x = torch.randn(400, 12)
    y = (x @ torch.randn(12, 3)).argmax(1)
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(x[:200]), y[:200]).backward()
        optimiser.step()
    parts = {"train": slice(0, 200), "validation": slice(200, 300), "test": slice(300, 400)}
    return network, {name: (x[part], y[part]) for name, part in parts.items()}


@pytest.fixture(scope="module")
def searched(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    return dse.explore(*trained, out=out, trials=34, **SETTINGS, quiet=True), out


def attributes(out):
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{out}/study.db")
    return study.user_attrs, study.get_trials(deepcopy=False)


def test_dominated_choices_are_left_out(searched):
    known, trials = attributes(searched[1])
    lists, choices = known["offer"], known["identity"]["space"]["choices"]
    assert len(choices) > 140
    assert all(2 <= len(codes) < len(choices) / 2 for codes in lists)
    exact = next(i for i, (name, *_) in enumerate(choices) if name == luts.EXACT)
    assert all(exact in codes for codes in lists)
    proposed = [t.user_attrs[ASSIGNMENT] for t in trials]
    for record in (p for p in proposed if p["origin"] != "uniform"):
        assert all(code in codes for code, codes in zip(record["codes"], lists, strict=True))
    assert {p["origin"] for p in proposed} == {"uniform", "screening", "guided"}
    assert np.isfinite(known["screening"]).all()
    text = (searched[1] / "config.toml").read_text()
    assert re.search(rf"\[choices\]\nall = {len(choices)}\nleast = \d+", text)


def test_the_published_and_few_arrays_are_tried_as_fixed_multipliers(searched):
    result, _ = searched
    names = [next(iter(t.assignment.choices.values())).multiplier for t in result.fixed]
    assert set(luts.catalog.names("mul8s")) <= set(names)
    assert 1 <= len(names) - 13 <= 8
    uniform = [t for t in result.trials if t.origin == "uniform"]
    assert len(uniform) <= 13 + 8


def test_the_closing_table_has_the_best_of_each_kind(searched):
    result, out = searched
    closing = result.closing
    kinds = {
        "best_fixed": lambda name: luts.catalog[name].figures_from == "published",
        "best_array": lambda name: luts.catalog[name].sha256 in SHA256,
        "best_narrow": lambda name: is_plain_narrow(luts.catalog[name].sha256),
    }
    least = closing.exact_validation.accuracy - 0.01
    for field, belongs in kinds.items():
        among = [
            trial
            for trial in result.fixed
            if belongs(next(iter(trial.assignment.choices.values())).multiplier)
            and trial.best_validation.accuracy >= least
        ]
        assert getattr(closing, field) == min(among, key=lambda t: t.energy_rel).number
    table = result.table()
    assert any(what.startswith("best fixed") for what in table["what"])
    origins = table.set_index("what")["figures"].dropna()
    assert origins["fixed mul8s_1KVA"] == "published"
    assert any(re.fullmatch(r"estimated ±\d+\.\d %", origin) for origin in origins)
    assert dse.read_run(out).closing.best_narrow == closing.best_narrow
    assert "estimated ±" in (out / "front.csv").read_text()


SHA256 = {member.sha256 for member in members().values()}


def test_a_resumed_search_offers_the_same(trained, searched, tmp_path):
    out = tmp_path / "run"
    dse.explore(*trained, out=out, trials=20, **SETTINGS, quiet=True)
    before = attributes(out)[0]["offer"]
    # The number of fixed trials follows the first budget; what is offered does not.
    dse.explore(*trained, out=out, resume=True, trials=22, quiet=True)
    known, trials = attributes(out)
    assert known["offer"] == before == attributes(searched[1])[0]["offer"]
    assert len(trials) >= 22


def test_what_is_left_out_is_said(trained, capsys):
    settings = SETTINGS | {"tie": "block", "max_distinct": 2, "trials": 10}
    result = dse.explore(*trained, **settings)
    said = capsys.readouterr().err
    assert re.search(r"\d+ to \d+ of \d+ choices remain at a site, \d+ in the median", said)
    assert re.search(r"\d+ of \d+ choices are tried as fixed multipliers.*left out", said)
    assert all(len(t.assignment.tables) <= 2 for t in result.trials)


def test_a_short_list_is_whole(trained, capsys):
    dse.explore(*trained, **SETTINGS | {"multipliers": "mul8s", "trials": 5})
    assert "remain" not in capsys.readouterr().err
