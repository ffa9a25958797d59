"""The verdicts and the figure."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure

from luts import isa
from studies._files import together
from studies._machine import processor

TARGETS = {"1 term": 1.5, "3 terms": 1.0, "4 terms": 0.8, "5 terms": 0.6, "table": 0.25}
"""Least speed relative to the fastest float32, by kind of circuit."""

MIN_VS_LOOP = {"products": 20.0, "table": 12.0}
MAX_VS_FLOAT32 = {"training": 1.5, "memory": 2.0}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Networks' figures against their targets; median and worst are over the circuits of a kind."""
    lines = []
    for part in ("networks", *MAX_VS_FLOAT32):
        circuits = rows[(rows["part"] == part) & rows["kind"].isin([*TARGETS])]
        for (subject, kind), group in circuits.groupby(["subject", "kind"], sort=False):
            for what, values, target in _figures(part, str(kind), group):
                lines.append({"part": part, "subject": subject, **_verdict(what, values, target)})
    return pd.DataFrame(lines)


def _figures(part: str, kind: str, rows: pd.DataFrame) -> list[tuple[str, pd.Series, str]]:
    """What is measured of a kind of circuit, its values and its target."""
    if part in MAX_VS_FLOAT32:
        return [(f"{kind} / float32", rows["vs_float32"], f"<= {MAX_VS_FLOAT32[part]}")]
    least = MIN_VS_LOOP["table" if kind == "table" else "products"]
    return [
        (f"{kind} : float32", rows["vs_float32"], f">= {TARGETS[kind]}"),
        (f"{kind} : loop", rows["vs_loop"], f">= {least}"),
    ]


def _verdict(what: str, values: pd.Series, target: str) -> dict[str, Any]:
    sign, limit = target.split()
    worst = values.min() if sign == ">=" else values.max()
    reached = worst >= float(limit) if sign == ">=" else worst <= float(limit)
    return {
        "what": what,
        "median": values.median(),
        "worst": worst,
        "target": target,
        "reached": "yes" if reached else "no",
    }


def stem(config: dict[str, Any]) -> str:
    """File name with the conditions."""
    version = torch.__version__.split("+")[0]
    return f"emulation-speed-{processor()}-{isa()}-{config['threads']}threads-torch{version}"


def write_figure(rows: pd.DataFrame, folder: Path, config: dict[str, Any]) -> None:
    """Speed of each network relative to the fastest float32, by circuit."""
    networks = rows[rows["part"] == "networks"]
    if networks.empty:
        return
    figure = Figure(figsize=(13, 5), layout="tight")
    subjects = networks["subject"].unique()
    panels = figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
    colours = {"float": "#888888", "loop": "#222222", "table": "#d95f02"}
    for axis, subject in zip(panels, subjects, strict=True):
        mine = networks[networks["subject"] == subject]
        shades = [colours.get(kind, "#1b6ca8") for kind in mine["kind"]]
        bars = axis.barh(mine["method"], mine["vs_float32"], color=shades)
        axis.bar_label(bars, fmt=" %.2f", fontsize=7)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_title(f"{subject}, batch {mine['batch'].iloc[0]}")
        axis.set_xlabel("speed relative to the fastest float32")
    panels[0].invert_yaxis()
    figure.suptitle(f"Whole-network inference, {stem(config)}", fontsize=9)
    with together(folder) as new:
        figure.savefig(new(f"{stem(config)}.png"), dpi=120, format="png")
