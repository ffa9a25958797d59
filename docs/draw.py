"""Draw the pictures of the documentation from committed results: ``python docs/draw.py``."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import dse
import luts
from dse.results import draw_html
from models import Assignment

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "studies/searched_vs_fixed/results"
RUN = ROOT / "studies/notebooks/searched"
DROPS = (0.5, 1.0, 2.0, 5.0)
STYLE = ["dse.paper", {"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "axdse"}]
FIXED, SEARCHED, ARRAYS = "C0", "C1", "C2"
SERIES = (
    ("cifar10-cpu", "fixed", f"X:{FIXED}", "one published circuit everywhere"),
    ("cifar10-arrays", "array fixed", "P-.C3", "one array everywhere"),
    ("cifar10-cpu", "searched", f"o--{SEARCHED}", "searched, published circuits"),
    ("cifar10-arrays", "searched", f"s-{ARRAYS}", "searched, arrays too"),
)
"""Preset, what of it, marker with line and colour, and label."""


def main(folder: Path) -> None:
    """Write all pictures but that of the architecture, which is drawn by hand.

    Args:
        folder: where they go.
    """
    tested = {
        preset: pd.read_csv(RESULTS / f"{preset}.csv")
        for preset in ("cifar10-cpu", "cifar10-arrays")
    }
    result = dse.read_run(RUN)
    with plt.style.context(STYLE):
        _save(searched_against_fixed(tested), folder / "searched.svg")
        _save(one_search(result), folder / "front.svg")
        _save(where(result.assignment(result.best(max_drop=2.0))), folder / "sites.svg")
    _error_map("mul8s_1L1G", folder / "error.png")
    _page(result, folder / "page.png")


def searched_against_fixed(tested: dict[str, pd.DataFrame]) -> Figure:
    """What is needed for what may be given up, by topology, beside what was tested on `dense`."""
    figure, (front, *panels) = plt.subplots(1, 3, figsize=(9.6, 3.3), width_ratios=(1.5, 1, 1))
    for preset, kind, style, label in SERIES:
        rows = _of(tested, preset, kind, "dense")
        front.plot(*_points(rows), style[0], color=style[-2:], label=label)
    best = tested["cifar10-cpu"]["test_accuracy_pct"].max()
    front.set(xlim=(0, 1.03), ylim=(best - 8, best + 0.4), title="tested, dense, three seeds")
    front.set(xlabel="energy, relative to exact", ylabel="test accuracy (%)")
    front.legend(loc="lower right")
    for axes, topology in zip(panels, ("dense", "hard"), strict=True):
        _needed(axes, tested, topology)
    panels[0].set_ylabel("energy that is needed")
    return figure


def _of(tested: dict[str, pd.DataFrame], preset: str, kind: str, topology: str) -> pd.DataFrame:
    rows = tested[preset].query("topology == @topology")
    is_array = rows["multiplier"].fillna("").str.startswith("array:")
    return rows[(rows["kind"] == kind.removeprefix("array ")) & (is_array == ("array" in kind))]


def _points(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return rows["energy_rel"], rows["test_accuracy_pct"]


def _needed(axes: Axes, tested: dict[str, pd.DataFrame], topology: str) -> None:
    """Means over seeds, and what they span, of the cheapest within each drop."""
    for preset, kind, style, label in SERIES:
        rows = _of(tested, preset, kind, topology)
        by_drop = {
            drop: rows[rows["drop_points"] <= drop].groupby("seed")["energy_rel"].min()
            for drop in DROPS
        }
        mean = np.array([seeds.mean() for seeds in by_drop.values()])
        span = np.array([[seeds.min(), seeds.max()] for seeds in by_drop.values()]).T
        marker, dashes, colour = style[0], style[1:-2], style[-2:]
        axes.errorbar(
            DROPS,
            mean,
            np.abs(span - mean),
            marker=marker,
            linestyle=dashes,
            color=colour,
            capsize=2,
            label=label,
        )
    axes.set(title=topology, xlabel="points given up", xlim=(0, None), ylim=(0, 0.75))


def one_search(result: dse.Result) -> Figure:
    """Every trial of a search, and what of it was tested."""
    figure, axes = plt.subplots(figsize=(6.2, 3.5))
    groups = {
        "searched": ([t for t in result.trials if t.origin != "uniform"], "o", ARRAYS),
        "one circuit everywhere": ([t for t in result.trials if t.origin == "uniform"], "X", FIXED),
    }
    for label, (trials, marker, colour) in groups.items():
        points = [(t.energy_rel, 100 * t.validation.accuracy) for t in trials]
        axes.plot(*zip(*points, strict=True), marker, color=colour, alpha=0.5, label=label)
    # The front in the axes that are drawn; the search's own is by cross-entropy.
    points = sorted((t.energy_rel, 100 * t.validation.accuracy) for t in result.trials)
    energies, accuracies = np.array(points).T
    best = np.maximum.accumulate(accuracies)
    axes.step(energies, best, where="post", color=ARRAYS, label="the front")
    exact = 100 * result.closing.exact_validation.accuracy
    for name, trial in (
        ("best published circuit", result.best_fixed),
        ("best array", result.best_array),
    ):
        if trial is not None:
            at = (trial.energy_rel, 100 * trial.validation.accuracy)
            axes.annotate(
                name,
                at,
                xytext=(12, -18 if trial is result.best_fixed else -45),
                textcoords="offset points",
                arrowprops={"arrowstyle": "-", "linewidth": 0.6},
            )
    axes.set(xlabel="energy, relative to dense with the exact multiplier")
    axes.set(ylabel="validation accuracy (%)", ylim=(exact - 12, exact + 0.8), xlim=(0, 1.03))
    axes.legend(loc="lower right")
    return figure


def where(assignment: Assignment) -> Figure:
    """The power of the circuit at each site: blocks of the network by layers."""
    exact = luts.catalog[luts.EXACT].power_mw
    power = {}
    for site, choice in assignment.choices.items():
        found = re.fullmatch(r"(layer\d+\.\d+)\.(?:branch\.)?(.*)", site)
        power[found.groups() if found else (site, "")] = (
            luts.catalog[choice.multiplier].power_mw / exact
        )
    blocks = list(dict.fromkeys(block for block, _ in power))
    layers = sorted({layer for _, layer in power}, key=lambda name: ("experts" in name, name))
    shades = [[power.get((block, layer), np.nan) for layer in layers] for block in blocks]
    figure, axes = plt.subplots(figsize=(6.2, 3.6))
    picture = axes.imshow(shades, cmap="cividis_r", vmin=0, aspect="auto")
    axes.grid(visible=False)
    axes.set_xticks(range(len(layers)), layers, rotation=35, ha="right")
    axes.set_yticks(range(len(blocks)), blocks)
    figure.colorbar(picture, label="power of its circuit,\nrelative to the exact one")
    return figure


def _save(figure: Figure, path: Path) -> None:
    # Without a date the same results make the same file.
    figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
    plt.close(figure)


def _error_map(name: str, path: Path) -> None:
    command = [sys.executable, "-m", "luts.show", name, "--out", str(path)]
    path.unlink(missing_ok=True)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    # A palette takes half the space.
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def _page(result: dse.Result, path: Path) -> None:
    """What a browser shows of the run's page; without Chromium the picture stays as it is."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if chromium is None:
        sys.exit(f"no chromium on the PATH: {path} is not drawn anew")
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "front.html", Path(folder) / "page.png"
        draw_html(page, [(result.closing, result.config)])
        words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        words += ["--window-size=1280,1600", "--virtual-time-budget=4000"]
        command = [chromium, *words, f"--screenshot={picture}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        Image.open(picture).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/img")
