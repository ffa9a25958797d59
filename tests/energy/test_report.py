"""``python -m energy.report``: what it prints, writes and refuses."""

import sys

import numpy as np
import pandas as pd
import pytest

import energy
import luts
import models
from energy import report
from luts.console import run


@pytest.fixture(scope="module")
def hard():
    return energy.Workload.of(models.NetworkConfig("vit_small", "hard"))


@pytest.fixture
def command(monkeypatch, capsys, hard):
    """Run the command on the ready network; the value is exit status, output and errors."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["report", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            run(report.main)
        return stopped.value.code, *capsys.readouterr()

    monkeypatch.setattr(energy.Workload, "of", lambda config: hard)
    return call


def test_chart_that_is_no_image(command, tmp_path):
    csv = tmp_path / "table.csv"
    status, out, err = command(
        "--topology",
        "hard",
        "--multiplier",
        "mul8s_1L2H",
        "--csv",
        csv,
        "--chart",
        tmp_path / "c.jpegg",
    )
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and ".jpegg" in err


@pytest.mark.parametrize("option", ["--csv", "--chart"])
def test_what_cannot_be_written_is_refused_before_work(command, tmp_path, monkeypatch, option):
    (tmp_path / "file").touch()
    monkeypatch.setattr(report._report, "workload_of", lambda *_: pytest.fail("work began"))
    status, out, err = command("--multiplier", "mul8s_1L2H", option, tmp_path / "file" / "a.png")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1 and "cannot write" in err
    status, _, err = command("--multiplier", "no_circuit", option, tmp_path / "new" / "a.png")
    assert status == 2 and "no_circuit" in err and not (tmp_path / "new").exists()


def test_writes_table_and_chart(command, tmp_path, hard):
    csv, chart = tmp_path / "table.csv", tmp_path / "chart.png"
    words = ("--topology", "hard", "--multiplier", "mul8s_1L2H", "--csv", csv, "--chart", chart)
    status, out, err = command(*words)
    assert (status, err) == (0, "")
    assert "blocks.11.mlp.experts.3.fc2" in out and "blocks.11.mlp.router" in out
    assert "uniform (assumed, not measured)" in out
    frame = pd.read_csv(csv)
    assert len(frame) == len(hard.sites)
    total = frame["energy_rel"].sum()
    assert f"{total:.5f}" in out
    assert chart.stat().st_size > 1_000
    before = csv.read_bytes()
    status, out, err = command(*words)
    assert status == 2 and "exists already" in err
    assert csv.read_bytes() == before


def test_says_what_every_model_counts_and_what_circuits_take(command, hard):
    status, out, _ = command("--topology", "hard", "--multiplier", "mul8s_1L1G")
    assert status == 0 and "bits" not in out
    costs = energy.under_each_model(hard, "mul8s_1L1G")
    named = ", ".join(f"{model} {costs[model]:.4f}" for model in costs)
    assert "activity" not in costs
    assert f"relative under each energy model at batch size 1: {named}" in out
    assert "circuits: 2 different, one of each has 1,014.7 µm², 1.39 of one exact" in out


def test_memory_traffic_shows_the_bits_that_are_kept(command, tmp_path):
    csv = tmp_path / "table.csv"
    words = ("--topology", "hard", "--multiplier", "mul8s_1KR3", "--energy-model", "memory")
    status, out, _ = command(*words, "--csv", csv)
    assert status == 0 and "bits x, w" in out
    (line,) = [line for line in out.splitlines() if "patch_embed.proj" in line]
    assert "│      2, 8 │" in line
    frame = pd.read_csv(csv).set_index("kind")
    assert set(frame.loc["linear", "activation_bits"]) == {2}
    assert set(frame.loc["router", "activation_bits"]) == {8}
    assert set(frame["weight_bits"]) == {8}


def test_assignment_and_routing_of_a_run(command, tmp_path, hard):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text('[network]\narch = "vit_small"\ntopology = "hard"\n')
    rates = {layer.layer: (1.0, 0.0, 0.0, 0.0) for layer in hard.layers}
    routing = models.Routing(rates=rates, source="one expert does it all")
    (folder / "routing.json").write_text(routing.to_json())
    chosen = tmp_path / "one.json"
    chosen.write_text(models.Assignment.uniform(hard.sites, "mul8s_1KR3").to_json())
    status, out, err = command("--run", folder, "--assignment", chosen)
    assert (status, err) == (0, "")
    assert "one expert does it all" in out and "mul8s_1KR3" in out


def test_ambiguous_names_are_explained(command):
    status, out, _ = command("--topology", "hard", "--multiplier", "mul8s_1KVA", "--compare")
    assert status == 0
    assert "v2022" in out and "as above" in out


def test_cheapest_members_of_fronts(command, tmp_path):
    for name, energies in (("a", (0.3, 0.6)), ("b", (0.2, 0.5))):
        (tmp_path / name).mkdir()
        front = pd.DataFrame({"energy_rel": energies, "validation_accuracy": (0.8, 0.95)})
        front.to_csv(tmp_path / name / "front.csv")
    runs = ("--compare-runs", tmp_path / "a", tmp_path / "b")
    status, out, _ = command(*runs, "--min-accuracy", 0.9)
    assert status == 0
    assert "0.6" in out and "0.5" in out and "0.2" not in out
    assert command(*runs)[0] == 2


def test_members_that_were_not_tested_count(command, tmp_path):
    front = pd.DataFrame(
        {
            "energy_rel": [0.2, 0.3, 0.6],
            "validation_accuracy_pct": [96.0, 94.0, 95.0],
            "whole_validation_accuracy_pct": [89.0, None, 97.0],
            "tuned_validation_accuracy_pct": [None, None, 98.0],
            "test_accuracy_pct": [91.0, None, 96.5],
        }
    )
    front.to_csv(tmp_path / "front.csv")
    found = energy.cheapest_within({"a": front}, 90).loc["a"]
    assert found["energy_rel"] == 0.3 and found["validation_accuracy"] == 94.0
    assert found.isna().tolist() == [False, False, True]
    best = energy.cheapest_within({"a": front}, 97.5).loc["a"]
    assert best.tolist() == [0.6, 98.0, 96.5]
    assert energy.cheapest_within({"a": front}, 99).isna().all(axis=None)
    status, out, _ = command("--compare-runs", tmp_path, "--min-accuracy", 90)
    assert status == 0 and "validation_accuracy" in out and "none" in out


def test_accuracies_in_percent_are_not_taken_for_fractions(command, tmp_path):
    front = pd.DataFrame({"energy_rel": [0.3, 0.6], "validation_accuracy_pct": [80.0, 95.0]})
    front.to_csv(tmp_path / "front.csv")
    status, out, _ = command("--compare-runs", tmp_path, "--min-accuracy", 90)
    assert status == 0 and "0.6" in out and "0.3" not in out
    status, _, err = command("--compare-runs", tmp_path, "--min-accuracy", 0.9)
    assert status == 2 and "in percent there; 0.9 is 90" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--arch", "vit_smal"), "did you mean vit_small"),
        (("--topology", "hrad"), "did you mean hard"),
        (("--multiplier", "mul8s_1L2X"), "did you mean mul8s_1L2"),
        (("--assignment", "none.json"), "cannot read the assignment none.json"),
        (("--run", "none"), "none is not a run"),
        (("--routing", "none.json"), "cannot read the routing none.json"),
        (("--figures", "none.csv"), "cannot read the figures none.csv"),
        (("--weight-memory", "drm"), "did you mean dram"),
        (("--energy-model", "joules"), "invalid choice"),
        (("--experts", "-1"), "experts is a whole number from 2 up, not -1"),
        (("--multiplier", "none.csv"), "there is no file none.csv"),
        (("--power-mw", "0.3"), "name it with --multiplier FILE or --load FILE"),
        (("--spread",), "name it with --run RUN"),
        (("--compare-runs", "none"), "none is not a finished run"),
        (("--compare-runs", "none", "--csv", "f.csv"), "beside it, not --csv"),
        (("--compare-runs", "none", "--arch", "resnet20"), "beside it, not --arch"),
        (("--min-accuracy", "90"), "--min-accuracy is for --compare-runs"),
        (("--batch-size", "4"), "--batch-size changes nothing in the energy model multipliers"),
        (("--energy-model", "datapath", "--weight-memory", "dram"), "which counts no memory"),
    ],
)
def test_mistakes_give_one_line(command, words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1 and "Traceback" not in err


def test_routing_that_does_not_sum_to_top_k(command, tmp_path, hard):
    rates = {layer.layer: (0.25, 0.25, 0.25, 0.3) for layer in hard.layers}
    path = tmp_path / "routing.json"
    path.write_text(models.Routing(rates=rates, source="a typo").to_json())
    status, _, err = command("--topology", "hard", "--routing", path)
    assert status == 2
    assert err.count("sum to 1 (top-k), not 1.05") == 6


def test_foreign_table_is_refused(command, tmp_path, hard):
    assignment = models.Assignment.uniform(hard.sites, "mul8s_1KR3")
    text = assignment.to_json().replace(luts.catalog["mul8s_1KR3"].sha256, "0" * 64)
    path = tmp_path / "one.json"
    path.write_text(text)
    status, _, err = command("--topology", "hard", "--assignment", path)
    assert status == 2 and "has the table 000000000000" in err


# --- multipliers in files ------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path):
    """A table that no published circuit has, under a signed name."""
    table = luts.catalog["mul8s_1L2H"].truth_table.copy()
    table[1, 1] += 2
    path = tmp_path / "mul8s_mine.csv"
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return path


FIGURES = ("--power-mw", 0.2125, "--area-um2", 300, "--delay-ns", 1.5)


def relative(frame):
    """Part of the dense energy that the sites with a multiplier other than exact have."""
    return frame.loc[frame["multiplier"] != luts.EXACT, "energy_rel"].sum()


def test_a_multiplier_in_a_file(command, tmp_path, own, hard):
    status, out, err = command(
        "--topology", "hard", "--multiplier", own, *FIGURES, "--csv", tmp_path / "a.csv"
    )
    assert (status, err) == (0, "")
    assert "mul8s_mine" in out
    exact = energy.cost(hard, luts.EXACT).to_frame()
    outside = exact["kind"] != "router"
    expected = exact.loc[outside, "energy_rel"].sum() * 0.2125 / 0.425
    assert relative(pd.read_csv(tmp_path / "a.csv")) == pytest.approx(expected)
    assert "mul8s_mine" not in luts.catalog


def test_figures_of_a_file_come_from_a_table_too(command, tmp_path, own):
    words = ("--topology", "hard", "--multiplier", own)
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert "does not give power_mw and area_um2 and delay_ns" in err and err.count("\n") == 1
    table = tmp_path / "figures.csv"
    header = "multiplier,power_mw,area_um2,delay_ns,source\n"
    table.write_text(f"{header}mul8s_mine,0.2125,300,1.5,measured\n")
    assert command(*words, "--figures", table, "--csv", tmp_path / "a.csv")[0] == 0
    assert command(*words, *FIGURES, "--csv", tmp_path / "b.csv")[0] == 0
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    table.write_text(f"{header}mul8s_his,0.2125,300,1.5,measured\n")
    status, _, err = command(*words, "--figures", table)
    assert status == 2 and "unknown multiplier 'mul8s_his'" in err


def test_an_assignment_with_a_multiplier_in_a_file(command, tmp_path, own, hard):
    circuits = luts.evoapprox_catalog()
    circuits.add(luts.load(own, power_mw=0.2125, area_um2=300, delay_ns=1.5))
    chosen = tmp_path / "one.json"
    assignment = models.Assignment.uniform(hard.sites, "mul8s_mine", catalog=circuits)
    chosen.write_text(assignment.to_json())
    words = ("--topology", "hard", "--assignment", chosen)
    status, _, err = command(*words)
    assert status == 2 and "mul8s_mine" in err and err.count("\n") == 1
    status, out, err = command(*words, "--load", own, *FIGURES)
    assert (status, err) == (0, "") and "mul8s_mine" in out
    other = tmp_path / "mul8s_other.csv"
    other.write_bytes(own.read_bytes())
    status, _, err = command(*words, "--load", own, "--load", other, *FIGURES)
    assert status == 2 and "for one file, not for 2" in err


def test_a_name_that_promises_another_circuit_is_noticed(command, tmp_path, own):
    liar = own.rename(tmp_path / "mul8s_1L2J.csv")  # a circuit of the branch v2022
    status, out, _ = command("--topology", "hard", "--multiplier", liar, *FIGURES)
    assert status == 0 and "warning: mul8s_1L2J is not the circuit that its name promises" in out


# --- spread --------------------------------------------------------------------------------------


@pytest.fixture
def run_with_inputs(tmp_path, hard):
    """A run of which one half of the inputs goes to the first expert and the other to the last."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text('[network]\narch = "vit_small"\ntopology = "hard"\n')

    def routing(*rates):
        return models.Routing({layer.layer: rates for layer in hard.layers}, "by hand")

    inputs = [routing(1, 0, 0, 0)] * 2 + [routing(0, 0, 0, 1)] * 2
    (folder / "routing.json").write_text(routing(0.5, 0, 0, 0.5).to_json())
    (folder / energy.run_files.PER_INPUT).write_text(energy.per_input_json(inputs))
    assert [one.rates for one in energy.read_per_input(folder / energy.run_files.PER_INPUT)] == [
        one.rates for one in inputs
    ]
    return folder


