"""Energies within a drop and at equal accuracy: published, narrow and cut arrays, and searches."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from studies._spread import half_width
from studies.circuit_codesign._cells import CUT, NARROW, CodesignStudy, is_published, kind_of

DROPS_POINTS = (0.5, 1.0, 2.0, 5.0)
PUBLISHED, ARRAYS = "published", "arrays"
"""One published circuit everywhere; one circuit of any kind everywhere."""

CLASSES: dict[str, Callable[[str], bool]] = {
    PUBLISHED: is_published,
    NARROW: lambda circuit: kind_of(circuit) == NARROW,
    CUT: lambda circuit: kind_of(circuit) == CUT,
    ARRAYS: lambda circuit: True,
}
"""Classes of one circuit everywhere; it may be of several."""


def candidates(
    study: CodesignStudy, records: Sequence[Mapping[str, Any]], searched: Path
) -> pd.DataFrame:
    """Every assignment that was tested, a row for each class that it stands for.

    Fixed circuits are those of the sweeps, and those that searches tried.

    Args:
        study: the configuration.
        records: of the sweeps.
        searched: folder of results of searched_vs_fixed; presets that it lacks are left out.

    Returns:
        Columns ``data``, ``topology``, ``seed``, ``kind`` (a class of fixed circuits, or
        ``searched CATALOGUE``), ``circuit``, ``energy_rel``, ``drop_points`` and
        ``test_accuracy_pct``.
    """
    rows = [row for record in records for row in _fixed(record)]
    tables = [pd.DataFrame(rows)]
    for data, network in study.networks.items():
        for catalogue, preset in network.searched.items():
            file = searched / f"{preset}.csv"
            if file.exists():
                found = pd.read_csv(file).rename(columns={"multiplier": "circuit"})
                found["data"] = data
                tables.append(found.assign(kind=f"searched {catalogue}"))
                fixed = found[found["kind"] == "fixed"]
                tables += [
                    fixed[fixed["circuit"].map(is_of).astype(bool)].assign(kind=kind)
                    for kind, is_of in CLASSES.items()
                ]
    columns = [
        *("data", "topology", "seed", "kind", "circuit", "energy_rel"),
        *("drop_points", "test_accuracy_pct"),
    ]
    return pd.concat([table[columns] for table in tables], ignore_index=True)


def _fixed(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    exact = record["exact_validation"]["accuracy"]
    rows = []
    for circuit in record["circuits"]:
        if "test" not in circuit:
            continue
        for kind in (kind for kind, is_of in CLASSES.items() if is_of(circuit["multiplier"])):
            rows.append(
                {
                    "data": record["data"],
                    "topology": record["topology"],
                    "seed": record["seed"],
                    "kind": kind,
                    "circuit": circuit["multiplier"] + " (swapped)" * circuit["swapped"],
                    "energy_rel": circuit["energy_rel"],
                    "drop_points": 100 * (exact - circuit["validation"]["accuracy"]),
                    "test_accuracy_pct": 100 * circuit["test"]["accuracy"],
                }
            )
    return rows


def compared(table: pd.DataFrame) -> pd.DataFrame:
    """What each class needs, relative to the best published circuit, seed by seed.

    Within a drop, the cheapest of a class that validation images admit; ``matched`` is the cheapest
    that is at least as accurate as the best published circuit within that drop. The seeds are those
    that the class and the published circuits have in common.

    Returns:
        A row per network, topology, drop and class; half widths are of 95 % confidence intervals.
    """
    rows = []
    for (data, topology), part in table.groupby(["data", "topology"], sort=False):
        for drop in DROPS_POINTS:
            within = part[part["drop_points"] <= drop]
            best = _cheapest(within[within["kind"] == PUBLISHED])
            allowed = part["seed"].map(best["drop_points"])
            as_good = part[part["drop_points"] <= allowed]
            for kind in part["kind"].unique():
                found = _cheapest(within[within["kind"] == kind])
                matched = _cheapest(as_good[as_good["kind"] == kind])
                rows.append(
                    {"data": data, "topology": topology, "drop_points": drop, "kind": kind}
                    | _against(best, found, "")
                    | _against(best, matched, "matched_")
                )
    return pd.DataFrame(rows)


def at_equal_power(table: pd.DataFrame) -> pd.DataFrame:
    """Each array that is cut inside beside narrow exact ones of the same power.

    What those have at its power is drawn between the two next to it, of those that no cheaper one
    beats on validation images; cut arrays beyond the cheapest or the dearest of them are left out.

    Args:
        table: `candidates`.

    Returns:
        Columns ``data``, ``topology``, ``seed``, ``circuit``, ``energy_rel``,
        ``test_accuracy_pct``, ``narrow_test_accuracy_pct`` and ``difference_points``: what the cut
        array has more.
    """
    columns = ["data", "topology", "seed", "circuit", "energy_rel", "test_accuracy_pct"]
    parts = []
    for _, part in table.groupby(["data", "topology", "seed"], sort=False):
        once = part.drop_duplicates(["kind", "circuit"])
        narrow = once[once["kind"] == NARROW].sort_values("energy_rel")
        narrow = narrow[narrow["drop_points"] == narrow["drop_points"].cummin()]
        cut = once[(once["kind"] == CUT) & once["energy_rel"].between(*_ends(narrow))]
        beside = np.interp(cut["energy_rel"], narrow["energy_rel"], narrow["test_accuracy_pct"])
        parts.append(
            cut[columns].assign(
                narrow_test_accuracy_pct=beside,
                difference_points=cut["test_accuracy_pct"] - beside,
            )
        )
    return pd.concat(parts, ignore_index=True)


def _ends(rows: pd.DataFrame) -> tuple[float, float]:
    return float(rows["energy_rel"].min()), float(rows["energy_rel"].max())


def _cheapest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per seed, indexed by it."""
    return rows.loc[rows.groupby("seed")["energy_rel"].idxmin()].set_index("seed").sort_index()


