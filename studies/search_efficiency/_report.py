"""Hypervolume against evaluations and seconds, from the cells."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dse import hypervolume, tight_hypervolume
from studies._files import together
from studies._matrix import CellStore, Record

BASELINE = "nsga2"
MARKS = (10, 25, 50, 100)
"""Evaluations at which the table gives the hypervolume."""

REFERENCE = ("accuracy", 2.0)
"""The box of curves and figure: within two points of the exact network's accuracy."""

Floats = npt.NDArray[np.float64]
Box = tuple[str, float]


def volume(cell: Record, count: int, box: Box = REFERENCE) -> float:
    """Part of a box that the fixed multipliers and ``count`` evaluations dominate.

    Args:
        cell: a search.
        count: evaluations beyond the fixed multipliers.
        box: ``accuracy`` and points below the exact network's; ``cross_entropy`` and the multiple
            of its; or ``guessing`` and anything, for the box up to what guessing scores, of which
            nearly all lies where no network is of use.
    """
    score, within = box
    column = "accuracy" if score == "accuracy" else "cross_entropy"
    points = np.column_stack([cell["energy_rel"], cell[column]])[: int(cell["fixed"]) + count]
    if score == "guessing":
        reference = np.array(cell["reference"])
        return hypervolume(points, reference) / float(reference.prod())
    named: Literal["accuracy", "cross-entropy"]
    named = "accuracy" if score == "accuracy" else "cross-entropy"
    return tight_hypervolume(points, cell["exact"][column], within, score=named)


def curve(cell: Record, box: Box = REFERENCE) -> pd.DataFrame:
    """Hypervolume after each evaluation beyond the fixed multipliers.

    Returns:
        Columns ``evaluations`` (in full evaluations: what screening took is converted by its
        seconds), ``seconds`` and ``hypervolume`` (part of ``box``). Row 0 has the fixed multipliers
        alone.
    """
    evaluated = _evaluated(cell)
    extra = cell["screening_seconds"] / cell["evaluation_seconds"]
    count = np.arange(evaluated + 1)
    asking = cell["asking_seconds"] / max(1, evaluated)
    return pd.DataFrame(
        {
            "evaluations": count + np.where(count > 0, extra, 0.0),
            "seconds": count * (cell["evaluation_seconds"] + asking)
            + np.where(count > 0, cell["screening_seconds"], 0.0),
            "hypervolume": [volume(cell, int(n), box) for n in count],
        }
    )


def reached(curve_: pd.DataFrame, volume: float) -> float:
    """Evaluations after which ``volume`` is reached, infinity if it never is, NaN of NaN."""
    if np.isnan(volume):
        return float("nan")
    there = curve_.loc[curve_["hypervolume"] >= volume, "evaluations"]
    return float(there.iloc[0]) if len(there) else float("inf")


def summary(cells: Sequence[Record]) -> pd.DataFrame:
    """One row per network, sampler and tie.

    Returns:
        Hypervolumes (parts of `REFERENCE`'s box, medians over the seeds) of the fixed multipliers
        and after so many evaluations; the smallest and largest at the end; parts of every one of
        `BOXES` at the end, and of what was queued before the sampler proposed anything; and, of
        each seed's search, the evaluations until it has what `BASELINE` has at its end.
    """
    kinds: dict[tuple[str, str, str], list[Record]] = {}
    for cell in cells:
        kinds.setdefault((cell["network"], cell["sampler"], cell["tie"]), []).append(cell)
    rows = []
    for (network, sampler, tie), searches in kinds.items():
        baseline = kinds.get((network, BASELINE, "none"), [])
        goal = _median(volume(cell, _evaluated(cell)) for cell in baseline) if baseline else np.nan
        kind = {"network": network, "sampler": sampler, "tie": tie}
        rows.append(kind | _row(searches, goal))
    return pd.DataFrame(rows)


BOXES: dict[str, Box] = {
    "within_1_point": ("accuracy", 1.0),
    "within_2_points": ("accuracy", 2.0),
    "within_5_points": ("accuracy", 5.0),
    "within_1.5_x_cross_entropy": ("cross_entropy", 1.5),
    "below_guessing": ("guessing", 0.0),
}
"""What hypervolume is a part of, by column of the table."""


