"""``python -m dse.front``: finished runs side by side, under their own energies or others."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest

import energy
from dse import front, search
from dse.results import Run, draw, read_runs, recost, shared_reference, study_of, summary, tolerance
from dse.study import SearchConfig
from energy import report
from luts import InputError, catalog
from models import TOPOLOGIES, Assignment
from tests.dse._searching import FAST, call, only_line, state_of, trials_of


def staircase(points, reference):
    """Area that points dominate below a reference, by adding up columns."""
    below = sorted(p for p in points.tolist() if p[0] < reference[0] and p[1] < reference[1])
    area, height = 0.0, reference[1]
    for x, y in below:
        if y < height:
            area += (reference[0] - x) * (height - y)
            height = y
    return area


# --- as they are -------------------------------------------------------------------------------


def test_hypervolumes_share_one_reference_point(runs_folder, untouched):
    runs = read_runs([runs_folder / "routed", runs_folder / "plain"])
    table = summary(runs)
    reference = shared_reference(runs)
    assert reference[0] == pytest.approx(1.0)
    assert table["run"].tolist() == ["routed", "plain"]
    for row, name in zip(table.itertuples(), ("routed", "plain"), strict=True):
        trials = trials_of(runs_folder / name)
        points = trials[["energy_rel", "validation_cross_entropy"]].to_numpy()
        fixed = points[(trials["origin"] == "uniform").to_numpy()]
        assert row.trials == len(trials)
        assert row.hypervolume == pytest.approx(staircase(points, reference))
        assert row.hypervolume_fixed == pytest.approx(staircase(fixed, reference))
        assert row.front == trials["on_front"].sum()
        assert row.best_fixed.split(" at ")[0] in catalog


def test_sites_are_ordered_by_what_they_tolerate(runs_folder, untouched):
    found = read_runs([runs_folder / "routed"])
    table = tolerance(found)
    assert table["mean_power_rel"].is_monotonic_increasing
    power = {name: catalog[name].power_mw / catalog["mul8s_1KV8"].power_mw for name in catalog}
    files = sorted((runs_folder / "routed/assignments").iterdir())
    chosen = [Assignment.read(file).choices for file in files]
    for row in table.itertuples():
        names = [choices[row.site].multiplier for choices in chosen]
        assert row.mean_power_rel == pytest.approx(np.mean([power[name] for name in names]))
        assert row.share == names.count(row.commonest) / len(names)
    # Routers had no choice; there are some in the assignments.
    assert not table["site"].str.endswith("router").any()
    assert any(site.endswith("router") for site in chosen[0])


def test_sites_that_were_held_exact_tolerate_nothing_measured(runs_folder):
    (found,) = read_runs([runs_folder / "routed"])
    held = next(iter(next(iter(found.front.values())).choices))
    config = dataclasses.replace(found.folder.config, exact=(f"{held[:-1]}?",))
    other = dataclasses.replace(found, folder=Run(found.folder.path, config))
    assert held in tolerance([found])["site"].tolist()
    assert held not in tolerance([other])["site"].tolist()


def test_the_best_fixed_multiplier_is_the_one_that_the_search_named(runs_folder):
    (found,) = read_runs([runs_folder / "routed"])
    trials = found.trials.iloc[:4].assign(
        origin="uniform",
        multipliers=["mul8s_1KV8×9", "mul8s_1L2H×9", "mul8s_1L1G×9", "mul8s_1KR3×9"],
        energy_rel=[1.0, 0.7, 0.3, 0.1],
        validation_accuracy_pct=[96.0, 96.0, 96.0, 96.0],
        whole_validation_accuracy_pct=[95.0, 94.5, 93.0, None],
        tuned_validation_accuracy_pct=[None, None, 94.2, None],
        test_accuracy_pct=[95.0, 94.0, 93.0, None],
    )
    # 1KR3 was not tested; 1L1G lacks two points before fine-tuning and one after it.
    (row,) = summary([dataclasses.replace(found, trials=trials)]).itertuples()
    assert row.best_fixed == "mul8s_1L1G at 0.300"
    untuned = trials.assign(tuned_validation_accuracy_pct=None)
    (row,) = summary([dataclasses.replace(found, trials=untuned)]).itertuples()
    assert row.best_fixed == "mul8s_1L2H at 0.700"
    assert row.best_array == row.best_narrow == "mul8s_1L2H at 0.700"


def test_the_best_of_each_kind_is_told_apart(runs_folder):
    (found,) = read_runs([runs_folder / "routed"])
    names = ["mul8s_1KV8", "mul8s_1KVL", "array:a3b4d8", "array:a3b4d0", "a table of mine"]
    trials = found.trials.iloc[:5].assign(
        origin="uniform",
        multipliers=[f"{name}×9" for name in names],
        energy_rel=[1.0, 0.6, 0.2, 0.3, 0.5],
        validation_accuracy_pct=[96.0, 95.5, 95.5, 95.5, 95.5],
        test_accuracy_pct=95.0,
    )
    trials[["whole_validation_accuracy_pct", "tuned_validation_accuracy_pct"]] = np.nan

    def best(rows, **changed):
        chosen = trials.iloc[rows].assign(**changed)
        (row,) = summary([dataclasses.replace(found, trials=chosen)]).itertuples()
        return row.best_fixed, row.best_array, row.best_narrow

    array, narrow = "array:a3b4d8 at 0.200", "array:a3b4d0 at 0.300"
    assert best([0, 1, 2, 3, 4]) == ("a table of mine at 0.500", array, narrow)
    assert best([0, 1, 2, 3]) == ("mul8s_1KVL at 0.600", array, narrow)
    assert best([2, 3]) == (array, array, narrow)
    assert best([0, 4]) == ("a table of mine at 0.500", "mul8s_1KV8 at 1.000", "")
    assert best([0, 4], origin="guided") == ("", "", "")


def test_prints_and_draws(runs_folder, tmp_path, capsys, untouched):
    picture, table = tmp_path / "new/front.png", tmp_path / "trials.csv"
    runs = (runs_folder / "routed", runs_folder / "plain")
    assert call(front, *runs, "--out", picture, "--csv", table) == 0
    printed = capsys.readouterr().out
    assert "Below energy 1.000" in printed and "Sites that tolerate most" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    written = pd.read_csv(table)
    assert written["run"].tolist() == ["routed"] * 8 + ["plain"] * 6
    expected = pd.concat([trials_of(run) for run in runs], ignore_index=True)
    pd.testing.assert_frame_equal(written[expected.columns.tolist()], expected)
    joint = written[written["on_joint_front"]]
    for row in joint.itertuples():
        better = (written["energy_rel"] < row.energy_rel) & (
            written["validation_cross_entropy"] <= row.validation_cross_entropy
        )
        assert not better.any()


def test_the_folder_of_all_topologies_stands_for_its_parts(runs_folder, tmp_path):
    config = SearchConfig.from_toml((runs_folder / "routed/config.toml").read_text())
    together = Run.create(SearchConfig(arch=config.arch, topology="all"), tmp_path / "all")
    for topology in TOPOLOGIES:
        part = together.path / topology
        shutil.copytree(runs_folder / ("plain" if topology == "dense" else "routed"), part)
        text = (part / "config.toml").read_text()
        text = text.replace('topology = "hard"', f'topology = "{topology}"')
        (part / "config.toml").write_text(text)
    runs = read_runs([together.path])
    assert [found.name for found in runs] == [f"all/{topology}" for topology in TOPOLOGIES]
    draw(tmp_path / "all.png", runs)
    assert (tmp_path / "all.png").stat().st_size > 10_000


# --- costed anew -------------------------------------------------------------------------------


def test_runs_of_different_energy_models_need_one(runs_folder, tmp_path, capsys, untouched):
    runs = (runs_folder / "routed", runs_folder / "traffic")
    assert call(front, *runs) == 2
    assert "--energy-model NAME" in only_line(capsys.readouterr().err)
    assert call(front, *runs, "--convention", "power-delay") == 2
    assert "name one with --energy-model" in only_line(capsys.readouterr().err)
    assert call(front, *runs, "--energy-model", "memory", "--csv", tmp_path / "a.csv") == 0
    assert "energy: memory, equal-clock, costed anew" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "a.csv")
    assert set(table["energy_model"]) == {"memory, equal-clock"}
    same = table[table["run"] == "traffic"]
    assert same["energy_rel"].tolist() == pytest.approx(same["energy_rel_as_searched"].tolist())
    other = table[table["run"] == "routed"]
    old = trials_of(runs_folder / "routed")["energy_rel"].tolist()
    assert other["energy_rel_as_searched"].tolist() == pytest.approx(old)
    assert (other["energy_rel"] != other["energy_rel_as_searched"]).all()


@pytest.mark.parametrize("name", ["routed", "plain"])
@pytest.mark.parametrize("model", ["multipliers", "datapath", "memory", "activity"])
def test_every_trial_costs_what_the_model_says(runs_folder, name, model, untouched):
    (found,) = read_runs([runs_folder / name])
    workload = energy.Workload.of(energy.network_of_run(found.folder.path))
    workload = workload.fed(energy.read_operands(found.folder.path))
    figures = energy.published_figures(convention="power-delay")
    anew = recost(found, study_of(found.folder), workload, figures, model=model)
    trials = anew.trials.set_index("trial")
    for number, assignment in found.front.items():
        cost = energy.cost(
            workload.under(found.folder.routing() if workload.layers else None),
            assignment,
            figures,
            model=model,
        )
        assert trials.loc[number, "energy_rel"] == pytest.approx(cost.energy_rel)
        assert trials.loc[number, "energy_pj"] == pytest.approx(cost.energy_pj)
    on_front = trials[trials["on_front"]].sort_values("energy_rel")
    assert sorted(anew.front) == sorted(on_front.index)
    assert on_front["validation_cross_entropy"].is_monotonic_decreasing
    for number, assignment in anew.front.items():
        assert assignment.digest == trials.loc[number, "assignment_sha256"]


def test_a_search_by_activity_is_charged_as_its_recosting_says(runs_folder, tmp_path, capsys):
    """Its energies are those of the operands that it kept, also when it goes on."""
    path = tmp_path / "active"
    words = ("--topology", "hard", "--trials", 6, "--energy-model", "activity", "--out", path)
    assert call(search, *FAST, *words) == 0
    kept = (path / "operands.npz").read_bytes()
    assert call(search, "--resume", path, "--trials", 7, "--quiet") == 0
    assert (path / "operands.npz").read_bytes() == kept
    table = tmp_path / "a.csv"
    words = ("--energy-model", "activity", "--csv", table)
    assert call(front, path, *words) == 0
    found = pd.read_csv(table)
    assert len(found) == 7
    assert found["energy_rel"].tolist() == pytest.approx(found["energy_rel_as_searched"].tolist())
    capsys.readouterr()
    assert call(report, "--run", path, "--energy-model", "activity") == 0
    out = capsys.readouterr().out
    assert "circuits by this network's operands" in out and "experts by their own operands" in out
    assert "weights are held, activations stream; exact int8 network" in out
    assert "codes of the calibrated scales" in out
    assert call(report, "--run", path, "--energy-model", "activity", "--compare") == 2
    assert "have seen no images" in only_line(capsys.readouterr().err)
    (path / "operands.npz").unlink()
    assert call(front, path, "--energy-model", "activity") == 2
    assert f"--resume {path} samples them" in only_line(capsys.readouterr().err)


def test_figures_of_ones_own_count(runs_folder, tmp_path, capsys, untouched):
    file = tmp_path / "mine.csv"
    file.write_text(
        "multiplier,power_mw,area_um2,delay_ns,source\nmul8s_1L1G,0.425,1,1,as dear as exact\n"
    )
    table = tmp_path / "a.csv"
    assert call(front, runs_folder / "plain", "--figures", file, "--csv", table) == 0
    found = pd.read_csv(table).set_index("multipliers")
    (row,) = [name for name in found.index if name.startswith("mul8s_1L1G×") and " " not in name]
    assert found.loc[row, "energy_rel"] == pytest.approx(1)
    file.write_text("multiplier,power_mw,area_um2,delay_ns,source\nmul8s_1L1G,-1,1,1,wrong\n")
    capsys.readouterr()
    assert call(front, runs_folder / "plain", "--figures", file) == 2
    assert "line 2: power_mw is a positive number" in only_line(capsys.readouterr().err)


def test_a_study_of_another_run_is_noticed(runs_folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(runs_folder / "routed", run)
    trials = trials_of(run)
    trials.loc[2, "assignment_sha256"] = "0" * 64
    trials.to_csv(run / "trials.csv", index=False)
    assert call(front, run, "--energy-model", "memory") == 2
    assert "trial 2 of" in only_line(capsys.readouterr().err)
    (run / "study.db").unlink()
    assert call(front, run, "--energy-model", "memory") == 2
    assert "'search' is not in" in only_line(capsys.readouterr().err)
    (run / "study.db").write_text("no database at all, but long enough to be read as one" * 50)
    assert call(front, run, "--energy-model", "memory") == 2
    assert "is not the database of a search" in only_line(capsys.readouterr().err)


def test_what_lies_beside_the_database_is_read_too(runs_folder, tmp_path):
    """A search that was killed leaves part of its study in the write-ahead log."""
    import sqlite3

    run = tmp_path / "run"
    shutil.copytree(runs_folder / "routed", run)
    expected = study_of(Run.open(run)).trials
    with sqlite3.connect(run / "study.db") as writer:
        writer.execute("PRAGMA journal_mode=WAL")
        last = max(expected)
        writer.execute(f"UPDATE trials SET state = 'FAIL' WHERE number = {last}")
        writer.commit()
        assert (run / "study.db-wal").stat().st_size
        before = state_of(run)
        assert set(study_of(Run.open(run)).trials) == set(expected) - {last}
        assert state_of(run) == before
    writer.close()


# --- bad input ---------------------------------------------------------------------------------


def test_what_is_no_finished_run_is_refused(runs_folder, tmp_path, capsys, untouched):
    assert call(front, tmp_path) == 2
    assert "is not a run" in only_line(capsys.readouterr().err)
    begun = Run.create(SearchConfig(topology="dense"), tmp_path / "begun")
    assert call(front, begun.path) == 2
    assert "is not finished" in only_line(capsys.readouterr().err)
    assert call(front, runs_folder / "routed", "--energy-model", "joules") == 2
    assert "invalid choice" in only_line(capsys.readouterr().err)
    words = ("--energy-model", "memory", "--weight-memory", "drm")
    assert call(front, runs_folder / "routed", *words) == 2
    assert "did you mean dram" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("option", ["--out", "--csv"])
def test_existing_files_stay(runs_folder, tmp_path, capsys, option, untouched):
    file = tmp_path / "kept"
    file.write_text("mine")
    assert call(front, runs_folder / "routed", option, file) == 2
    assert "not overwritten" in only_line(capsys.readouterr().err)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset", "cifar10", "runs of different dataset (cifar10, digits)"),
        ("image_size", 64, "runs of different image size (32, 64)"),
    ],
)
def test_runs_that_measure_different_things_are_refused(runs_folder, tmp_path, key, value, message):
    run = tmp_path / "other"
    shutil.copytree(runs_folder / "routed", run)
    text = (run / "config.toml").read_text()
    old = "digits" if key == "dataset" else 32
    changed = text.replace(f"{key} = {json.dumps(old)}", f"{key} = {json.dumps(value)}")
    assert changed != text
    (run / "config.toml").write_text(changed)
    with pytest.raises(InputError) as refused:
        read_runs([runs_folder / "routed", run])
    assert message in str(refused.value)


def test_trials_of_different_fidelity_are_refused(runs_folder, tmp_path):
    run = tmp_path / "other"
    shutil.copytree(runs_folder / "routed", run)
    trials = trials_of(run)
    trials.assign(fidelity="fine-tuned").to_csv(run / "trials.csv", index=False)
    with pytest.raises(InputError, match="different fidelity"):
        read_runs([runs_folder / "routed", run])
