"""The paper's two figures, with confidence bands."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dse._compare import TOPOLOGY_COLOURS
from studies.fixed_multiplier._tables import SUBJECT

BANDS = "bands: 95 % confidence interval of the mean over seeds (Student's t), none with one seed"


def draw_without(path: Path, table: pd.DataFrame, caption: str) -> None:
    """Top-1 and its drop against aggressiveness, without retraining; recalibrated beside it."""
    part = table[table["recovery"].isin(["none", "recalibrated"])]
    subjects = _subjects(part)
    figure = Figure(figsize=(5.2 * max(1, len(subjects)), 8.2), layout="constrained")
    axes = figure.subplots(2, max(1, len(subjects)), squeeze=False)
    for column, (subject, rows) in enumerate(subjects):
        ranks = {
            name: place
            for place, name in enumerate(
                rows.sort_values("power_rel", ascending=False)["multiplier"].unique()
            )
        }
        for axis, value, width in (
            (axes[0, column], "test_accuracy_pct", "accuracy_half_width"),
            (axes[1, column], "drop_points", "drop_half_width"),
        ):
            for (topology, recovery), line in rows.groupby(["topology", "recovery"], sort=False):
                line = line.assign(place=line["multiplier"].map(ranks)).sort_values("place")
                is_raw = recovery == "none"
                _line(axis, line, "place", value, width, str(topology), dashed=not is_raw)
            axis.set_xticks(list(ranks.values()), _ticks(rows, ranks), fontsize=8)
            axis.grid(alpha=0.25)
        axes[0, column].set_title(_title(subject, rows))
        axes[1, column].set_xlabel("multiplier and its power relative to the exact one")
        axes[1, column].invert_yaxis()
    axes[0, 0].set_ylabel("test top-1 accuracy (%)")
    axes[1, 0].set_ylabel("drop from the exact multiplier (points)")
    _name_topologies(axes[0, 0], part)
    figure.suptitle("One multiplier everywhere, without retraining")
    _save(figure, path, f"solid: as approximated; dashed: recalibrated; {BANDS}\n{caption}")


def draw_retrained(path: Path, table: pd.DataFrame, caption: str) -> None:
    """Top-1 after retraining against normalised power, one panel a network."""
    part = table[table["recovery"] == "retrained"]
    subjects = _subjects(part)
    figure = Figure(figsize=(5.2 * max(1, len(subjects)), 4.8), layout="constrained")
    axes = figure.subplots(1, max(1, len(subjects)), squeeze=False)[0]
    for axis, (subject, rows) in zip(axes, subjects, strict=False):
        for topology, line in rows.groupby("topology", sort=False):
            line = line.sort_values("energy_rel")
            _line(axis, line, "energy_rel", "test_accuracy_pct", "accuracy_half_width", topology)
        axis.set_title(_title(subject, rows))
        axis.set_xlabel("power, normalised by dense with the exact multiplier")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("test top-1 accuracy (%)")
    if subjects:
        _name_topologies(axes[0], part)
    else:
        axes[0].set_title("no retrained cell was measured")
    figure.suptitle("One multiplier everywhere, retrained through the circuits")
    _save(figure, path, f"{BANDS}\n{caption}")


def _line(
    axis: Axes,
    line: pd.DataFrame,
    x: str,
    value: str,
    width: str,
    topology: str,
    *,
    dashed: bool = False,
) -> None:
    colour = TOPOLOGY_COLOURS[topology]
    places, means = line[x].to_numpy(), line[value].to_numpy()
    axis.plot(
        places,
        means,
        color=colour,
        marker="." if dashed else "o",
        markersize=5,
        linestyle="--" if dashed else "-",
        linewidth=1.0 if dashed else 1.6,
    )
    half = line[width].to_numpy()
    if not np.isnan(half).all():
        low, high = means - half, means + half
        if value == "test_accuracy_pct":
            low, high = np.clip(low, 0, 100), np.clip(high, 0, 100)
        axis.fill_between(places, low, high, color=colour, alpha=0.06 if dashed else 0.15, lw=0)


def _name_topologies(axis: Axes, table: pd.DataFrame) -> None:
    """A legend of what any panel shows; the one that it stands in may lack some."""
    lines = [
        Line2D([], [], color=colour, marker="o", markersize=5, linewidth=1.6, label=topology)
        for topology, colour in TOPOLOGY_COLOURS.items()
        if topology in set(table["topology"])
    ]
    axis.legend(handles=lines, fontsize=8)


def _subjects(table: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    return [((str(a), str(d)), rows) for (a, d), rows in table.groupby(SUBJECT, sort=False)]


def _ticks(rows: pd.DataFrame, ranks: dict[str, int]) -> list[str]:
    power = rows.groupby("multiplier")["power_rel"].first()
    return [f"{name.removeprefix('mul8s_')}\n{power[name]:.3f}" for name in ranks]


def _title(subject: tuple[str, str], rows: pd.DataFrame) -> str:
    seeds = int(rows["seeds"].max())
    return f"{subject[0]} on {subject[1]}, {seeds} seed{'s' if seeds > 1 else ''}"


def _save(figure: Figure, path: Path, caption: str) -> None:
    columns = int(16 * figure.get_figwidth())
    lines = [wrapped for line in caption.split("\n") for wrapped in textwrap.wrap(line, columns)]
    figure.supxlabel("\n".join(lines), fontsize=7, color="#555555")
    figure.savefig(path, dpi=130, format="png", metadata={"Description": caption})
