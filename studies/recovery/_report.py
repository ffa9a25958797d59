"""Tables and the figure of the study, from its cells."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import luts
from models import Recovered, Score
from studies._files import together
from studies._matrix import CellStore
from studies.recovery._cells import RecoveryCell, RecoveryStudy

LEAST_LOST = 0.02
"""A smaller loss of accuracy is noise on 1,000 images, and a share of it means nothing."""


def ladder(cells: list[dict[str, Any]]) -> pd.DataFrame:
    """One row per cell and step: accuracy before and after, seconds, share of the loss regained."""
    rows = []
    for cell in cells:
        start = cell["steps"][0]["before"]["accuracy"]
        lost = cell["exact"]["accuracy"] - start
        spent = 0.0
        for step in cell["steps"]:
            spent += step["seconds"]
            accuracy = step["after"]["accuracy"]
            rows.append(
                {
                    **{key: cell[key] for key in ("network", "multiplier", "recipe", "seed")},
                    "exact_accuracy": cell["exact"]["accuracy"],
                    "start_accuracy": start,
                    "step": step["name"],
                    "skipped": step["skipped"],
                    "accuracy": accuracy,
                    "cross_entropy": step["after"]["cross_entropy"],
                    "seconds": round(step["seconds"], 3),
                    "seconds_in_all": round(spent, 3),
                    "epochs_in_all": spent / cell["epoch_seconds"],
                    "regained": (accuracy - start) / lost if lost > LEAST_LOST else None,
                    "note": step["note"],
                    "commit": cell.get("making", {}).get("commit", ""),
                }
            )
    return pd.DataFrame(rows)


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds of the accuracy after each recipe, in percent, what it regained, its cost.

    The cost is in percent of one epoch of training the float network, timed in the same run.
    ``clean_runs`` of the ``runs`` name a commit without changes beside it.
    """
    last = rows.groupby(["network", "recipe", "multiplier", "seed"], sort=False).last()
    grouped = last.groupby(["network", "recipe", "multiplier"], sort=False)
    columns = {
        "exact": 100 * grouped["exact_accuracy"].mean(),
        "start": 100 * grouped["start_accuracy"].mean(),
        "recovered": 100 * grouped["accuracy"].mean(),
        "spread": 100 * (grouped["accuracy"].max() - grouped["accuracy"].min()),
        "regained_pct": 100 * grouped["regained"].mean(),
        "seconds": grouped["seconds_in_all"].mean(),
        "pct_of_epoch": 100 * grouped["epochs_in_all"].mean(),
        "runs": grouped["accuracy"].count(),
        "clean_runs": grouped["commit"].agg(_clean),
    }
    return pd.DataFrame(columns).round(2).reset_index()


def _clean(commits: pd.Series) -> int:
    """How many runs are of a commit that can be checked out as it was."""
    return sum(str(commit) != "" and "+" not in str(commit) for commit in commits)


def write(store: CellStore[RecoveryCell]) -> pd.DataFrame:
    """Write table and figure anew from all cells; the summary."""
    recipes = list(RecoveryStudy.read().recipes)
    cells = sorted(
        store.records(),
        key=lambda cell: (
            cell["network"],
            recipes.index(cell["recipe"]),
            -luts.catalog[cell["multiplier"]].power_mw,
            cell["seed"],
        ),
    )
    rows = ladder(cells)
    table = summary(rows)
    with together(store.path) as new:
        for name, frame in (("ladder.csv", rows), ("summary.csv", table)):
            frame.to_csv(new(name), index=False, float_format="%.6g")
        _draw(new("ladder.png"), rows)
    return table


def _draw(path: Path, rows: pd.DataFrame) -> None:
    """Free ladders, and below, where training was measured, what each recipe ends with."""
    free = rows[rows["recipe"] == "free"]
    networks = list(dict.fromkeys(free["network"]))
    columns = max(1, len(networks))
    figure = Figure(figsize=(5 * columns, 8), layout="constrained")
    axes = figure.subplots(2, columns, squeeze=False)
    for column, network in enumerate(networks):
        part = rows[rows["network"] == network]
        exact = 100 * part["exact_accuracy"].mean()
        _draw_ladders(axes[0, column], part[part["recipe"] == "free"])
        _draw_ends(axes[1, column], part)
        for axis in axes[:, column]:
            axis.axhline(exact, color="grey", linestyle=":", label="exact int8")
            axis.set_ylabel("validation accuracy in %")
            axis.tick_params(axis="x", rotation=25)
            if axis.has_data():
                axis.legend(fontsize="small")
        seeds = part["seed"].nunique()
        axes[0, column].set_title(f"{network}: step by step, no training ({seeds} seeds)")
        axes[1, column].set_title("by recipe; bars: smallest and largest of the seeds")
    figure.savefig(path, dpi=120, format="png")


def _draw_ladders(axis: Axes, part: pd.DataFrame) -> None:
    for multiplier, lines in part.groupby("multiplier", sort=False):
        means = lines.groupby("step", sort=False)["accuracy"].mean()
        axis.plot(means.index, 100 * means.to_numpy(), marker="o", label=multiplier)


def _draw_ends(axis: Axes, part: pd.DataFrame) -> None:
    """Of the multipliers that were trained, the accuracy after every recipe."""
    trained = part.loc[part["step"] == "fine-tune", "multiplier"].unique()
    ends = part.groupby(["recipe", "multiplier", "seed"], sort=False).last().reset_index()
    recipes = list(dict.fromkeys(ends["recipe"]))
    for shift, multiplier in zip(np.linspace(-0.15, 0.15, len(trained)), trained, strict=True):
        mine = ends[ends["multiplier"] == multiplier].groupby("recipe", sort=False)["accuracy"]
        ranges = 100 * mine.agg(["mean", "min", "max"])
        places = [recipes.index(recipe) + shift for recipe in ranges.index]
        bars = [ranges["mean"] - ranges["min"], ranges["max"] - ranges["mean"]]
        axis.errorbar(places, ranges["mean"], yerr=bars, fmt="o", capsize=3, label=multiplier)
    axis.set_xticks(range(len(recipes)), recipes)


def as_text(recovered: Recovered, exact: Score) -> str:
    """The ladder of one recovery for a terminal."""
    lines = [f"{'exact int8 network':<18} {100 * exact.accuracy:6.2f} %"]
    start = recovered.steps[0].before
    if start is not None:
        lines.append(f"{'as approximated':<18} {100 * start.accuracy:6.2f} %")
    for step in recovered.steps:
        accuracy = "" if step.after is None else f"{100 * step.after.accuracy:6.2f} %"
        lines.append(f"{step.name:<18} {accuracy}  {step.seconds:8.2f} s  {step.note}".rstrip())
    lines.append(f"{'in all':<18} {'':8}  {recovered.seconds:8.2f} s")
    return "\n".join(lines)
