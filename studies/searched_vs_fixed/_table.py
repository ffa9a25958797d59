"""From the trials of searches to energies at equal accuracy."""

import itertools
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dse import tight_hypervolume
from energy import recovered_accuracy
from studies._spread import half_width

DROPS_POINTS = (0.5, 1.0, 2.0, 5.0)
"""Accuracy that may be given up, in points below the exact multiplier, recovered alike."""

BUDGET_STEP = 10
"""Trials between two budgets that are compared."""

DROPS = {"validation": "drop_points", "test": "test_drop_points"}
"""Column of the drop by the images that assignments are chosen on."""


def outcomes(trials: pd.DataFrame, topology: str, seed: int) -> pd.DataFrame:
    """Every assignment of a run that was tested, a row each.

    ``drop_points`` is what its validation accuracy lacks to that of the exact multiplier, after
    all the recovery that both got, ``test_drop_points`` what its test accuracy lacks.

    Args:
        trials: the run's ``trials.csv``.
        topology: of the network.
        seed: of the run.
    """
    accuracy = recovered_accuracy(trials)
    is_fixed = trials["origin"] == "uniform"
    # Whatever stays exact everywhere (routers) is in every assignment; the circuit comes first.
    circuit = trials["multipliers"].str.partition("×")[0]
    table = pd.DataFrame(
        {
            "topology": topology,
            "seed": seed,
            "kind": is_fixed.map({True: "fixed", False: "searched"}),
            "trial": trials["trial"],
            "multiplier": circuit.where(is_fixed, ""),
            "energy_rel": trials["energy_rel"],
            "validation_accuracy_pct": accuracy,
            "test_accuracy_pct": trials["test_accuracy_pct"],
            "multipliers": trials["multipliers"],
        }
    ).dropna(subset="test_accuracy_pct")
    fixed = table[table["kind"] == "fixed"]
    exact = fixed.iloc[int(fixed["energy_rel"].to_numpy().argmax())]
    for place, (split, name) in enumerate(DROPS.items(), start=7):
        accuracy_pct = f"{split}_accuracy_pct"
        table.insert(place, name, exact[accuracy_pct] - table[accuracy_pct])
    # Of a circuit's two operand orders the better one stands for it.
    table = table.sort_values(["drop_points", "energy_rel"], kind="stable")
    twice = (table["kind"] == "fixed") & table.duplicated(["kind", "multiplier"])
    return table[~twice].sort_values("trial").reset_index(drop=True)


def progress(trials: pd.DataFrame, topology: str, seed: int) -> pd.DataFrame:
    """What a search has after so many trials, fixed multipliers included.

    Args:
        trials: the run's ``trials.csv``.
        topology: of the network.
        seed: of the run.

    Returns:
        A row per budget and drop: ``part`` of the box from energy 0 to 1 and from the exact
        multiplier's accuracy to that drop below it that the trials dominate, by the validation
        images that the search scored on.
    """
    points = trials[["energy_rel", "validation_accuracy_pct"]].to_numpy() / (1, 100)
    exact = float(points[int(trials["energy_rel"].to_numpy().argmax()), 1])
    rows = [
        {
            "topology": topology,
            "seed": seed,
            "trials": count,
            "drop_points": drop,
            "part": tight_hypervolume(points[:count], exact, drop),
        }
        for count in [*range(BUDGET_STEP, len(points), BUDGET_STEP), len(points)]
        for drop in DROPS_POINTS
    ]
    return pd.DataFrame(rows)


