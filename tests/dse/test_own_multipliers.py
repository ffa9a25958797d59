"""A multiplier in a file: searched under its name, and kept in the run's folder."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dse
import luts
from dse import search
from dse.results import Run
from energy import add_kept, report, run_files
from luts.errors import InputError
from luts.loading import add_files, files_named, from_kept, kept_bytes
from tests.dse._searching import TINY, call, one_cache, only_line  # noqa: F401

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
    flags = ("--arch", TINY, "--dataset", "digits", "--train-epochs", 0.5, "--quiet", "--out", out)
    flags = (*flags, "--finetune", "none")
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
    for words in (("--power-mw", 3), ("--trust",), ("--unsigned",)):
        assert command("--resume", out, *words) == 2
        assert "keeps its multipliers" in only_line(capsys.readouterr().err)


def test_a_file_may_be_among_those_that_are_left(file, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(search, "_check", lambda config, _: made.append(config))
    monkeypatch.setattr(search.Run, "create", lambda config, path: _stop())
    own = ("--signed", "--power-mw", 0.1, "--area-um2", 200, "--delay-ns", 1)
    words = ("--arch", TINY, "--dataset", "digits", "--out", tmp_path / "run", *own)
    named = ("--multipliers", f"{file},mul8s", "--only", f"mul8s_1KV8,{file}")
    assert command(*words, *named) == 2
    (config,) = made
    assert set(config.names()) == {"mul8s_1KV8", file.stem}
    luts.catalog._multipliers.pop(file.stem)
    published = tmp_path / "mul8s_1L2H.csv"
    table = luts.catalog["mul8s_1L2H"].truth_table
    header = "PDK45_PWR = 0.3 mW\nPDK45_AREA = 558 um2\nPDK45_DELAY = 1.4 ns"
    np.savetxt(published, table, fmt="%d", delimiter=",", header=header)
    assert command(*words[:-7], "--only", f"{published},mul8s_1KV8") == 2
    assert set(made[1].names()) == {"mul8s_1KV8", "mul8s_1L2H"}
    assert command(*words, "--only", f"{published},mul8s_1KV8") == 2
    assert luts.catalog["mul8s_1L2H"].power_mw == 0.1
    luts.catalog.add(luts.evoapprox_catalog()["mul8s_1L2H"])
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    data = [(torch.rand(20, 1, 2, 2), torch.arange(20) % 2)] * 3
    left = f"{published},mul8s_1KV8"
    settings = {"trials": 3, "finetune": "none", "sampler": "random", "quiet": True}
    with pytest.warns(UserWarning, match="is mul8s_1L2H of the catalogue"):
        result = dse.explore(network, data, multipliers="mul8s", only=left, **settings)
    used = {c.multiplier for t in result.trials for c in t.assignment.choices.values()}
    assert used <= {"mul8s_1KV8", "mul8s_1L2H"}


def _stop():
    raise InputError("stopped by the test")


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


def test_the_figures_given_last_count(file):
    catalog = luts.evoapprox_catalog()
    for power_mw in (0.1, 0.4):
        add_files(str(file), catalog, signed=True, figures=figures(power_mw))
        assert catalog[file.stem].power_mw == power_mw


@pytest.mark.parametrize("given", [False, True])
def test_of_a_published_circuit_the_published_figures_count_unless_others_are_given(
    tmp_path, given
):
    path = tmp_path / "mul8s_1L1G.csv"
    raw = np.roll(luts.catalog["mul8s_1L1G"].truth_table, (128, 128), (0, 1))
    np.savetxt(path, raw, fmt="%d", delimiter=",", comments="")
    catalog = luts.evoapprox_catalog()
    before = catalog["mul8s_1L1G"].power_mw
    if given:
        add_files(str(path), catalog, figures=figures(0.7))
        assert catalog["mul8s_1L1G"].power_mw == 0.7
    else:
        header = "# PDK45_PWR = 0.7 mW\n# PDK45_AREA = 1 um2\n# PDK45_DELAY = 1 ns\n"
        path.write_text(header + path.read_text())
        (note,) = add_files(str(path), catalog)[1]
        assert "keeps its figures" in note and catalog["mul8s_1L1G"].power_mw == before


def test_two_runs_that_disagree_on_figures_are_not_read_together(tmp_path):
    table = luts.catalog["mul8s_1L1G"].truth_table.copy()
    table[3, 5] += 8
    catalog = luts.evoapprox_catalog()
    for run, power_mw in (("a", 0.2), ("b", 0.2), ("c", 0.4)):
        (tmp_path / run / run_files.MULTIPLIERS).mkdir(parents=True)
        mine = luts.Multiplier("mine", table, **FIGURES | {"power_mw": power_mw})
        (tmp_path / run / run_files.MULTIPLIERS / "00-mine.npz").write_bytes(kept_bytes(mine))
    add_kept(tmp_path / "a", catalog)
    add_kept(tmp_path / "b", catalog)
    with pytest.raises(InputError, match="other figures than the multiplier mine"):
        add_kept(tmp_path / "c", catalog)
    assert catalog["mine"].power_mw == 0.2


def test_a_sum_that_32_bits_do_not_hold_is_refused_before_work(forgetting):
    luts.catalog.add(luts.Multiplier("wide", np.full((256, 256), 65_535), **FIGURES))
    network = nn.Sequential(nn.Flatten(), nn.Linear(33_000, 4))
    x, y = torch.zeros(40, 33_000), torch.arange(40) % 4
    with pytest.raises(InputError, match=r"^1 sums 33,000 products .* wide are exact up to 32,768"):
        dse.explore(network, [(x, y)] * 3, multipliers="wide,mul8s_1KV8", trials=3, quiet=True)


def figures(power_mw):
    return {"power_mw": power_mw, "area_um2": 200.0, "delay_ns": 1.0}