def test_spread_over_the_inputs_of_a_run(command, tmp_path, hard, run_with_inputs):
    choices = {
        site.name: models.Choice("mul8s_1KR3" if site.expert == 3 else luts.EXACT)
        for site in hard.sites
    }
    chosen = tmp_path / "one.json"
    chosen.write_text(models.Assignment.of(choices).to_json())
    status, out, err = command("--run", run_with_inputs, "--assignment", chosen, "--spread")
    assert (status, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("│ relative")]
    mean, std, low, *_, high, worst = [float(cell) for cell in line.split("│")[2:-1]]
    assert low < mean < high == worst
    assert mean == pytest.approx((low + high) / 2, abs=1e-5)
    assert std == pytest.approx((high - low) / 2, abs=1e-5)
    expected = energy.cost(
        hard.under(energy.read_routing(run_with_inputs / "routing.json")),
        models.Assignment.of(choices),
    )
    assert mean == pytest.approx(expected.energy_rel, abs=1e-5)


def test_spread_without_what_it_takes(command, tmp_path, run_with_inputs):
    file = run_with_inputs / energy.run_files.PER_INPUT
    for text in ("{", '{"version": 1}', '{"version": 9}', "[]"):
        file.write_text(text)
        status, out, err = command("--run", run_with_inputs, "--spread")
        assert (status, out) == (2, "") and err.count("\n") == 1 and file.name in err
    file.unlink()
    status, out, err = command("--run", run_with_inputs, "--spread")
    assert (status, out) == (2, "") and "dse.search --resume" in err


def test_a_routing_in_the_place_of_the_runs(command, tmp_path, hard, run_with_inputs):
    rates = {layer.layer: (0.0, 1.0, 0.0, 0.0) for layer in hard.layers}
    own_routing = tmp_path / "003.json"
    own_routing.write_text(models.Routing(rates, "of trial 3").to_json())
    status, out, _ = command("--run", run_with_inputs, "--routing", own_routing)
    assert status == 0 and "routing: of trial 3" in out
