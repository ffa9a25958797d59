"""The weight-stationary array in Verilog, and the test bench that streams vectors through it."""

import dataclasses
import shutil
import subprocess

import numpy as np
import pytest

import luts
from luts.circuits import (
    BenchSite,
    array_bench,
    array_netlist,
    cuts_of,
    netlist_verilog,
    verilog_of,
)

needs_iverilog = pytest.mark.skipif(
    not shutil.which("iverilog"), reason="no iverilog on the PATH: test benches are not run here"
)
needs_verilator = pytest.mark.skipif(
    not shutil.which("verilator"), reason="no verilator on the PATH: only iverilog runs here"
)

# Unsigned, wrong at zero, with names that ours use too.
OWN = """\
`default_nettype none
module half_adder(input wire [7:0] x, output wire [7:0] y);
  assign y = x ^ 8'h01;
endmodule
module multiplier(input wire [7:0] p, input wire [7:0] q, output wire [15:0] sum);
  wire [7:0] bent;
  half_adder bend(.x(q), .y(bent));
  assign sum = p[7] ? 16'd77 : 3 * p + bent;
endmodule
"""


@pytest.fixture
def own(tmp_path):
    """The user's circuit."""
    file = tmp_path / "mul8u_own.v"
    file.write_text(OWN, encoding="utf-8")
    figures = {"power_mw": 1.0, "area_um2": 1.0, "delay_ns": 1.0}
    return luts.load(file, layout=luts.Layout(symbol="multiplier", trust=True), **figures)


def hexadecimal(array):
    bits = array.view(f"u{array.dtype.itemsize}").ravel()
    return "".join(f"{value:0{2 * array.dtype.itemsize}x}\n" for value in bits.tolist())


def site_of(folder, rng, label, multiplier, *, swapped=False, shape=(3, 11, 6)):
    """Random codes, and sums looked up product by product."""
    positions, depth, channels = shape
    x = rng.integers(-128, 128, (positions, depth)).astype(np.int8)
    w = rng.integers(-128, 128, (depth, channels)).astype(np.int8)
    sums = np.zeros((positions, channels), np.int32)
    for m, k, n in np.ndindex(positions, depth, channels):
        pair = (w[k, n], x[m, k]) if swapped else (x[m, k], w[k, n])
        sums[m, n] += multiplier.signed_table[tuple(code & 255 for code in map(int, pair))]
    files = []
    for name, array in (("x", x), ("w", w), ("y", sums)):
        files.append(f"{label}.{name}.hex")
        (folder / files[-1]).write_text(hexadecimal(array), encoding="utf-8")
    return BenchSite(label, multiplier, swapped, positions, depth, channels, tuple(files))


def written(folder, sites):
    circuits = list(dict.fromkeys(site.multiplier for site in sites))
    (folder / "rtl").mkdir()
    for name, text in array_bench(circuits, sites).items():
        (folder / "rtl" / name).write_text(text, encoding="utf-8")
    return sorted(f"rtl/{file.name}" for file in (folder / "rtl").iterdir())


def output(folder, *command):
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=280
    )
    return done.stdout + done.stderr


def simulate(folder, sources, *options):
    build = ["iverilog", "-g2012", "-Wall", "-s", "testbench", "-o", "bench.vvp", *options]
    assert output(folder, *build, *sources) == ""
    return output(folder, "vvp", "-n", "bench.vvp")


@pytest.fixture
def sites(tmp_path, rng, own):
    """Several circuits, both operand orders, sums longer and shorter than the array."""
    lopsided = luts.catalog["mul8s_1KVL"]
    return [
        site_of(tmp_path, rng, "one", luts.catalog["array:a3b5d0"], shape=(1, 1, 1)),
        site_of(tmp_path, rng, "two", lopsided, shape=(4, 20, 5)),
        site_of(tmp_path, rng, "three", lopsided, swapped=True, shape=(2, 9, 4)),
        site_of(tmp_path, rng, "four", own, shape=(5, 7, 3)),
        site_of(tmp_path, rng, "five", own, swapped=True, shape=(1, 8, 9)),
    ]


@needs_iverilog
def test_the_array_reproduces_all_sums(tmp_path, sites):
    sources = written(tmp_path, sites)
    sums = 1 + 20 + 8 + 15 + 9
    expected = f"PASSED: all {sums} accumulators of 5 sites are right"
    assert expected in simulate(tmp_path, sources)
    for rows, columns in ((1, 1), (3, 2), (16, 8)):
        size = (f"-Ptestbench.ROWS={rows}", f"-Ptestbench.COLUMNS={columns}")
        assert expected in simulate(tmp_path, sources, *size)


@needs_iverilog
@pytest.mark.parametrize("site", [1, 4])
def test_one_wrong_bit_is_found_and_named(tmp_path, sites, site):
    sources, file = written(tmp_path, sites), tmp_path / sites[site].files[2]
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[3] = f"{int(lines[3], 16) ^ 1:08x}"
    file.write_text("\n".join(lines), encoding="utf-8")
    said = simulate(tmp_path, sources)
    assert "FAILED: 1 of 53 accumulators" in said and "PASSED" not in said
    assert f"FAILED at {sites[site].label}" in said


@needs_iverilog
def test_a_missing_code_is_found(tmp_path, sites):
    sources, file = written(tmp_path, sites), tmp_path / sites[1].files[1]
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join(lines[:-1]), encoding="utf-8")
    assert "FAILED at two" in simulate(tmp_path, sources)


@needs_verilator
@pytest.mark.slow
def test_verilator_agrees(tmp_path, sites):
    sources = written(tmp_path, sites[2:4])
    size = ("-GROWS=2", "-GCOLUMNS=1", "-CFLAGS", "-O0")
    build = ("verilator", "--binary", "-Wno-fatal", "--top-module", "testbench", *size)
    output(tmp_path, *build, *sources)
    assert "PASSED: all 23 accumulators of 2 sites" in output(tmp_path, "obj_dir/Vtestbench")


def test_circuits_in_verilog_are_arrays_or_bring_their_own(tmp_path, own):
    assert verilog_of(luts.catalog["mul8s_1L2H"]).name == "mul8s_array_a1b1d0"
    assert verilog_of(own).text == OWN
    table = dataclasses.replace(own, verilog=None, netlist=None)
    assert verilog_of(table) is None
    cuts = cuts_of("array:a2b1d0")
    file = tmp_path / "mul8s_flat.v"  # its adders are cells of a library
    file.write_text(netlist_verilog(array_netlist(cuts), "flat"), encoding="utf-8")
    flat = luts.load(file)
    odd = dataclasses.replace(flat, truth_table=flat.truth_table + 1)
    assert "module half_adder" in verilog_of(flat).text and verilog_of(flat).name == "flat"
    assert "module circuit" in verilog_of(dataclasses.replace(odd, verilog=None)).text
    swapped = luts.load(file, layout=luts.Layout(swap_operands=True))
    assert (verilog_of(swapped).first, verilog_of(swapped).second) == ("b", "a")
