"""Fronts against fixed multipliers, and the energy that each drop leaves."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dse import TOPOLOGY_COLOURS
from studies.searched_vs_fixed._table import at_equal_accuracy

SHOWN_POINTS = 12.0
"""Of accuracy below the best; what lost more is of no use."""


def draw(path: Path, table: pd.DataFrame, equal: pd.DataFrame, title: str, caption: str) -> None:
    """Write the picture.

    Args:
        path: PNG to write.
        table: rows of `_table.outcomes`.
        equal: `_table.at_equal_accuracy` of it.
        title: network, data set and recovery, in words.
        caption: device, duration and commit.
    """
    figure = Figure(figsize=(12.5, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _fronts(left, table)
    _energies(right, table, equal)
    handles = [
        Line2D([], [], color=TOPOLOGY_COLOURS[name], linewidth=3, label=name)
        for name in table["topology"].unique()
    ]
    handles += [
        Line2D([], [], color="grey", marker="o", label="searched"),
        Line2D([], [], color="grey", marker="x", linestyle="--", label="one fixed multiplier"),
    ]
    if table["seed"].nunique() > 1:
        faint = "faint: other seeds (right: each seed)"
        handles.append(Line2D([], [], color="grey", marker="o", alpha=0.3, label=faint))
    left.legend(handles=handles, fontsize=9)
    figure.suptitle(title)
    figure.supxlabel(caption, fontsize=7, color="0.4")
    figure.savefig(path, dpi=130, format="png")


def _fronts(axes: Axes, table: pd.DataFrame) -> None:
    for (topology, seed), rows in table.groupby(["topology", "seed"], sort=False):
        colour, alpha = TOPOLOGY_COLOURS[str(topology)], 1.0 if seed == 0 else 0.35
        for kind, style in (("searched", "o-"), ("fixed", "x--")):
            line = rows[rows["kind"] == kind].sort_values("energy_rel")
            axes.plot(
                line["energy_rel"],
                line["test_accuracy_pct"],
                style,
                color=colour,
                alpha=alpha,
                markersize=5,
                linewidth=1,
            )
    best = table["test_accuracy_pct"].max()
    axes.set_ylim(max(0, best - SHOWN_POINTS), best + 0.5)
    axes.set_xlabel("energy of multiplications, relative to dense with the exact multiplier")
    axes.set_ylabel("test top-1 accuracy (%)")
    axes.grid(alpha=0.25)


def _energies(axes: Axes, table: pd.DataFrame, equal: pd.DataFrame) -> None:
    """Means over seeds, and faintly each seed: intervals of two or three would hide them."""
    for _, rows in table.groupby("seed"):
        _needed(axes, at_equal_accuracy(rows), alpha=0.3, linestyle="")
    _needed(axes, equal, alpha=1.0, linestyle="-")
    axes.set_xlabel("validation accuracy that may be given up (points below exact)")
    axes.set_ylabel("energy that is needed,\nrelative to dense with the exact multiplier")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)


def _needed(axes: Axes, equal: pd.DataFrame, *, alpha: float, linestyle: str) -> None:
    for topology, rows in equal.groupby("topology", sort=False):
        style: dict[str, Any] = {"color": TOPOLOGY_COLOURS[str(topology)], "alpha": alpha}
        drops = rows["drop_points"]
        axes.plot(drops, rows["searched_energy_rel"], marker="o", linestyle=linestyle, **style)
        dashes = "--" if linestyle else ""
        axes.plot(drops, rows["fixed_energy_rel"], marker="x", linestyle=dashes, **style)
