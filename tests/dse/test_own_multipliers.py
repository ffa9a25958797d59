"""A multiplier in a file: searched under its name, and kept in the run's folder."""

import functools

import numpy as np
import pandas as pd
import pytest

import dse
import luts
from dse import search
from dse.results import Run
from energy import report
from luts.loading import add_files, files_named, from_kept, kept_bytes
from tests.dse._searching import TINY, call, only_line

FIGURES = {"power_mw": 0.1, "area_um2": 200.0, "delay_ns": 1.0, "source": "a test"}
command = functools.partial(call, search)


@pytest.fixture
def file(tmp_path):
    """A circuit that no catalogue has."""
    table = luts.catalog["mul8s_1L1G"].truth_table.astype(np.int64)
    table[3, 5] += 8
    path = tmp_path / "odd [1]+one.csv"
    np.savetxt(path, table, fmt="%d", delimiter=",")
    return path


@pytest.fixture(autouse=True)
def forgetting(monkeypatch):
    """What a search adds to the catalogue is forgotten, as in another process."""
    known = dict(luts.catalog._multipliers)
    yield functools.partial(monkeypatch.setattr, luts.catalog, "_multipliers", dict(known))
    luts.catalog._multipliers = known


def test_a_run_holds_its_own_multipliers(file, tmp_path, forgetting, capsys):
    out = tmp_path / "run"
    own = (f"{file},mul8s_1KV8", "--signed", "--power-mw", 0.1, "--area-um2", 200, "--delay-ns", 1)
    flags = ("--arch", TINY, "--train-epochs", 0.5, "--finetune", "none", "--quiet", "--out", out)
    assert command("--multipliers", *own, *flags, "--trials", 4) == 0
    sha256 = luts.catalog[file.stem].sha256
    file.unlink()

    forgetting()
    assert file.stem not in luts.catalog
    assert command("--resume", out, "--trials", 5, "--quiet") == 0
    kept = luts.catalog[file.stem]
    assert (kept.sha256, kept.power_mw, kept.figures_from) == (sha256, 0.1, "given")
    trials = pd.read_csv(out / "trials.csv")
    assert len(trials) == 5

    forgetting()
    read = dse.read_run(out)
    used = {c.multiplier for t in read.trials for c in t.assignment.choices.values()}
    assert file.stem in used
    forgetting()
    member = next((out / "assignments").iterdir())
    capsys.readouterr()
    assert call(report, "--run", out, "--assignment", member) == 0
    assert command("--resume", out, "--power-mw", 3) == 2
    assert "keeps its multipliers" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("mistake", ["no figures", "no file", "two files", "a published name"])
def test_mistakes_are_refused_before_anything_is_made(file, tmp_path, capsys, mistake):
    out = tmp_path / "run"
    published = file.with_name("mul8s_1KV8.csv")
    published.write_bytes(file.read_bytes())
    words, message = {
        "no figures": ([f"{file},mul8s", "--signed"], "does not give power_mw"),
        "no file": (["mul8s", "--power-mw", "1"], "names 0; put"),
        "two files": ([f"{file}+{published}", "--power-mw", "1"], "names 2; put"),
        "a published name": ([f"{published},mul8s", *"--power-mw 1".split()], "rename"),
    }[mistake]
    more = ["--area-um2", "1", "--delay-ns", "1"] * (mistake == "a published name")
    assert command("--multipliers", *words, *more, "--out", out) == 2
    assert message in only_line(capsys.readouterr().err)
    assert not out.exists()


def test_files_stand_between_names(file):
    typed = f"paper, {file} ,mul8s_1L2H+array:a3b5d0"
    assert files_named(typed, luts.catalog) == [file]
    named, _ = add_files(
        typed,
        luts.catalog,
        signed=True,
        figures={f: v for f, v in FIGURES.items() if f != "source"},
    )
    assert named == f"paper,{file.stem},mul8s_1L2H,array:a3b5d0"
    assert file.stem in luts.catalog.names(named)


def test_all_that_a_multiplier_says_is_kept(tmp_path):
    known = luts.catalog["array:a3b5d0"]
    circuit = luts.circuits.netlist_of(known)
    verilog = luts._multiplier.VerilogModule("module m; endmodule", "m", "a", "b", "y", 16)
    for multiplier in (known, luts.Multiplier("m", known.truth_table, **FIGURES, verilog=verilog)):
        again = from_kept(kept_bytes(multiplier), "it")
        assert again == multiplier and kept_bytes(again) == kept_bytes(multiplier)
    full = luts.Multiplier("m", known.truth_table, **FIGURES, netlist=circuit)
    assert from_kept(kept_bytes(full), "it").netlist == circuit is not None


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", "cut", "other"])
def test_damaged_ones_are_refused(tmp_path, content):
    whole = kept_bytes(luts.catalog["mul8s_1L2H"])
    if content == "other":
        np.savez(tmp_path / "x.npz", table=np.zeros((256, 256), np.int32), about=np.zeros(3))
        content = (tmp_path / "x.npz").read_bytes()
    content = whole[: len(whole) // 2] if content == "cut" else content
    folder = tmp_path / "run" / "multipliers"
    folder.mkdir(parents=True)
    (folder / "00-x.npz").write_bytes(content)
    (folder.parent / "config.toml").write_text("[search]\n")
    with pytest.raises(luts.InputError, match="not a multiplier that a search has kept"):
        Run.open(folder.parent)
