"""Calibrate the estimate of figures on published netlists (`luts.calibrate` runs it)."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import spearmanr

from luts._multiplier import FIGURES
from luts.circuits._figures import FigureModel, NetlistFeatures, features
from luts.circuits._netlist import Netlist
from luts.circuits._structural import NotStructural, read_structural, without_comments
from luts.errors import InputError

Floats = npt.NDArray[np.float64]

SOURCE = "EvoApproxLib master branch (Mrazek et al. DATE 2017; IEEE TVLSI 26(11) 2018; MIT)"

MANY_ADDERS = 50
"""Circuits of fewer full adders are estimated from larger ones too, to see how far that carries."""

_HEADER = {"power_mw": "PDK45_PWR", "area_um2": "PDK45_AREA", "delay_ns": "PDK45_DELAY"} | {
    "mae_published": "MAE"
}


def measure(folder: Path) -> list[dict[str, Any]]:
    """One row per multiplier among the ``*_pdk45.v`` files in ``folder``, sorted by name.

    Left out are files that are not flat netlists of known cells, and those that leave the last
    adder to the synthesiser.

    Raises:
        InputError: there is no such file, or one that was read does not err as its header says.
    """
    files = {path.stem: path for path in sorted(folder.rglob("mul*_pdk45.v"))}
    if not files:
        raise InputError(
            f"there is no mul*_pdk45.v in {folder}; give a checkout of EvoApproxLib's master branch"
        )
    rows = []
    for stem, path in sorted(files.items()):
        name = stem.removesuffix("_pdk45")
        text = path.read_text(encoding="utf-8", errors="replace")
        code = without_comments(text)
        try:
            netlist = read_structural(code, name, ("A", "B", "O"))
        except NotStructural:
            continue
        if "+" not in code:
            rows.append(_row(netlist, text))
    return rows


def _row(netlist: Netlist, text: str) -> dict[str, Any]:
    kind = "signed" if re.match(r"mul\d+s", netlist.name) else "unsigned"
    published = {
        column: float(re.search(rf"\b{label} = ([0-9.]+)", text).group(1))  # type: ignore[union-attr]
        for column, label in _HEADER.items()
    }
    seen = _mean_absolute_error(netlist, signed=kind == "signed")
    if abs(seen - published["mae_published"]) > 0.1 * published["mae_published"] + 1:
        raise InputError(
            f"{netlist.name} errs by {seen:.1f} in mean, its header says "
            f"{published['mae_published']}; the netlist was not read as it is meant"
        )
    known = vars(features(netlist))
    rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in known.items()}
    row = {"name": netlist.name, "width": netlist.widths[0], "kind": kind}
    return row | rounded | published | {"mae_seen": round(seen, 3), "source": SOURCE}


def _mean_absolute_error(netlist: Netlist, *, signed: bool) -> float:
    width = netlist.widths[0]
    first, second = np.random.default_rng(1).integers(0, 1 << width, (2, 4_000))
    product = netlist.products(first, second)
    if signed:
        for values, bits in ((first, width), (second, width), (product, len(netlist.product))):
            values -= (values >> (bits - 1)) << bits
    return float(np.abs(product - first * second).mean())


def fit(rows: list[dict[str, Any]]) -> dict[str, FigureModel]:
    """The weights of least relative error, none negative, and the errors of circuits left out.

    Args:
        rows: as `measure` gives them.
    """
    known = [_features_of(row) for row in rows]
    adders = np.array([each.full_adders for each in known])
    models = {}
    for figure in FIGURES:
        published = np.array([float(row[figure]) for row in rows])
        relative = np.array([k.terms[figure] for k in known]) / published[:, None]
        left_out = np.array(
            [relative[i] @ _weights(np.delete(relative, i, axis=0)) for i in range(len(rows))]
        )
        smaller = np.array(
            [
                relative[i] @ _weights(relative[adders >= 2 * adders[i]])
                for i in np.flatnonzero(adders < MANY_ADDERS)
            ]
        )
        errors = 100 * np.abs(left_out - 1)
        models[figure] = FigureModel(
            weights=tuple(float(f"{weight:.6g}") for weight in _weights(relative)),
            left_out_median_pct=round(float(np.median(errors)), 2),
            left_out_p90_pct=round(float(np.quantile(errors, 0.9)), 2),
            left_out_max_pct=round(float(errors.max()), 2),
            smaller_p90_pct=round(float(np.quantile(100 * np.abs(smaller - 1), 0.9)), 2),
            left_out_spearman=round(float(spearmanr(left_out * published, published)[0]), 5),
        )
    return models


def _features_of(row: dict[str, Any]) -> NetlistFeatures:
    return NetlistFeatures(
        full_adders=int(row["full_adders"]),
        half_adders=int(row["half_adders"]),
        exclusive=int(row["exclusive"]),
        gates=int(row["gates"]),
        adder_toggles=float(row["adder_toggles"]),
        other_toggles=float(row["other_toggles"]),
        depth=int(row["depth"]),
    )


def _weights(relative: Floats) -> Floats:
    weights: Floats = nnls(relative, np.ones(len(relative)))[0]
    return weights
