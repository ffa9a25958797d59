"""``python -m energy.report``: what it prints, writes and refuses."""

import sys

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
        (("--experts", "-1"), "whole number from 1 up"),
        (("--run", "a", "--routing", "b"), "not allowed with"),
        (("--compare-runs", "none"), "none is not a finished run"),
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
