"""``python -m luts.rtl``: the Verilog it writes, what the test bench finds, and what it refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import luts
from luts import rtl
from luts.circuits import Cuts, array_netlist, array_testbench, array_verilog
from luts.console import run

needs_iverilog = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="no iverilog on the PATH: test benches are not run here"
)
NAMES = ("mul8s_1KV8", "mul8s_1KRC", "array:a3b5d0", "array:a2b3d8", "array:a0b7d0", "array:a7b7d0")


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command; the value is (exit status, standard output, standard error)."""

    def call_it(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["luts.rtl", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run(rtl.main)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call_it


def simulate(folder: Path, circuit: str, testbench: str) -> str:
    (folder / "circuit.v").write_text(circuit, encoding="utf-8")
    (folder / "testbench.v").write_text(testbench, encoding="utf-8")
    build = ["iverilog", "-Wall", "-Wno-timescale", "-o", "test.vvp", "circuit.v", "testbench.v"]
    built = subprocess.run(build, cwd=folder, capture_output=True, text=True, check=True)
    assert built.stderr == ""
    done = subprocess.run(
        ["vvp", "-n", "test.vvp"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


@needs_iverilog
@pytest.mark.parametrize("name", NAMES)
def test_the_test_bench_passes_over_all_operands(call, tmp_path, name):
    status, out, _ = call(name, "--out", tmp_path / "rtl")
    files = sorted((tmp_path / "rtl").iterdir())
    assert status == 0 and all(f"wrote {file}" in out for file in files)
    circuit, testbench = (file.read_text(encoding="utf-8") for file in files)
    assert "PASSED: all 65536" in simulate(tmp_path, circuit, testbench)


@needs_iverilog
def test_the_test_bench_fails_another_circuit(tmp_path):
    circuit = array_verilog(Cuts(3, 5)).replace("a[5] & b[6]", "a[5] | b[6]")
    assert "FAILED:" in simulate(tmp_path, circuit, array_testbench(Cuts(3, 5)))
    # The same module under the name of one that keeps more.
    circuit = array_verilog(Cuts(3, 5)).replace("a3b5d0", "a3b4d0")
    found = simulate(tmp_path, circuit, array_testbench(Cuts(3, 4)))
    assert "FAILED:" in found and "PASSED" not in found
    assert found.count("expected") == 10  # the first ten only


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tool", ["none", "iverilog", "yosys"])
def test_the_projects_reader_gets_the_table_back(call, tmp_path, monkeypatch, name, tool):
    call(name, "--out", tmp_path)
    (path,) = (file for file in tmp_path.iterdir() if "testbench" not in file.name)
    if tool != "none":
        real = shutil.which
        if not real(tool):
            pytest.skip(f"no {tool} on the PATH")
        hidden = {"iverilog": "yosys", "yosys": "iverilog"}[tool]
        monkeypatch.setattr("shutil.which", lambda name: None if name == hidden else real(name))
        # An adder that is written otherwise is not taken for a known one.
        text = path.read_text(encoding="utf-8").replace("sum = a ^ b;", "sum = b ^ a;")
        path.write_text(text, encoding="utf-8")
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    imported = luts.loading.read(path)
    np.testing.assert_array_equal(imported.table, luts.catalog[name].truth_table)
    if tool == "none":
        netlist, cuts = imported.netlist(), luts.circuits.cuts_of_table(luts.catalog[name].sha256)
        assert netlist.counts == array_netlist(cuts).counts
        member = luts.circuits.members()[cuts.name]
        priced = imported.multiplier()
        assert priced.power_mw == pytest.approx(member.power_mw, rel=1e-3)
        assert priced.figures_error_pct == member.error


def test_what_is_written_is_plain_ascii_of_readable_width():
    for cuts in (Cuts(), Cuts(3, 5, 9), Cuts(7, 7)):
        for text in (array_verilog(cuts), array_testbench(cuts)):
            assert text.isascii() and max(map(len, text.splitlines())) <= 100
            assert text.endswith("endmodule\n")


def test_nothing_is_overwritten(call, tmp_path):
    mine = tmp_path / "mul8s_array_a3b5d0_testbench.v"
    mine.write_text("mine")
    status, _, err = call("array:a3b5d0", "--out", tmp_path)
    assert status == 2 and "is there already; give another folder" in err
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("array:a8b0d0", "--out", "x"), "0…7, not 8"),
        (("mul8s_1L2h", "--out", "x"), "did you mean mul8s_1L2H"),
        (("array:a3b5d0",), "--out"),
        (("array:a3b5d0", "--out", "/dev/null/x"), "cannot write to /dev/null/x"),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2 and message in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_circuit_that_is_not_an_array_is_refused(call, tmp_path, monkeypatch):
    catalog = luts.evoapprox_catalog()
    table = luts.families.drum(k=4)
    catalog.add(luts.Multiplier("drum4", table, 0.1, 1.0, 1.0, "a test"))
    monkeypatch.setattr(luts, "catalog", catalog)
    status, _, err = call("drum4", "--out", tmp_path)
    assert status == 2 and "drum4 is not an array multiplier" in err
