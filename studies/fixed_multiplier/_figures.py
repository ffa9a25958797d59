"""The paper's two figures, with confidence bands."""

import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dse import TOPOLOGY_COLOURS
from studies.fixed_multiplier._tables import SUBJECT, of_order, orders_of

BANDS = "bands: 95 % confidence interval of the mean over seeds (Student's t), none with one seed"
OTHER_ORDER = "weight on the first port"
MARKERS = {"dense": "o", "hard": "s", "soft": "^", "cluster": "D"}

HALF_WIDTHS = {"test_accuracy_pct": "accuracy_half_width", "drop_points": "drop_half_width"}
NEAR_POINTS = 10.0
"""What the enlarged row shows: the cheapest circuits would flatten everything else."""

Subject = tuple[str, str]
"""Architecture and data set."""


def draw_without(
    path: Path, table: pd.DataFrame, caption: str, proxies: Mapping[Subject, str]
) -> None:
    """Top-1 and its drop against aggressiveness, without retraining; recalibrated beside it.

    Args:
        path: PNG to write.
        table: rows of `_tables.summary`.
        caption: how the figures were made.
        proxies: the data set that each subject's stands for, where it does.
    """
    part = table[table["recovery"].isin(["none", "recalibrated"])]
    figure, axes, subjects = _panels(part, rows=3)
    for column, (subject, variant, rows) in enumerate(subjects):
        falling = rows.sort_values("power_rel", ascending=False)["multiplier"].unique()
        ranks = {name: place for place, name in enumerate(falling)}
        values = ("test_accuracy_pct", "drop_points", "drop_points")
        for axis, value in zip(axes[:, column], values, strict=True):
            placed = rows.assign(place=rows["multiplier"].map(ranks))
            for (topology, recovery), line in placed.groupby(["topology", "recovery"], sort=False):
                is_raw = recovery == "none"
                _line(axis, line, "place", value, str(topology), dashed=not is_raw)
            axis.set_xticks(list(ranks.values()), _ticks(rows, ranks), fontsize=8)
        axes[0, column].set_title(_title(subject, rows, proxies) + variant)
        axes[1, column].invert_yaxis()
        axes[2, column].set_ylim(NEAR_POINTS, -NEAR_POINTS / 4)
        axes[2, column].set_xlabel("multiplier and its power relative to the exact one")
    axes[0, 0].set_ylabel("test top-1 accuracy (%)")
    axes[1, 0].set_ylabel("drop from the exact multiplier (points)")
    axes[2, 0].set_ylabel("the same drop, enlarged (points)")
    kinds = [
        Line2D([], [], color="0.35", linewidth=1.6, label="as approximated"),
        Line2D([], [], color="0.35", linewidth=1.0, linestyle="--", label="recalibrated"),
    ]
    _name_lines(axes[0, 0], part, kinds)
    figure.suptitle("One multiplier everywhere, without retraining")
    _save(figure, path, f"{BANDS}\n{caption}")


def draw_retrained(
    path: Path, table: pd.DataFrame, caption: str, proxies: Mapping[Subject, str]
) -> None:
    """Top-1 after retraining against normalised power, one panel per network, and enlarged.

    The arguments are those of `draw_without`.
    """
    part = table[table["recovery"] == "retrained"]
    figure, axes, subjects = _panels(part, rows=2)
    for column, (subject, variant, rows) in enumerate(subjects):
        for axis in axes[:, column]:
            for topology, line in rows.groupby("topology", sort=False):
                _line(axis, line, "energy_rel", "test_accuracy_pct", str(topology))
        best = rows["test_accuracy_pct"].max()
        axes[1, column].set_ylim(best - NEAR_POINTS, best + NEAR_POINTS / 4)
        axes[0, column].set_title(_title(subject, rows, proxies) + variant)
        axes[1, column].set_xlabel("power, normalised by dense with the exact multiplier")
    axes[0, 0].set_ylabel("test top-1 accuracy (%)")
    axes[1, 0].set_ylabel("the same accuracy, enlarged (%)")
    if subjects:
        _name_lines(axes[0, 0], part)
    else:
        axes[0, 0].set_title("no retrained cell was measured")
    figure.suptitle("One multiplier everywhere, retrained through the circuits")
    _save(figure, path, f"{BANDS}\n{caption}")


