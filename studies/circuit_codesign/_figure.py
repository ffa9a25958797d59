"""Accuracy against energy: narrow and cut arrays, published circuits, searches."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from studies.circuit_codesign._cells import CUT, NARROW
from studies.circuit_codesign._table import PUBLISHED

SHOWN_POINTS = 6.0
"""Of accuracy below the best."""

# Okabe and Ito's colours.
_STYLES = {
    NARROW: ("#0072B2", "o-", "one narrow exact array"),
    CUT: ("#E69F00", "s-", "one array that is cut inside"),
    PUBLISHED: ("0.3", "x--", "one published circuit"),
    "searched mul8s": ("#CC79A7", "^:", "searched, published circuits"),
    "searched mul8s+arrays": ("#009E73", "D-", "searched, with arrays"),
}


def draw(path: Path, table: pd.DataFrame, title: str) -> None:
    """Write the picture: a panel per network and topology.

    Args:
        path: PNG to write.
        table: `_table.candidates`.
        title: above all.
    """
    panels = list(table.groupby(["data", "topology"], sort=False))
    figure = Figure(figsize=(5.2 * len(panels), 4.6), layout="constrained")
    for axes, ((data, topology), part) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        for kind, (colour, style, label) in _STYLES.items():
            of_kind = part[part["kind"] == kind]
            for seed, rows in of_kind.groupby("seed"):
                line = rows.sort_values("energy_rel")
                axes.plot(
                    line["energy_rel"],
                    line["test_accuracy_pct"],
                    style,
                    color=colour,
                    alpha=1.0 if seed == of_kind["seed"].min() else 0.3,
                    label=label if seed == of_kind["seed"].min() else None,
                    markersize=4,
                    linewidth=1,
                )
        best = part["test_accuracy_pct"].max()
        axes.set(
            title=f"{data}, {topology}",
            xlabel="energy of multiplications, relative to dense exact",
            ylabel="test top-1 accuracy (%)",
            xlim=(0, 0.8),
            ylim=(best - SHOWN_POINTS, best + 0.4),
        )
        axes.grid(alpha=0.25)
    figure.axes[0].legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(path, dpi=130, format="png")
