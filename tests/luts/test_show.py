"""``python -m luts.show``: what it prints, draws and refuses."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

import luts
from luts import show
from luts._heat_map import error_heat_map
from luts.console import run


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command; the value is (exit status, standard output, standard error)."""

    def call_it(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["luts.show", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            run(show.main)
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call_it


def test_shows_the_whole_catalogue_with_both_names(call):
    status, out, _ = call()
    assert status == 0
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if "│" in line}
    assert set(rows) == set(luts.catalog)
    for multiplier in luts.catalog.values():
        row = rows[multiplier.name]
        assert multiplier.aliases[0].removeprefix("v2022/") in row
        assert f"{multiplier.power_mw:.3f}" in row
        assert f" {luts.Arithmetic(multiplier).factorisation.terms} " in row


def test_shows_a_set_and_single_names(call):
    status, out, _ = call("paper")
    assert status == 0 and out.count("mul8s_1") == 16
    status, out, _ = call("mul8s_1KR3", "v2022/mul8s_1L2J")
    assert "mul8s_1L2H" in out and "135.77" in out and "note:" not in out


def test_a_reused_name_carries_its_notice(call):
    _, out, _ = call("mul8s_1KVA")
    assert "note: mul8s_1KVA is read as the circuit of EvoApproxLib's master branch" in out


def test_shows_a_file_its_findings_and_its_heat_map(call, tmp_path):
    np.save(tmp_path / "mul8s_found.npy", luts.catalog["mul8s_1KR6"].truth_table)
    picture = tmp_path / "error.png"
    status, out, _ = call(tmp_path / "mul8s_found.npy", "--out", picture)
    assert status == 0
    assert "this is mul8s_1KR6 (v2022 mul8s_1KVP)" in out
    assert "an exact sum of 3 int8 products, equal in all 65,536 entries" in out
    assert "49,024 of all 65,536 products are wrong" in out
    assert "exchanging its operands changes" in out
    assert "luts.load needs power_mw=…, area_um2=…, delay_ns=…" in out
    assert f"wrote {picture}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".png"] == ["error.png"]


def test_shows_figures_that_are_given(call, tmp_path):
    table = luts.families.truncated(columns=4, correction=16)
    np.save(tmp_path / "mine.npy", table)
    arguments = ("--signed", "--power-mw", 0.2, "--area-um2", 400, "--delay-ns", 1.25)
    _, out, _ = call(tmp_path / "mine.npy", *arguments, "--name", "truncated4")
    assert "truncated4" in out and "0.200" in out and "400.0" in out and "1.25" in out
    assert "that of no multiplier in the catalogue" in out
    assert "the product of two zeros is 16" in out
    assert "luts.load needs" not in out


def test_an_unsigned_file(call, tmp_path):
    np.save(tmp_path / "mul8u_mine.npy", luts.families.exact(signed=False))
    _, out, _ = call(tmp_path / "mul8u_mine.npy")
    assert "unsigned, used through sign and magnitude" in out
    assert "all 65,536 products are exact" in out


def test_a_broken_promise_is_a_warning_line(call, tmp_path):
    np.save(tmp_path / "mul8s_1L2H.npy", luts.catalog["mul8s_1KR8"].truth_table)
    _, out, _ = call(tmp_path / "mul8s_1L2H.npy")
    assert "warning: mul8s_1L2H is not the circuit that its name promises" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mul8s_1L2h",), "unknown multiplier or set 'mul8s_1L2h'; did you mean mul8s_1L2H"),
        (("nothing.npy",), "there is no file nothing.npy"),
        ((__file__,), "extension '.py'"),
        (("mul8s_1L2H", "a.npy"), "one file at a time"),
        (("--out", "x.png"), "--out draws one multiplier, not 13"),
        (("mul8s_1L2H", "--out", "x.pdf"), "a heat map is a .png"),
        (("mul8s_1L2H", "--out", "/nowhere/at/all.png"), "cannot write"),
        (("--colour",), "unrecognized arguments"),
        (("mul8s_1L2H", "--power-mw", "5"), "are about the multiplier in a file"),
        (("mul8s_1L2H", "--unsigned"), "are about the multiplier in a file"),
        (("a.npy", "--index-order", "rows"), "invalid choice"),
    ],
)
def test_mistakes_are_one_line_and_status_2(call, arguments, message):
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err
    assert err.startswith("error: ") and err.count("\n") == 1