def _panels(
    table: pd.DataFrame, *, rows: int
) -> tuple[Figure, np.ndarray, list[tuple[Subject, str, pd.DataFrame]]]:
    """An empty figure with a column of panels for each subject and protocol, ``[row, column]``."""
    subjects: list[tuple[Subject, str, pd.DataFrame]] = []
    for (arch, dataset), part in table.groupby(SUBJECT, sort=False):
        variants = part["variant"] if "variant" in part else pd.Series("", index=part.index)
        for name, its_own in part.groupby(variants, sort=False):
            subjects.append(((str(arch), str(dataset)), f"\n{name}" if name else "", its_own))
    columns = max(1, len(subjects))
    figure = Figure(figsize=(5.2 * columns, 0.6 + 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.25)
    return figure, axes, subjects


def _line(
    axis: Axes, line: pd.DataFrame, x: str, value: str, topology: str, *, dashed: bool = False
) -> None:
    """A line through the points of one operand order; crosses where the other one is, too."""
    colour = TOPOLOGY_COLOURS[topology]
    usual, *others = orders_of(line)
    for order in others:
        crosses = line[line["swapped"] == order]
        size = 4 if dashed else 6
        axis.plot(crosses[x], crosses[value], "x", color=colour, markersize=size, alpha=0.85)
    line = of_order(line, usual).sort_values(x)
    places, means = line[x].to_numpy(), line[value].to_numpy()
    axis.plot(
        places,
        means,
        color=colour,
        marker=MARKERS[topology],
        markersize=3.5 if dashed else 5,
        markerfacecolor="white" if dashed else colour,
        linestyle="--" if dashed else "-",
        linewidth=1.0 if dashed else 1.6,
        alpha=0.85,
    )
    half = line[HALF_WIDTHS[value]].to_numpy()
    if not np.isnan(half).all():
        low, high = means - half, means + half
        if value == "test_accuracy_pct":
            low, high = np.clip(low, 0, 100), np.clip(high, 0, 100)
        axis.fill_between(places, low, high, color=colour, alpha=0.06 if dashed else 0.15, lw=0)


def _name_lines(axis: Axes, table: pd.DataFrame, kinds: list[Line2D] | None = None) -> None:
    """A legend of what any panel shows; the one that it stands in may lack some."""
    lines = [
        Line2D([], [], color=colour, marker=MARKERS[topology], markersize=5, label=topology)
        for topology, colour in TOPOLOGY_COLOURS.items()
        if topology in set(table["topology"])
    ]
    if len(orders_of(table)) > 1:
        mark = Line2D([], [], color="0.35", marker="x", linestyle="", label=OTHER_ORDER)
        kinds = [*(kinds or []), mark]
    axis.legend(handles=[*lines, *(kinds or [])], fontsize=8)


def _ticks(rows: pd.DataFrame, ranks: dict[str, int]) -> list[str]:
    power = rows.groupby("multiplier")["power_rel"].first()
    return [f"{name.removeprefix('mul8s_')}\n{power[name]:.3f}" for name in ranks]


def _title(subject: Subject, rows: pd.DataFrame, proxies: Mapping[Subject, str]) -> str:
    seeds = int(rows["seeds"].max())
    title = f"{subject[0]} on {subject[1]}, {seeds} seed{'s' if seeds > 1 else ''}"
    meant = proxies.get(subject)
    return f"{title}\n(a proxy of {meant})" if meant else title


def _save(figure: Figure, path: Path, caption: str) -> None:
    columns = int(16 * figure.get_figwidth())
    lines = [wrapped for line in caption.split("\n") for wrapped in textwrap.wrap(line, columns)]
    figure.supxlabel("\n".join(lines), fontsize=7, color="#555555")
    figure.savefig(path, dpi=130, format="png", metadata={"Description": caption})
