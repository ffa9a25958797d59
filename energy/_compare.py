"""Several networks or assignments side by side."""

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from energy import run_files
from energy._breakdown import COMPONENTS, CostBreakdown
from luts.errors import InputError
from luts.text import drawn

ACCURACY_COLUMNS = (run_files.VALIDATION_ACCURACY, "validation_accuracy", "accuracy")
"""Columns of which a front has one; every member has that accuracy, few are tested."""


def compare(breakdowns: Mapping[str, CostBreakdown]) -> pd.DataFrame:
    """One line per breakdown: MACs, energy, and each component's share of it.

    Args:
        breakdowns: breakdowns by label.
    """
    lines = {}
    for label, breakdown in breakdowns.items():
        shares = {f"{name}_share": part for name, part in breakdown.shares().items()}
        lines[label] = {
            "macs_expected": breakdown.macs_expected,
            "macs_rel": breakdown.macs_expected / breakdown.dense_macs,
            "energy_pj": breakdown.energy_pj,
            "energy_rel": breakdown.energy_rel,
            **shares,
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def recovered_accuracy(table: pd.DataFrame) -> pd.Series:
    """A run's accuracies on validation images in percent, each after most recovery that it had.

    Args:
        table: as a run's ``trials.csv`` or ``front.csv`` has it.
    """
    accuracy = table[run_files.VALIDATION_ACCURACY]
    for better in (run_files.WHOLE_ACCURACY, run_files.TUNED_ACCURACY):
        if better in table:
            accuracy = table[better].fillna(accuracy)
    return accuracy


def cheapest_within(fronts: Mapping[str, pd.DataFrame], min_accuracy: float) -> pd.DataFrame:
    """The cheapest member of each front that is accurate enough; one line per front.

    Args:
        fronts: fronts by label, as a run's ``front.csv`` holds them: ``energy_rel`` and one of
            `ACCURACY_COLUMNS`.
        min_accuracy: accuracy that a member must reach, in the front's own unit.

    Returns:
        Columns ``energy_rel`` and ``validation_accuracy``, missing (NaN) where no member is
        accurate enough, and ``test_accuracy``, missing also where the member was not tested.
        A run's own front counts with the score after most recovery that a member has.

    Raises:
        InputError: a front lacks a column, or has percent where ``min_accuracy`` is a fraction.
    """
    lines = {}
    for label, front in fronts.items():
        column = next((c for c in ACCURACY_COLUMNS if c in front), None)
        if column is None or run_files.ENERGY not in front:
            raise InputError(
                f"{label}: a front has the columns {run_files.ENERGY} and one of "
                f"{', '.join(ACCURACY_COLUMNS)}, not {', '.join(map(str, front.columns))}"
            )
        if column.endswith("_pct") and 0 < min_accuracy <= 1:
            raise InputError(
                f"{label}: accuracies are in percent there; {min_accuracy:g} is "
                f"{100 * min_accuracy:g}"
            )
        is_run = column == ACCURACY_COLUMNS[0]
        known = pd.DataFrame(
            {
                "energy_rel": front[run_files.ENERGY],
                "validation_accuracy": recovered_accuracy(front) if is_run else front[column],
                "test_accuracy": front.get(run_files.TEST_ACCURACY, math.nan),
            }
        )
        enough = known[known["validation_accuracy"] >= min_accuracy].sort_values("energy_rel")
        lines[label] = enough.iloc[0] if len(enough) else pd.Series(math.nan, index=known.columns)
    return pd.DataFrame(lines).T.astype(float)


def draw_components(axes: Axes, breakdowns: Mapping[str, CostBreakdown]) -> None:
    """Draw one stacked bar per breakdown, its components relative to the dense network's energy.

    Args:
        axes: where to draw.
        breakdowns: breakdowns by label.
    """
    names = [drawn(label) for label in breakdowns]
    bottom = [0.0] * len(names)
    for component in COMPONENTS:
        heights = [b.components_pj()[component] / b.dense_energy_pj for b in breakdowns.values()]
        if any(heights):
            axes.bar(names, heights, bottom=bottom, label=component.replace("_", " "))
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    axes.axhline(1.0, color="black", linewidth=0.8, linestyle=":")
    axes.set_ylabel("energy relative to the exact dense network")
    axes.tick_params(axis="x", labelrotation=20)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0))