def at_equal_accuracy(table: pd.DataFrame, *, chosen_on: str = "validation") -> pd.DataFrame:
    """The cheapest fixed multiplier within each drop, and assignments to compare it with.

    ``matched`` is the cheapest that is at least as accurate as that fixed multiplier, ``searched``
    the cheapest within the same drop, which may use up what the multiplier leaves of it. All are
    chosen for each seed's network and on its validation images; test images only report. The fixed
    multiplier itself stands where nothing cheaper is good enough, so that no energy is above its.

    Args:
        table: rows of `outcomes` of any number of topologies and seeds.
        chosen_on: ``validation``; or ``test``, which flatters whatever has most members to choose
            from, and is there to be compared with.

    Returns:
        A row per topology and drop; half widths are of 95 % confidence intervals over seeds.
    """
    rows, lacks = [], DROPS[chosen_on]
    for topology, part in table.reset_index(drop=True).groupby("topology", sort=False):
        for drop in DROPS_POINTS:
            good = part[part[lacks] <= drop]
            fixed = _cheapest(good[good["kind"] == "fixed"])
            as_good = part[lacks] <= part["seed"].map(fixed[lacks])
            rows.append(
                {
                    "chosen_on": chosen_on,
                    "topology": topology,
                    "drop_points": drop,
                    "seeds": len(fixed),
                    "fixed": " ".join(fixed["multiplier"].unique()),
                    "fixed_energy_rel": fixed["energy_rel"].mean(),
                    "fixed_test_accuracy_pct": fixed["test_accuracy_pct"].mean(),
                    **_against(fixed, _cheapest(part[as_good]), "matched"),
                    **_against(fixed, _cheapest(good), "searched"),
                }
            )
    return pd.DataFrame(rows)


def of_presets(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """What searches of different presets reach within the same drops of one exact network.

    Args:
        tables: by preset, rows of `outcomes` of one network each, the same one. Drops are taken
            from the exact multiplier of the first, which should not be fine-tuned.

    Returns:
        A row per preset and drop: the cheapest assignment within it by validation, fixed or
        searched; and the part that all of its tested ones dominate of the box from energy 0 to 1
        and up to that drop, by validation and by test images.
    """
    first = next(iter(tables.values()))
    exact = first.iloc[int(first["energy_rel"].to_numpy().argmax())]
    rows = []
    for (name, table), drop in itertools.product(tables.items(), DROPS_POINTS):
        lacks = exact["validation_accuracy_pct"] - table["validation_accuracy_pct"]
        within = table[lacks <= drop]
        best = within.iloc[int(within["energy_rel"].to_numpy().argmin())]
        row = {"preset": name, "drop_points": drop, "energy_rel": best["energy_rel"]}
        for split in DROPS:
            column = f"{split}_accuracy_pct"
            points = table[["energy_rel", column]].to_numpy() / (1, 100)
            row[column] = best[column]
            row[f"{split}_part"] = tight_hypervolume(points, exact[column] / 100, drop)
        rows.append(row)
    return pd.DataFrame(rows)


def _against(fixed: pd.DataFrame, other: pd.DataFrame, name: str) -> dict[str, float]:
    """Energy and test accuracy of other assignments, seed by seed, against the fixed ones'."""
    ratio = other["energy_rel"] / fixed["energy_rel"]
    gain = other["test_accuracy_pct"] - fixed["test_accuracy_pct"]
    return {
        f"{name}_energy_rel": other["energy_rel"].mean(),
        f"{name}_energy_half_width": half_width(other["energy_rel"]),
        f"{name}_test_accuracy_pct": other["test_accuracy_pct"].mean(),
        f"{name}_energy_ratio": ratio.mean(),
        f"{name}_energy_ratio_half_width": half_width(ratio),
        f"{name}_test_difference_points": gain.mean(),
        f"{name}_test_difference_half_width": half_width(gain),
    }


def _cheapest(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per seed, indexed by it; the exact multiplier is always among the rows."""
    return rows.loc[rows.groupby("seed")["energy_rel"].idxmin()].set_index("seed").sort_index()


def sentences(equal: pd.DataFrame) -> list[str]:
    """`at_equal_accuracy` in words, one line per topology, for the drop of one point."""
    lines = []
    row: Any  # pandas types the columns of a row by what any frame may hold
    for row in equal[equal["drop_points"] == 1.0].itertuples():
        circuits = str(row.fixed).replace(" ", " or ")
        ratio = _with(row.matched_energy_ratio, row.matched_energy_ratio_half_width, ".3f")
        gain = _with(row.matched_test_difference_points, row.matched_test_difference_half_width)
        lines.append(
            f"{row.topology}: what is at least as accurate on validation images as {circuits}, the "
            f"cheapest fixed multiplier within one point of the exact one, needs {ratio} × its "
            f"energy ({row.matched_energy_rel:.3f} against {row.fixed_energy_rel:.3f}) at {gain} "
            f"points of test accuracy"
        )
    return lines


def _with(mean: float, width: float, form: str = "+.2f") -> str:
    spread = "" if pd.isna(width) else f" ± {width:{form.lstrip('+')}}"
    return f"{mean:{form}}{spread}"