def _against(best: pd.DataFrame, found: pd.DataFrame, prefix: str) -> dict[str, Any]:
    seeds = best.index.intersection(found.index)
    found, best = found.loc[seeds], best.loc[seeds]
    ratio = found["energy_rel"] / best["energy_rel"]
    gain = found["test_accuracy_pct"] - best["test_accuracy_pct"]
    values = {
        "seeds": len(seeds),
        "circuits": " ".join(c for c in found["circuit"].dropna().unique() if c),
        "energy_rel": found["energy_rel"].mean(),
        "test_accuracy_pct": found["test_accuracy_pct"].mean(),
        "energy_ratio": ratio.mean(),
        "energy_ratio_half_width": half_width(ratio),
        "energy_ratios": " ".join(f"{each:.3f}" for each in ratio),
        "test_difference_points": gain.mean(),
        "test_difference_half_width": half_width(gain),
    }
    return {prefix + name: value for name, value in values.items()}


def verdict(beside: pd.DataFrame) -> str:
    """`at_equal_power` in words: means of networks, so that each counts once."""
    means = beside.groupby(["data", "topology", "seed"])["difference_points"].mean()
    width = half_width(means)
    spread = "" if pd.isna(width) else f" ± {width:.2f}"
    better = int((beside["difference_points"] > 0).sum())
    return (
        f"at equal power an array that is cut inside has {means.mean():+.2f}{spread} points of "
        f"test accuracy against a narrow exact one ({len(means)} networks); {better} of "
        f"{len(beside)} cut arrays are better"
    )


def sentences(comparison: pd.DataFrame) -> list[str]:
    """The comparison within one point in words, a line per network, topology and class."""
    lines = []
    row: Any
    for row in comparison[comparison["drop_points"] == 1.0].itertuples():
        if row.kind != PUBLISHED and row.seeds:
            at_equal = "nothing is cheaper at no lower validation accuracy"
            if row.matched_seeds:
                at_equal = (
                    f"{row.matched_energy_ratio:.3f} × at no lower validation accuracy "
                    f"(test {row.matched_test_difference_points:+.2f} points)"
                )
            lines.append(
                f"{row.data} {row.topology}, {row.kind}: {row.energy_ratio:.3f} × the energy of "
                f"the best published circuit within a point, {at_equal}; {row.seeds} "
                f"seed{'s' * (row.seeds != 1)}"
            )
    return lines