def test_a_picture_is_only_replaced_when_asked(call, tmp_path):
    picture = tmp_path / "error.png"
    picture.write_text("mine")
    status, _, err = call("mul8s_1L2H", "--out", picture)
    assert status == 2 and "is there already" in err
    assert picture.read_text() == "mine"
    assert call("mul8s_1L2H", "--out", picture, "--force")[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_heat_map_has_its_axes_the_right_way_round(tmp_path):
    # Wrong where the first operand is low and the second high: bottom right.
    table = luts.families.exact()
    table[128:144, 112:128] += 5_000
    multiplier = luts.Multiplier("m", table, 1.0, 1.0, 1.0, "a test")
    error_heat_map(multiplier, tmp_path / "m.png")
    red, green, blue = np.moveaxis(imread(tmp_path / "m.png")[..., :3], -1, 0)
    height, width = red.shape
    y, x = np.nonzero((red > 0.3) & (green < 0.2) & (blue < 0.3))
    picture = x < width * 0.8  # the rest is the colour bar
    assert picture.sum() > 500
    assert (y[picture] > height * 0.75).all() and (x[picture] > width * 0.6).all()


def test_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "luts.show", "mul8s_1L2H"],
        capture_output=True,
        text=True,
        cwd=Path(luts.__file__).parents[1],
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mul8s_1L2J" in done.stdout and done.stderr == ""


def test_estimated_figures_carry_their_error(call):
    _, out, _ = call("array:a3b5d0", "mul8s_1L2H")
    row = next(line for line in out.splitlines() if "array:a3b5d0" in line)
    error = luts.catalog["array:a3b5d0"].figures_error_pct
    assert "estimated" in row and f"±{error.power_mw:.0f} %" in row
    row = next(line for line in out.splitlines() if "mul8s_1L2H" in line)
    assert "published" in row and "±" not in row
    assert "of 1 of these 2 multipliers are estimated" in out


def test_a_circuits_file_is_priced_and_given_figures_win(call, tmp_path):
    source = "module mul8s_t(A, B, O); input [7:0] A; input [7:0] B; output [15:0] O;\n"
    zeros = ", ".join(["1'b0"] * 12)
    source += "FAX1 u(.A((A[6] & B[6])), .B((A[5] & B[7])), .C((A[7] & B[5])), .YS(s), .YC(c));\n"
    source += f"assign O = {{1'b0, 1'b0, c, s, {zeros}}};\nendmodule\n"
    (tmp_path / "mul8s_t.v").write_text(source)
    _, out, _ = call(tmp_path / "mul8s_t.v", "--power-mw", 0.25, "--trust")
    assert "power_mw: given, whatever the file says" in out and "0.250 │" in out
    assert "area_um2, delay_ns: estimated from its netlist" in out and "±" in out
    assert "luts.load needs" not in out


def test_a_circuit_that_cannot_be_priced_says_what_would_help(call, tmp_path, monkeypatch):
    if not shutil.which("iverilog"):
        pytest.skip("no iverilog on the PATH: Verilog is not simulated here")
    real = shutil.which
    monkeypatch.setattr("shutil.which", lambda name: None if name == "yosys" else real(name))
    path = tmp_path / "mul8u_t.v"
    header = "module mul8u_t(input [7:0] a, b, output [15:0] o); assign o = "
    path.write_text(header + "a * b; endmodule")
    status, out, _ = call(path)
    assert status == 0 and "— │" in out
    assert "luts.load needs power_mw=…, area_um2=…, delay_ns=…" in out
    assert "with yosys on the PATH they would be estimated" in out
    monkeypatch.setattr("shutil.which", real)
    if real("yosys"):
        path.write_text(header + "{8'b0, a}; endmodule")
        _, out, _ = call(path, "--trust")
        assert "yosys cannot read it, or finds no gates in it" in out