def _row(searches: Sequence[Record], goal: float) -> dict[str, float]:
    """What the table says of one network, sampler and tie."""
    curves = [curve(cell) for cell in searches]
    starts, ends = ([each["hypervolume"].iloc[at] for each in curves] for at in (0, -1))
    row = {"seeds": len(searches), "fixed": _median(starts)}
    row |= {f"at_{mark}": _median(_at(each, mark) for each in curves) for mark in MARKS}
    row |= {"end_least": min(ends), "end_most": max(ends)}
    evaluated = [_evaluated(cell) for cell in searches]
    queued = [sum(origin == "screening" for origin in cell["origins"]) for cell in searches]
    for prefix, counts in (("", evaluated), ("seeds_", queued)):
        for name, box in BOXES.items():
            row[prefix + name] = _median(map(volume, searches, counts, [box] * len(searches)))
    row["evaluations"] = max(evaluated)
    row[f"to_{BASELINE}"] = _median(reached(each, goal) for each in curves)
    return row | {"seconds": _median(each["seconds"].iloc[-1] for each in curves)}


def _median(values: Iterable[float]) -> float:
    return float(np.median([*values]))


def _evaluated(cell: Record) -> int:
    """Evaluations beyond the fixed multipliers."""
    return len(cell["energy_rel"]) - int(cell["fixed"])


def _at(curve_: pd.DataFrame, mark: int) -> float:
    """Hypervolume after ``mark`` evaluations; NaN if the search was shorter."""
    if curve_["evaluations"].iloc[-1] < mark:
        return float("nan")
    return float(curve_.loc[curve_["evaluations"] <= mark, "hypervolume"].iloc[-1])


def draw(path: Path, cells: Sequence[Record]) -> None:
    """Median and range over the seeds against evaluations (top) and seconds (bottom)."""
    networks = list(dict.fromkeys(cell["network"] for cell in cells))
    # One colour per sampler, the same in every panel.
    kinds = dict.fromkeys((c["sampler"], c["tie"]) for c in cells)
    colours = {kind: f"C{index}" if index < 10 else "black" for index, kind in enumerate(kinds)}
    figure = Figure(figsize=(6.5 * len(networks), 8.5), layout="constrained")
    panels = figure.subplots(2, len(networks), squeeze=False)
    for column, network in enumerate(networks):
        for row, axis in enumerate(("evaluations", "seconds")):
            axes = panels[row, column]
            _draw_panel(axes, [c for c in cells if c["network"] == network], axis, colours)
            axes.set_xlabel(f"{axis} beyond the fixed multipliers")
            axes.set_ylabel(f"hypervolume within {REFERENCE[1]:g} points of exact")
        panels[0, column].set_title(network, loc="left")
        panels[0, column].legend(fontsize=8)
    figure.savefig(path, dpi=130, format="png")


def _draw_panel(
    axes: Axes,
    cells: Sequence[Record],
    axis: str,
    colours: Mapping[tuple[str, str], str],
) -> None:
    for sampler, tie in dict.fromkeys((c["sampler"], c["tie"]) for c in cells):
        curves = [curve(c) for c in cells if (c["sampler"], c["tie"]) == (sampler, tie)]
        grid = np.linspace(0, max(each[axis].iloc[-1] for each in curves), 300)
        volumes = np.stack([_stepped(each, axis, grid) for each in curves])
        label = sampler if tie == "none" else f"{sampler}, tied by {tie}"
        colour = colours[sampler, tie]
        style = "-" if sampler in ("guided", BASELINE) else "--"
        middle = np.median(volumes, axis=0)
        axes.plot(grid, middle, style, color=colour, label=f"{label} ({len(curves)})")
        axes.fill_between(grid, volumes.min(axis=0), volumes.max(axis=0), color=colour, alpha=0.15)
    axes.grid(alpha=0.25)


def _stepped(curve_: pd.DataFrame, axis: str, grid: Floats) -> Floats:
    at = np.searchsorted(curve_[axis].to_numpy(), grid, side="right") - 1
    volumes: Floats = curve_["hypervolume"].to_numpy()[np.clip(at, 0, None)]
    return volumes


def write(store: CellStore[Any]) -> pd.DataFrame:
    """Write ``summary.csv`` and ``efficiency.png``; the table."""
    cells = store.records()
    table = summary(cells)
    with together(store.path) as new:
        table.to_csv(new("summary.csv"), index=False, float_format="%.5g")
        draw(new("efficiency.png"), cells)
    return table
