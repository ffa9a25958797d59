"""Array circuits through a mapper of cells.

Yosys maps each circuit to the cells of a liberty file and sums their areas; OpenSTA propagates
activities and times without any wire. The adders stay the library's full and half adder cells (OSU
names, FAX1 and HAX1), as in EvoApproxLib's netlists.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pandas as pd
from scipy.stats import spearmanr

import luts
from luts import FIGURES
from luts.circuits import ADDER_MODULES, all_cuts, array_verilog, members, module_name
from luts.errors import InputError

ARRAYS = ("a0b3d6", "a2b4d8", "a3b4d0", "a4b4d0", "a3b5d0", "a5b5d0")
TIME_LIMIT_S = 120

CELLS = """\
module half_adder(input a, input b, output sum, output carry);
  HAX1 cell_(.A(a), .B(b), .YS(sum), .YC(carry));
endmodule
module full_adder(input a, input b, input c, output sum, output carry);
  FAX1 cell_(.A(a), .B(b), .C(c), .YS(sum), .YC(carry));
endmodule
"""
SYNTHESIS = """\
read_liberty -lib cells.lib
read_verilog circuit.v cells.v
synth -flatten -top {top}
abc -liberty cells.lib
opt_clean
write_verilog -noattr mapped.v
tee -o area.txt stat -liberty cells.lib
"""
TIMING = """\
read_liberty cells.lib
read_verilog mapped.v
link_design {top}
create_clock -name clock -period 2
set_input_delay 0 -clock clock [all_inputs]
set_output_delay 0 -clock clock [all_outputs]
set_power_activity -input -activity 0.5 -duty 0.5
report_power -digits 6
report_checks -digits 4
exit
"""


def mapped_circuits(liberty: Path) -> pd.DataFrame:
    """The published circuits and some arrays with our figures and the mapped ones.

    Args:
        liberty: cells of 45 nm.

    Raises:
        InputError: a tool or the file is missing, or a tool fails.
    """
    for tool in ("yosys", "sta"):
        if shutil.which(tool) is None:
            raise InputError(f"{tool} is not on the PATH; install yosys and opensta")
    if not liberty.is_file():
        raise InputError(f"there is no file {liberty}; give a liberty file of 45 nm cells")
    cuts = {members()[c.name].sha256: c for c in all_cuts()}
    names = [*luts.catalog.names("mul8s"), *(f"array:{name}" for name in ARRAYS)]
    rows = []
    for multiplier in (luts.catalog[name] for name in names):
        known = {f: getattr(multiplier, f) for f in FIGURES}
        text, top = array_verilog(cuts[multiplier.sha256]), module_name(cuts[multiplier.sha256])
        mapped = mapped_figures(text, top, liberty.resolve())
        rows.append({"name": multiplier.name, "from": multiplier.figures_from} | known | mapped)
    return pd.DataFrame(rows)


def compared(table: pd.DataFrame) -> list[str]:
    """One line per figure: how far the mapped circuits rank and scale as ours do."""
    lines = []
    for figure in FIGURES:
        ratio = table[f"mapped_{figure}"] / table[figure]
        rank = spearmanr(table[figure], table[f"mapped_{figure}"])[0]
        lines.append(
            f"{figure}: Spearman {rank:.3f}, mapped / ours {ratio.min():.2f} to {ratio.max():.2f}, "
            f"median {ratio.median():.2f}"
        )
    return lines


def mapped_figures(text: str, top: str, liberty: Path) -> dict[str, float]:
    """Figures of one array circuit, its adders kept as cells.

    Args:
        text: as `luts.circuits.array_verilog` writes it.
        top: its module.
        liberty: the cells.
    """
    for module in ADDER_MODULES.values():
        text = text.replace(module, "")
    with tempfile.TemporaryDirectory(prefix="mapping-") as name:
        folder = Path(name)
        (folder / "cells.lib").symlink_to(liberty)
        for file, content in (
            ("circuit.v", text),
            ("cells.v", CELLS),
            ("map.ys", SYNTHESIS.format(top=top)),
            ("time.tcl", TIMING.format(top=top)),
        ):
            (folder / file).write_text(content, encoding="utf-8")
        _call(["yosys", "-q", "-s", "map.ys"], folder)
        timed = _call(["sta", "-exit", "time.tcl"], folder)
        area = (folder / "area.txt").read_text(encoding="utf-8")
    watt = _number(r"^Total(?:\s+\S+){3}\s+(\S+)", timed)
    return {
        "mapped_power_mw": round(1e3 * watt, 4),
        "mapped_area_um2": round(_number(r"Chip area.*: ([\d.]+)", area), 1),
        "mapped_delay_ns": round(_number(r"([\d.]+)\s+data arrival time", timed), 3),
    }


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    if done.returncode:
        raise InputError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[:200]}")
    return done.stdout


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise InputError(f"a tool's report lacks what was looked for ({pattern}): {text[:200]!r}")
    return float(found.group(1))
