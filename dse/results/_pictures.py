"""The front as a picture: front.png."""

import math
from collections.abc import Iterable
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dse.problem import Trial, objective_score
from dse.results._closing import Closing, uniform_multiplier
from dse.results._figure import figure, label, standard_error
from dse.study import SearchConfig
from energy import MODELS
from luts.text import drawn
from models import FEW_IMAGES, Score

COLOURS = {"uniform": "#d95f02", "screening": "#7570b3"}
SEARCHED = "#1b9e77"
EXACT = "#444444"


def energy_label(config: SearchConfig) -> str:
    """What the energy axis of a search shows."""
    counted = MODELS[config.energy_model].partition(":")[0]
    return f"energy of {counted}, relative to dense with the exact multiplier"


def draw_png(path: Path, closing: Closing, config: SearchConfig) -> None:
    """`draw_front` as a file."""
    draw_front(closing, config).savefig(path, dpi=130, format="png")


def draw_front(closing: Closing, config: SearchConfig) -> Figure:
    """Two panels: the objectives of all trials; and, where the front lies, what was tested."""
    drawing = Figure(figsize=(13, 5.4), layout="constrained")
    whole, zoom = drawing.subplots(1, 2)
    _draw_trials(whole, closing)
    fidelity = closing.trials[closing.front[0]].fidelity
    whole.set_title(f"Trials on validation images, {fidelity}", loc="left")
    _draw_tested(zoom, closing, config)
    for axes in (whole, zoom):
        axes.set_xlabel(energy_label(config))
        axes.grid(alpha=0.25)
    zoom.set_ylabel(f"test {label(closing.exact_test)}")
    drawing.suptitle(drawn(config.title))
    return drawing


def _draw_trials(axes: Axes, closing: Closing) -> None:
    """The two objectives of the search, so that its front is a staircase."""
    origins = dict.fromkeys(trial.origin for trial in closing.trials.values())
    for origin in origins:
        chosen = [t for t in closing.trials.values() if t.origin == origin]
        who = "fixed multiplier" if origin == "uniform" else origin
        axes.scatter(
            [t.energy_rel for t in chosen],
            [t.objectives[1] for t in chosen],
            s=26,
            alpha=0.75,
            color=COLOURS.get(origin, SEARCHED),
            label=f"{who} ({len(chosen)})",
        )
    front = [closing.trials[number].objectives[:2] for number in closing.front]
    axes.step(*zip(*front, strict=True), where="post", color="black", linewidth=0.9, label="front")
    exact = closing.exact_searched
    axes.axhline(
        objective_score(exact),
        color=EXACT,
        linestyle=":",
        label=f"exact int8 ({exact.shown(1)}{' accurate' if exact.is_accuracy else ''})",
    )
    for index, trial in enumerate(closing.trials[number] for number in closing.fixed):
        axes.annotate(
            drawn(uniform_multiplier(trial).removeprefix("mul8s_")),
            (trial.objectives[0], trial.objectives[1]),
            xytext=(0, 7 + 9 * (index % 3)),  # alternating heights, as they crowd
            textcoords="offset points",
            ha="center",
            fontsize=7,
            color="#8a3b00",
        )
    scores = _finite(closing, closing.trials)
    is_log = min(scores) > 0  # a metric can be at its best
    axes.set_yscale("log" if is_log else "linear")
    top = 1.5 * max(_finite(closing, (*closing.front, *closing.fixed))) or 1.0
    axes.set_ylim(min(scores) / 1.12, top)
    above = sum(not t.objectives[1] <= top for t in closing.trials.values())
    if above:
        axes.set_title(f"{above} of them above", fontsize=8, loc="right")
    axes.set_ylabel(f"validation {_minimised(exact)}{', log scale' if is_log else ''}")
    axes.legend(fontsize=8, loc="upper right")


def _finite(closing: Closing, numbers: Iterable[int]) -> list[float]:
    """The scores of trials that are numbers; the exact network's, if none is."""
    found = [closing.trials[number].objectives[1] for number in numbers]
    exact = objective_score(closing.exact_searched)
    return [score for score in found if math.isfinite(score)] or [exact]


def _minimised(exact: Score) -> str:
    """What a search minimises beside energy."""
    if not exact.is_accuracy:
        name, best = exact.measure.name, exact.measure.best
        if exact.measure.higher_is_better:
            return f"{best:g} − {name}"
        return f"{name} − {best:g}" if best else name
    return "cross-entropy (nats)" if exact.images < FEW_IMAGES else "error rate"


def _draw_tested(axes: Axes, closing: Closing, config: SearchConfig) -> None:
    front = [closing.trials[number] for number in closing.reported]
    fixed = [closing.trials[number] for number in closing.fixed]
    how = front[0].fidelity if config.finetune == "none" else "fine-tuned alike"
    _errorbars(axes, fixed, COLOURS["uniform"], "s", f"fixed multipliers, {how}")
    _errorbars(axes, front, SEARCHED, "o", f"front members, {how}")
    exact = closing.exact_test
    name = f"exact int8, {exact.shown(1)}"
    axes.axhline(figure(exact), color=EXACT, linestyle=":", label=name)
    if closing.best_fixed is not None:
        best = closing.trials[closing.best_fixed]
        leftmost = best.energy_rel <= min(t.energy_rel for t in front)
        axes.axvline(best.energy_rel, color=COLOURS["uniform"], linewidth=0.8, alpha=0.6)
        axes.annotate(
            f"best fixed: {drawn(uniform_multiplier(best))}",
            (best.energy_rel, 0.96),
            xycoords=("data", "axes fraction"),
            xytext=(4 if leftmost else -4, 0),
            textcoords="offset points",
            ha="left" if leftmost else "right",
            fontsize=8,
            color="#8a3b00",
        )
    energies = [t.energy_rel for t in front]
    if closing.best_fixed is not None:
        energies.append(closing.trials[closing.best_fixed].energy_rel)
    low, high = min(energies), max(energies)
    margin = 0.08 * (high - low) + 0.01
    axes.set_xlim(low - margin, high + margin)
    axes.set_title("Test images, where the front lies (bars: one standard error)", loc="left")
    axes.legend(fontsize=8, loc="lower right")


def _errorbars(axes: Axes, trials: list[Trial], colour: str, marker: str, label: str) -> None:
    tested = [(trial.energy_rel, trial.test) for trial in trials if trial.test is not None]
    axes.errorbar(
        [energy for energy, _ in tested],
        [figure(score) for _, score in tested],
        yerr=[standard_error(score) or 0.0 for _, score in tested],
        fmt=marker,
        color=colour,
        capsize=3,
        label=label,
    )
