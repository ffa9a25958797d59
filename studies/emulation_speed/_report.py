"""The table, the verdicts and the figure."""

import csv
import dataclasses
import io
import os
import statistics
from pathlib import Path
from typing import Any

import torch

from luts._native import isa
from studies.emulation_speed._run import Row
from studies.emulation_speed._timing import commit, processor

TARGETS = {"1 term": 1.5, "3 terms": 1.0, "4 terms": 0.8, "5 terms": 0.6, "table": 0.25}
"""Least speed relative to the fastest float32, by kind of circuit."""

MIN_VS_LOOP = {"products": 20.0, "table": 12.0}
MAX_TRAINING = 1.5
MAX_MEMORY = 2.0


@dataclasses.dataclass(frozen=True)
class Line:
    """One figure against its target; ``worst`` and ``median`` are over the circuits of a kind."""

    part: str
    subject: str
    what: str
    median: float
    worst: float
    target: str
    reached: str


def summary(rows: list[Row]) -> list[Line]:
    """Networks' figures against their targets."""
    lines = []
    for part in ("networks", "training", "memory"):
        for subject in dict.fromkeys(row.subject for row in rows if row.part == part):
            mine = [r for r in rows if (r.part, r.subject) == (part, subject)]
            for kind in (k for k in TARGETS if any(r.kind == k for r in mine)):
                lines += _lines(part, subject, kind, [r for r in mine if r.kind == kind])
    return lines


def _lines(part: str, subject: str, kind: str, rows: list[Row]) -> list[Line]:
    against_float = [r.vs_float32 for r in rows]
    if part != "networks":
        limit = MAX_TRAINING if part == "training" else MAX_MEMORY
        return [_line(part, subject, f"{kind} / float32", against_float, f"<= {limit}")]
    least = MIN_VS_LOOP["table" if kind == "table" else "products"]
    return [
        _line(part, subject, f"{kind} : float32", against_float, f">= {TARGETS[kind]}"),
        _line(part, subject, f"{kind} : loop", [r.vs_loop for r in rows], f">= {least}"),
    ]


def _line(part: str, subject: str, what: str, values: list[float], target: str) -> Line:
    limit = float(target.split()[1])
    worst = min(values) if target.startswith(">") else max(values)
    reached = worst >= limit if target.startswith(">") else worst <= limit
    verdict = "yes" if reached else "no"
    return Line(part, subject, what, statistics.median(values), worst, target, verdict)


def print_summary(lines: list[Line]) -> None:
    """One line a target."""
    for line in lines:
        print(
            f"{line.part:9} {line.subject:10} {line.what:18} median {line.median:6.2f}  "
            f"worst {line.worst:6.2f}  target {line.target:8} {line.reached}"
        )


def stem(config: dict[str, Any]) -> str:
    """File name with the conditions."""
    version = torch.__version__.split("+")[0]
    return f"emulation-speed-{processor()}-{isa()}-{config['threads']}threads-torch{version}"


def write_table(rows: list[Row], lines: list[Line], folder: Path, config: dict[str, Any]) -> None:
    """``….csv`` with every row, ``…-summary.csv`` with the verdicts."""
    folder.mkdir(parents=True, exist_ok=True)
    making = f"# commit {commit()}; {config}; load at the end {os.getloadavg()[0]:.2f}\n"
    for name, records in (("", rows), ("-summary", lines)):
        if not records:
            continue
        text = io.StringIO()
        text.write(making)
        fields = [field.name for field in dataclasses.fields(records[0])]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(fields)
        for record in records:
            values = dataclasses.astuple(record)
            writer.writerow([f"{v:.4g}" if isinstance(v, float) else v for v in values])
        path = folder / f"{stem(config)}{name}.csv"
        partial = path.with_suffix(".csv.part")
        partial.write_text(text.getvalue())
        os.replace(partial, path)


def write_figure(rows: list[Row], folder: Path, config: dict[str, Any]) -> None:
    """Speed of each network relative to the fastest float32, by circuit."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    networks = [row for row in rows if row.part == "networks"]
    if not networks:
        return
    subjects = list(dict.fromkeys(row.subject for row in networks))
    figure, axes = pyplot.subplots(1, len(subjects), figsize=(13, 5), sharey=True)
    colours = {"float": "#888888", "loop": "#222222", "table": "#d95f02"}
    for axis, subject in zip(axes, subjects, strict=True):
        mine = [row for row in networks if row.subject == subject]
        axis.barh(
            [row.method for row in mine],
            [row.vs_float32 for row in mine],
            color=[colours.get(row.kind, "#1b6ca8") for row in mine],
        )
        axis.axvline(1.0, color="black", linewidth=0.8)
        axis.set_title(f"{subject}, batch {mine[0].batch}")
        axis.set_xlabel("speed relative to the fastest float32")
        for index, row in enumerate(mine):
            axis.text(row.vs_float32, index, f" {row.vs_float32:.2f}", va="center", fontsize=7)
    axes[0].invert_yaxis()
    figure.suptitle(f"Whole-network inference, {stem(config)}", fontsize=9)
    figure.tight_layout()
    figure.savefig(folder / f"{stem(config)}.png", dpi=120)
    pyplot.close(figure)
