"""``python -m luts.calibrate``: recompute the estimates that `luts/data` keeps.

Writes ``figures_model.csv`` and ``arrays.csv``, and ``netlist_calibration.csv`` where published
netlists are given.
"""

import csv
import dataclasses
import io
from importlib import resources
from pathlib import Path
from typing import Any

from luts import families
from luts._catalog import catalog
from luts._evoapprox import names_by_cuts
from luts._multiplier import FIGURES, Multiplier
from luts.circuits import _calibration, _dominance
from luts.circuits._array import Cuts, all_cuts, array_netlist
from luts.circuits._family import ARRAYS_CSV
from luts.circuits._figures import (
    MODEL_CSV,
    FigureEstimate,
    FigureModel,
    estimate,
    figure_models,
)
from luts.console import Parser, Terminal, run

CALIBRATION_CSV = "data/netlist_calibration.csv"


def main() -> None:
    """Fit the estimate, price the arrays and choose the set of those worth searching."""
    parser = Parser(
        prog="python -m luts.calibrate",
        description="Recompute the figures that luts/data keeps of array multipliers.",
    )
    parser.add_argument(
        "--netlists",
        type=Path,
        metavar="DIR",
        help="checkout of EvoApproxLib's master branch, to measure its netlists anew",
    )
    arguments = parser.parse_args()
    console = Terminal()
    if arguments.netlists:
        _write(CALIBRATION_CSV, _calibration.measure(arguments.netlists))
    models = _calibration.fit(calibration_rows())
    _write(MODEL_CSV, [_model_row(figure, model) for figure, model in models.items()])
    figure_models.cache_clear()
    rows = array_rows()
    _write(ARRAYS_CSV, rows)
    for figure, model in models.items():
        console.print(
            f"{figure}: circuits left out err by {model.left_out_median_pct} % in median, nine in "
            f"ten by at most {model.left_out_p90_pct} %, all by at most {model.left_out_max_pct} %"
            f"; rank correlation {model.left_out_spearman}"
        )
    console.print(f"{len(rows)} arrays, {sum(row['in_arrays'] for row in rows)} of them in the set")


def calibration_rows() -> list[dict[str, Any]]:
    """What was measured of published netlists, one row per circuit."""
    text = resources.files("luts").joinpath(CALIBRATION_CSV).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def array_rows() -> list[dict[str, Any]]:
    """Every member of the family with its estimated figures, from most to least power."""
    published = {cuts: catalog[name].power_mw for cuts, name in names_by_cuts().items()}
    estimates = {cuts: estimate(array_netlist(cuts), is_array=True) for cuts in all_cuts()}
    priced = {
        cuts: dataclasses.replace(found, power_mw=within_published(cuts, found.power_mw, published))
        for cuts, found in estimates.items()
    }
    charged = {cuts: published.get(cuts, found.power_mw) for cuts, found in priced.items()}
    chosen = _dominance.undominated(charged)
    rows = []
    for cuts, found in sorted(priced.items(), key=lambda item: (-item[1].power_mw, item[0].name)):
        table = families.broken_array(
            break_a=cuts.break_a, break_b=cuts.break_b, break_diagonal=cuts.break_diagonal
        )
        sha256 = Multiplier(cuts.name, table, 1.0, 1.0, 1.0, "").sha256
        figures = _figure_columns(found)
        known_as = names_by_cuts().get(cuts, "")
        row = {"name": cuts.name, **figures, "in_arrays": int(cuts in chosen)}
        rows.append(row | {"known_as": known_as, "sha256": sha256})
    return rows


def within_published(cuts: Cuts, power_mw: float, published: dict[Cuts, float]) -> float:
    """An estimate, made consistent with what was published: who cuts more, costs no more.

    It is raised to the power of a published circuit that this one contains, and lowered to that of
    one that contains it. An array that was published itself keeps its estimate.
    """
    if cuts in published:
        return power_mw
    above = [power for known, power in published.items() if cuts.products < known.products]
    below = [power for known, power in published.items() if known.products < cuts.products]
    return min([max([power_mw, *below]), *above])


def _figure_columns(found: FigureEstimate) -> dict[str, float]:
    columns = {figure: float(f"{getattr(found, figure):.4g}") for figure in FIGURES}
    for figure in FIGURES:
        columns[f"{figure.split('_')[0]}_error_pct"] = getattr(found.error, figure)
    return columns


def _model_row(figure: str, model: FigureModel) -> dict[str, Any]:
    return {"figure": figure, **vars(model), "weights": " ".join(map(str, model.weights))}


def _write(name: str, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    Path(str(resources.files("luts").joinpath(name))).write_text(text.getvalue(), encoding="utf-8")


if __name__ == "__main__":
    run(main)
