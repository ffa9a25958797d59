"""The verdicts and the figure."""

from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure

from luts import isa
from studies._files import together
from studies._machine import processor

TARGETS = {"1 term": 1.5, "3 terms": 1.0, "4 terms": 1.0, "5 terms": 1.0, "table": 0.25}
"""Least speed relative to the fastest float32, by kind of circuit."""

MIN_VS_INT8 = {"resnet20": 0.9, "vgg11_bn": 1.0, "vit_small": 1.0}
"""Least speed of one-term circuits relative to onnxruntime's int8, by network."""

MIN_VS_LOOP = {"products": 20.0, "table": 12.0}
MAX_MEMORY = 2.0

MAX_TRAINING = {"resnet20": {"1 term": 1.25, "5 terms": 1.4}}
USUAL_TRAINING = 1.5
"""Longest fine-tuning step relative to a float32 step, by network and kind, and of the others."""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Figures against their targets; median and worst are over the circuits of a kind."""
    lines = []
    for part in ("products", "networks", "training", "memory"):
        circuits = rows[(rows["part"] == part) & rows["kind"].isin([*TARGETS])]
        for (subject, kind), group in circuits.groupby(["subject", "kind"], sort=False):
            for what, column, sign, limit in _limits(part, str(subject), str(kind)):
                if not group[column].any():  # it was not compared with that
                    continue
                worst = group[column].min() if sign == ">=" else group[column].max()
                is_reached = worst >= limit if sign == ">=" else worst <= limit
                line = {"part": part, "subject": subject, "what": f"{kind} {what}"}
                line |= {"median": group[column].median(), "worst": worst}
                line |= {"target": f"{sign} {limit}", "reached": "yes" if is_reached else "no"}
                lines.append(line)
    return pd.DataFrame(lines)


def _limits(part: str, subject: str, kind: str) -> list[tuple[str, str, str, float]]:
    """Of a kind of circuit: what is compared, its column, and the target."""
    if part == "products":
        return [(": int8", "vs_int8", ">=", _least_product(subject, kind))]
    if part == "memory":
        return [("/ float32", "vs_float32", "<=", MAX_MEMORY)]
    if part == "training":
        most = MAX_TRAINING.get(subject, {}).get(kind, USUAL_TRAINING)
        return [("/ float32", "vs_float32", "<=", most)]
    vs_loop = MIN_VS_LOOP["table" if kind == "table" else "products"]
    limits = [
        (": float32", "vs_float32", ">=", TARGETS[kind]),
        (": loop", "vs_loop", ">=", vs_loop),
    ]
    if kind == "1 term":
        limits.append((": onnxruntime int8", "vs_int8", ">=", MIN_VS_INT8[subject]))
    return limits


def _least_product(subject: str, kind: str) -> float:
    """Share of the rate of PyTorch's product or onnxruntime's convolution."""
    terms = int(kind.split()[0])
    if terms > 1:
        return round(0.8 / terms, 3)
    return 0.85 if " linear " in subject else 1.0


def stem() -> str:
    """File name with the conditions."""
    version = torch.__version__.split("+")[0]
    return f"emulation-speed-{processor()}-{isa()}-{torch.get_num_threads()}threads-torch{version}"


def write_figure(rows: pd.DataFrame, folder: Path) -> None:
    """Speed of each network relative to the fastest float32, by circuit."""
    networks = rows[rows["part"] == "networks"]
    if networks.empty:
        return
    figure = Figure(figsize=(13, 5), layout="tight")
    subjects = networks["subject"].unique()
    panels = figure.subplots(1, len(subjects), sharey=True, squeeze=False)[0]
    colours = {"float": "#888888", "loop": "#222222", "table": "#d95f02", "int8": "#7570b3"}
    for axis, subject in zip(panels, subjects, strict=True):
        mine = networks[networks["subject"] == subject]
        shades = [colours.get(kind, "#1b6ca8") for kind in mine["kind"]]
        bars = axis.barh(mine["method"], mine["vs_float32"], color=shades)
        axis.bar_label(bars, fmt=" %.2f", fontsize=7)
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_title(f"{subject}, batch {mine['batch'].iloc[0]}")
        axis.set_xlabel("speed relative to the fastest float32")
    panels[0].invert_yaxis()
    figure.suptitle(f"Whole-network inference, {stem()}", fontsize=9)
    with together(folder) as new:
        figure.savefig(new(f"{stem()}.png"), dpi=120, format="png")
