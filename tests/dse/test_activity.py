"""Searches that are charged by the toggles of the operands that a network really has."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dse
import energy
import luts
import models
from luts import InputError
from models import Assignment

CIRCUITS = "mul8s_1KV8,mul8s_1L1G,array:a3b5d0,array:a3b4d8"
QUICK = {"multipliers": CIRCUITS, "finetune": "none", "quiet": True, "energy_model": "activity"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3))


@pytest.fixture(scope="module")
def splits():
    generator = torch.Generator().manual_seed(1)
    return {
        name: (
            torch.rand(48, 1, 5, 5, generator=generator),
            torch.randint(3, (48,), generator=generator),
        )
        for name in ("train", "validation", "test")
    }


def test_a_search_over_arrays_is_charged_by_the_codes_that_they_are_fed(network, splits, tmp_path):
    out = tmp_path / "run"
    result = dse.explore(network, splits, out=out, operands="both", trials=8, **QUICK)
    operands = models.SampledOperands.read(out / "operands.npz")
    assert set(operands.sites) == {"0", "3"}
    workload = energy.Workload.of_network(network, splits["train"][0][:1]).fed(operands)
    for trial in result.trials:
        cost = energy.cost(workload, trial.assignment, model="activity")
        assert trial.energy_rel == pytest.approx(cost.energy_rel)
    used = {c.multiplier for t in result.trials for c in t.assignment.choices.values()}
    assert any(name.startswith("array:") for name in used)
    # What is the best of its kind can be told from the folder alone.
    stored = dse.read_run(out)
    table = pd.read_csv(out / "trials.csv", keep_default_na=False).set_index("trial")["best_of"]
    bests = {"fixed": "best_fixed", "array": "best_array", "plain narrow": "best_narrow"}
    for kind, name in bests.items():
        trial = getattr(stored, name)
        assert trial is not None and trial.number == getattr(result.closing, name)
        assert [n for n, kinds in table.items() if kind in kinds.split(", ")] == [trial.number]
    # The same circuit, fed other codes, costs something else.
    fed = {
        energy.cost(
            workload,
            Assignment.uniform(workload.sites, "mul8s_1L1G", rounded=rounded),
            model="activity",
        ).energy_rel
        for rounded in (False, True)
    }
    assert len(fed) == 2


def test_a_mere_table_is_refused_in_one_line(network, splits, monkeypatch):
    table = luts.catalog["mul8s_1KR3"].truth_table.copy()
    table[3, 5] += 2
    mere = luts.Multiplier("mere", table, 0.1, 50, 1, "test")
    monkeypatch.setitem(luts.catalog._multipliers, "mere", mere)
    with pytest.raises(InputError) as refused:
        dse.explore(network, splits, trials=3, **{**QUICK, "multipliers": "mul8s_1KV8,mere"})
    assert "no netlist is known of mere" in str(refused.value)
    assert "load the circuit from Verilog" in str(refused.value)
    assert "\n" not in str(refused.value)
    # Whatever file it came in, a published circuit's table is that circuit's.
    known = luts.Multiplier("same", np.array(luts.catalog["mul8s_1KR3"].truth_table), 1, 1, 1, "x")
    assert luts.circuits.netlist_of(known) is not None
